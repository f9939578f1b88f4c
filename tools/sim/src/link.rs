//! Links: what a stream of frames over one of them meets with.
//!
//! A peering is a stream, so nothing on it overtakes anything of its class. Bandwidth is shared as
//! the data plane shares it: protocol frames go before traffic, and traffic that would wait for
//! longer than the queue holds is dropped. A lost packet is sent again after a time-out that
//! doubles with each further loss, and everything behind it waits: loss shows as delay, and as the
//! end of the peering when nothing has come for [`SILENCE`].
//!
//! Keepalives are worked out and not simulated: between two frames further apart than
//! [`KEEPALIVE`], one is counted for each such time that passes.

use pinecone_wire::timing;

use crate::random::Random;
use crate::time::{MILLISECOND, Nanos, SECOND, nanos};

/// How long nothing else may be sent before a keepalive is (protocol section 3).
pub const KEEPALIVE: Nanos = nanos(timing::KEEPALIVE_INTERVAL);
/// A peering that brings nothing for so long is dead (protocol section 3).
pub const SILENCE: Nanos = nanos(timing::PEER_TIMEOUT);
/// A write that cannot finish within this time ends the peering (protocol section 3).
pub const WRITE_TIMEOUT: Nanos = nanos(timing::WRITE_TIMEOUT);

/// What one packet of a stream carries.
const PACKET: usize = 1400;
/// The least time after which a lost packet is sent again.
const RETRANSMIT: Nanos = 200 * MILLISECOND;

/// What a link is like, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkOptions {
    /// How long a bit takes to the other end.
    pub latency: Nanos,
    /// Bits a second; 0 for no limit.
    pub bandwidth: u64,
    /// How many packets of a million are lost.
    pub loss: u32,
    /// Bytes of traffic that may wait for their turn, where there is a limit on bandwidth.
    pub queue: u64,
}

/// What a frame is, to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Protocol,
    Traffic,
}

/// What becomes of a frame that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It gets there.
    Arrives(Nanos),
    /// It gets there, but the other end has given the peering up by then.
    TooLate(Nanos),
    /// Traffic for which there was no room.
    QueueFull,
    /// The protocol frames before it take too long: our end gives up.
    Stuck,
}

/// One direction of a peering.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direction {
    last_sent: Nanos,
    /// Keepalives since then that have been counted.
    keepalives: u32,
    /// When the line is free for the next frame of either class.
    free: [Nanos; 2],
    /// When the last frame of either class arrives.
    arrival: [Nanos; 2],
    /// Until when a lost packet holds everything up.
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
            // What waits of traffic waits for this, too.
            self.free[1] = self.free[1].max(now) + wire;
        }
        let mut arrives = departs + wire + link.latency;
        let mut again = RETRANSMIT.max(3 * link.latency);
        for _ in 0..len.div_ceil(PACKET) {
            // Once it is too late there is no need to know how late.
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

    /// When the last of what was sent before `now` arrives, keepalives included.
    pub(crate) fn last_arrival(&self, now: Nanos, link: &LinkOptions) -> Nanos {
        let keepalives = now.saturating_sub(self.last_sent) / KEEPALIVE;
        let quiet = self.last_sent + keepalives * KEEPALIVE + link.latency;
        quiet.max(self.arrival[0]).max(self.arrival[1])
    }

    /// Keepalives sent up to `now` that have not been counted yet.
    pub(crate) fn count_keepalives(&mut self, now: Nanos) -> u64 {
        let sent = (now.saturating_sub(self.last_sent) / KEEPALIVE) as u32;
        let new = sent.saturating_sub(self.keepalives);
        self.keepalives = sent;
        u64::from(new)
    }
}

/// How long `len` bytes take to go out.
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
        // A thousand bytes a second.
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
