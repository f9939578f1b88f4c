//! Links: delay, bandwidth and loss of the streams of frames that run over them.
//!
//! A peering is a stream, so a frame never overtakes another one of its class. Bandwidth is shared as in the data
//! plane: protocol frames are sent before traffic, and traffic that does not fit into the queue is dropped. A lost
//! packet is sent again after a timeout that doubles with each further loss, and all frames behind it wait. Thus loss
//! causes delay, and it ends the peering if nothing arrives for [`SILENCE`].
//!
//! Keepalives are computed, not simulated: one is counted for each [`KEEPALIVE`] without a frame.

use pinecone_wire::timing;

use crate::random::Random;
use crate::time::{MILLISECOND, Nanos, SECOND, nanos};

/// Time without any other frame after which a keepalive is sent (protocol section 3).
pub const KEEPALIVE: Nanos = nanos(timing::KEEPALIVE_INTERVAL);
/// Time without any frame after which a peering is considered dead (protocol section 3).
pub const SILENCE: Nanos = nanos(timing::PEER_TIMEOUT);
/// Time within which a write must finish, or else the peering ends (protocol section 3).
pub const WRITE_TIMEOUT: Nanos = nanos(timing::WRITE_TIMEOUT);

/// Bytes in one packet of a stream.
const PACKET: usize = 1400;
/// The shortest time after which a lost packet is sent again.
const RETRANSMIT: Nanos = 200 * MILLISECOND;

/// A way in which a link or a node goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Streams are closed, and both ends notice at once.
    #[default]
    Closed,
    /// Frames no longer arrive. The ends notice [`SILENCE`] after the last arrival.
    Silent,
}

/// Properties of a link, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkOptions {
    /// The time that a bit takes to the other end.
    pub latency: Nanos,
    /// Bits per second; 0 for no limit.
    pub bandwidth: u64,
    /// The share of packets that are lost, in parts of a million.
    pub loss: u32,
    /// The capacity in bytes of the queue for traffic, where bandwidth is limited.
    pub queue: u64,
}

/// The class of a frame, by which links share bandwidth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Protocol,
    Traffic,
}

/// The outcome of sending a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The frame arrives at this time.
    Arrives(Nanos),
    /// The frame would arrive after this time, at which the other end considers the peering dead.
    TooLate(Nanos),
    /// The queue for traffic was full.
    QueueFull,
    /// The write would not finish in time, so this end closes the peering.
    Stuck,
}

/// A direction of a peering.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direction {
    last_sent: Nanos,
    /// Keepalives since then that were counted already.
    keepalives: u32,
    /// The time at which the link is free for the next frame of each class.
    free: [Nanos; 2],
    /// The time at which the last frame of each class arrives.
    arrival: [Nanos; 2],
    /// The time until which a lost packet delays all frames.
    stalled: Nanos,
}

impl Direction {
    pub(crate) fn new(now: Nanos) -> Self {
        Self {
            last_sent: now,
            keepalives: 0,
            free: [now; 2],
            arrival: [now; 2],
            stalled: now,
        }
    }

    /// Sends a frame of `len` bytes.
    pub(crate) fn send(
        &mut self,
        now: Nanos,
        len: usize,
        class: Class,
        link: &LinkOptions,
        random: &mut Random,
    ) -> Sent {
        let lane = class as usize;
        let wire = transmission(len as u64, link.bandwidth);
        let departs = self.free[lane].max(now);
        match class {
            Class::Traffic if departs - now > transmission(link.queue, link.bandwidth) => {
                return Sent::QueueFull;
            }
            Class::Protocol if departs + wire - now > WRITE_TIMEOUT => return Sent::Stuck,
            _ => {}
        }
        let before = self.last_arrival(now, link);
        self.last_sent = now;
        self.keepalives = 0;
        self.free[lane] = departs + wire;
        if class == Class::Protocol {
            // Traffic that is queued has to wait for this frame, too.
            self.free[1] = self.free[1].max(now) + wire;
        }
        let mut arrives = departs + wire + link.latency;
        let mut again = RETRANSMIT.max(3 * link.latency);
        for _ in 0..len.div_ceil(PACKET) {
            // The loop ends once the frame is too late anyway.
            while again < 4 * SILENCE && random.happens(link.loss) {
                arrives += again;
                again *= 2;
                self.stalled = self.stalled.max(arrives);
            }
        }
        let arrives = arrives.max(self.stalled).max(self.arrival[lane]);
        self.arrival[lane] = arrives;
        if arrives > before + SILENCE {
            return Sent::TooLate(before + SILENCE);
        }
        Sent::Arrives(arrives)
    }

    /// Returns the time at which the last frame sent before `now` arrives, keepalives included.
    pub(crate) fn last_arrival(&self, now: Nanos, link: &LinkOptions) -> Nanos {
        let keepalives = now.saturating_sub(self.last_sent) / KEEPALIVE;
        let quiet = self.last_sent + keepalives * KEEPALIVE + link.latency;
        quiet.max(self.arrival[0]).max(self.arrival[1])
    }

    /// Returns the number of keepalives sent up to `now` that were not counted yet.
    pub(crate) fn count_keepalives(&mut self, now: Nanos) -> u64 {
        let sent = (now.saturating_sub(self.last_sent) / KEEPALIVE) as u32;
        let new = sent.saturating_sub(self.keepalives);
        self.keepalives = sent;
        u64::from(new)
    }
}

/// Returns the time that sending `len` bytes takes.
fn transmission(len: u64, bandwidth: u64) -> Nanos {
    match bandwidth {
        0 => 0,
        _ => (u128::from(len) * 8 * u128::from(SECOND) / u128::from(bandwidth)) as Nanos,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    const PLAIN: LinkOptions = LinkOptions {
        latency: 10 * MILLISECOND,
        bandwidth: 0,
        loss: 0,
        queue: 0,
    };

    fn random() -> Random {
        Random::new(1, Stream::Links)
    }

    #[test]
    fn a_plain_link_only_delays() {
        let mut way = Direction::new(0);
        let sent = way.send(5, 60_000, Class::Protocol, &PLAIN, &mut random());
        assert_eq!(sent, Sent::Arrives(5 + PLAIN.latency));
    }

    #[test]
    fn protocol_goes_before_traffic_and_traffic_waits_in_a_bounded_queue() {
        // A thousand bytes per second.
        let link = LinkOptions {
            bandwidth: 8_000,
            queue: 1_500,
            ..PLAIN
        };
        let (mut way, mut random) = (Direction::new(0), random());
        let mut send = |len, class| way.send(0, len, class, &link, &mut random);
        let at = |ms: u64| Sent::Arrives(ms * MILLISECOND + link.latency);
        assert_eq!(send(1000, Class::Traffic), at(1000));
        assert_eq!(send(500, Class::Protocol), at(500));
        assert_eq!(send(100, Class::Traffic), at(1600));
        assert_eq!(send(100, Class::Traffic), Sent::QueueFull);
        assert_eq!(send(2500, Class::Protocol), at(3000));
        assert_eq!(send(1, Class::Protocol), Sent::Stuck);
    }

    #[test]
    fn loss_delays_and_never_reorders() {
        let link = LinkOptions {
            loss: 300_000,
            ..PLAIN
        };
        let (mut way, mut random) = (Direction::new(0), random());
        let (mut last, mut late, mut died) = (0, 0, 0);
        for n in 0..1000 {
            let now = n * 100 * MILLISECOND;
            match way.send(now, 100, Class::Protocol, &link, &mut random) {
                Sent::Arrives(at) => {
                    assert!(at >= last);
                    late += u32::from(at > now + link.latency);
                    last = at;
                }
                Sent::TooLate(_) => died += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(late > 300, "{late}");
        assert!(died < 500, "{died}");
    }

    #[test]
    fn too_many_losses_in_a_row_end_the_peering() {
        let link = LinkOptions {
            loss: 999_000,
            ..PLAIN
        };
        let mut way = Direction::new(0);
        let sent = way.send(4 * SECOND, 100, Class::Protocol, &link, &mut random());
        assert_eq!(sent, Sent::TooLate(KEEPALIVE + link.latency + SILENCE));
    }

    #[test]
    fn keepalives_are_counted_once() {
        let mut way = Direction::new(0);
        assert_eq!(way.count_keepalives(2 * SECOND), 0);
        assert_eq!(way.count_keepalives(7 * SECOND), 2);
        assert_eq!(way.count_keepalives(9 * SECOND), 1);
        assert_eq!(
            way.last_arrival(10 * SECOND, &PLAIN),
            9 * SECOND + PLAIN.latency
        );
        way.send(10 * SECOND, 10, Class::Protocol, &PLAIN, &mut random());
        assert_eq!(way.count_keepalives(12 * SECOND), 0);
    }
}
