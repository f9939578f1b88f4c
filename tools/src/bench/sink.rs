//! The thread of a sink.

use std::sync::Arc;
use std::time::Duration;

use pinecone_load::{FlowAccount, Totals};
use pinecone_wire::{PublicKey, TrafficLayout};

use super::frames::{PROBE, Stamp};
use super::histogram::Histogram;
use super::link::Link;
use super::shared::{Phase, Shared, TEND_EVERY};

/// A peer that receives frames.
pub(crate) struct Sink {
    pub(crate) link: Link,
    /// Its number among all links.
    pub(crate) number: usize,
    pub(crate) tally: Tally,
    pub(crate) shared: Arc<Shared>,
    /// True if frames that wait in the socket may be counted without being read.
    pub(crate) sampled: bool,
}

/// The accounting of received frames.
#[derive(Debug)]
pub(crate) struct Tally {
    key: PublicKey,
    run: u32,
    size: usize,
    account: FlowAccount,
    latency: Histogram,
    strange: u64,
}

/// The totals of a tally.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) totals: Totals,
    /// Times from before the write to after the read.
    pub(crate) latency: Histogram,
    /// Frames that are of another run, for another sink, or damaged.
    pub(crate) strange: u64,
}

impl Sink {
    /// Receives until the end.
    pub(crate) fn run(mut self) -> Received {
        if let Err(why) = self.receive() {
            self.shared.fail(why);
        }
        Received {
            totals: self.tally.account.totals(),
            latency: self.tally.latency,
            strange: self.tally.strange,
        }
    }

    fn receive(&mut self) -> Result<(), String> {
        let (tally, shared) = (&mut self.tally, &self.shared);
        let mut tend_at = Duration::ZERO;
        let mut before = Totals::default();
        loop {
            let phase = shared.phase();
            if phase == Phase::Ended {
                return Ok(());
            }
            self.link.receive(|frame, now| {
                if let Some(probed) = tally.take(frame, now) {
                    shared.set_seen(probed);
                }
            })?;
            self.link.sampling = self.sampled && phase != Phase::Probing;
            if self.link.sampling {
                tally.account.skip(self.link.skip()?);
            }
            let totals = tally.account.totals();
            let missing = totals.lost() - before.lost();
            shared.add_received(totals.received - before.received, missing);
            before = totals;
            let now = self.link.elapsed();
            if now >= tend_at {
                tend_at = now + TEND_EVERY;
                self.link.tend()?;
                if phase == Phase::Probing {
                    shared.set_place(self.number, self.link.place());
                }
            }
        }
    }
}

impl Tally {
    /// Creates the tally of the sink with this key, in a run with this number of flows.
    pub(crate) fn new(key: PublicKey, flows: usize, run: u32, size: usize) -> Self {
        Self {
            key,
            run,
            size,
            account: FlowAccount::new(flows),
            latency: Histogram::default(),
            strange: 0,
        }
    }

    /// Counts a traffic frame that was read at `now`. Returns the flow of a probe.
    #[inline]
    fn take(&mut self, frame: &[u8], now: Duration) -> Option<usize> {
        let stamp = TrafficLayout::parse(frame)
            .ok()
            .filter(|layout| layout.destination_key(frame) == self.key)
            .and_then(|layout| Stamp::read(layout.payload(frame), self.run, self.size));
        match stamp {
            Some(stamp) if stamp.sequence == PROBE => return Some(stamp.flow as usize),
            Some(stamp)
                if self
                    .account
                    .record(stamp.flow as usize, stamp.sequence)
                    .is_some() =>
            {
                self.latency
                    .record((now.as_nanos() as u64).saturating_sub(stamp.sent));
            }
            _ => self.strange += 1,
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::frames::{Carousel, Flow};

    #[test]
    fn strange_frames_are_counted_separately() {
        let key = PublicKey([9; 32]);
        let flows = [0, 1].map(|id| Flow {
            id,
            source: PublicKey([id as u8; 32]),
            destination: key,
        });
        let mut carousel = Carousel::new(&flows, 3, 100, 0).unwrap();
        let mut tally = Tally::new(key, 2, 3, 100);
        let at = Duration::from_nanos;
        assert_eq!(tally.take(carousel.probe(1, 0), at(0)), Some(1));
        for now in 0..4 {
            let slots = carousel.next(1, now);
            assert_eq!(tally.take(carousel.bytes(slots), at(now + 1000)), None);
        }
        let received = |tally: &Tally| (tally.account.totals().received, tally.strange);
        assert_eq!(received(&tally), (4, 0));
        assert_eq!(tally.latency.max(), at(1000));

        let slots = carousel.next(1, 0);
        let frame = carousel.bytes(slots).to_vec();
        let mut damaged = frame.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(tally.take(&damaged, at(0)), None);
        assert_eq!(tally.take(b"pine", at(0)), None);
        let mut elsewhere = Tally::new(PublicKey([8; 32]), 2, 3, 100);
        assert_eq!(elsewhere.take(&frame, at(0)), None);
        assert_eq!((received(&tally), received(&elsewhere)), ((4, 2), (0, 1)));
    }
}
