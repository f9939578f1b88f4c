//! The thread of a sender.

use std::sync::Arc;
use std::time::Duration;

use pinecone_load::Pacer;

use super::frames::Carousel;
use super::link::Link;
use super::shared::{Phase, Shared, TEND_EVERY};

/// Approximate bytes of a write.
pub(crate) const BATCH: usize = 128 << 10;
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// A peer that sends frames.
pub(crate) struct Sender {
    pub(crate) link: Link,
    /// Its number among all links.
    pub(crate) number: usize,
    /// The flows that it sends, by their numbers among all flows.
    pub(crate) flows: Vec<usize>,
    pub(crate) carousel: Carousel,
    /// Frames per second, or `None` for as many as the node reads.
    pub(crate) rate: Option<f64>,
    pub(crate) shared: Arc<Shared>,
}

impl Sender {
    /// Probes, sends, and stays connected until the end. Returns the number of frames that were due and not
    /// sent because this machine was late.
    pub(crate) fn run(mut self) -> u64 {
        let done = self.probe().and_then(|()| self.send());
        self.shared.add_stopped();
        let left_out = done.and_then(|left_out| self.idle().map(|()| left_out));
        left_out.unwrap_or_else(|why| {
            self.shared.fail(why);
            0
        })
    }

    fn probe(&mut self) -> Result<(), String> {
        let mut next = Duration::ZERO;
        while self.shared.phase() == Phase::Probing {
            self.link.poll()?;
            self.link.tend()?;
            let place = self.link.place();
            self.shared.set_place(self.number, place);
            let now = self.link.elapsed();
            if now >= next && place.announced {
                next = now + PROBE_EVERY;
                for (i, flow) in self.flows.iter().enumerate() {
                    if !self.shared.is_seen(*flow) {
                        let frame = self.carousel.probe(i, now.as_nanos() as u64);
                        self.link.send(frame)?;
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn send(&mut self) -> Result<u64, String> {
        let most = (BATCH / self.carousel.frame_len()).max(1);
        let mut pacer = self.rate.map(Pacer::in_batches);
        let begin = self.link.elapsed();
        let mut tend_at = begin;
        while self.shared.phase() == Phase::Running {
            let now = self.link.elapsed();
            if now >= tend_at {
                tend_at = now + TEND_EVERY;
                self.link.poll()?;
                self.link.tend()?;
            }
            let since = now - begin;
            let due = match &mut pacer {
                None => most,
                Some(pacer) => most.min(pacer.due(since) as usize),
            };
            if let (0, Some(pacer)) = (due, &pacer) {
                std::thread::sleep(pacer.next().saturating_sub(since).min(TEND_EVERY));
                continue;
            }
            let now = self.link.elapsed().as_nanos() as u64;
            let slots = self.carousel.next(due, now);
            let count = slots.len() as u64;
            // Counted before the write, so that the number received never exceeds the number sent.
            self.shared.add_sent(count);
            self.link.send(self.carousel.bytes(slots))?;
            if let Some(pacer) = &mut pacer {
                pacer.sent(count);
            }
        }
        Ok(pacer.map_or(0, |pacer| pacer.left_out()))
    }

    fn idle(&mut self) -> Result<(), String> {
        while self.shared.phase() != Phase::Ended {
            self.link.poll()?;
            self.link.tend()?;
            std::thread::sleep(TEND_EVERY);
        }
        Ok(())
    }
}
