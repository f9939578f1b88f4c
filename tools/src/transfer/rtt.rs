//! The retransmission timeout (RFC 6298, with shorter bounds, as the receiver acknowledges at once).

use std::time::Duration;

const INITIAL: Duration = Duration::from_millis(500);
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(3);

/// The estimated round-trip time.
#[derive(Debug, Default)]
pub(super) struct Rtt {
    /// Mean and deviation.
    smoothed: Option<(Duration, Duration)>,
    /// Timeouts since the last progress. Each doubles the next one.
    backoff: u32,
}

impl Rtt {
    pub(super) fn sample(&mut self, rtt: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (rtt, rtt / 2),
            Some((mean, deviation)) => (
                (mean * 7 + rtt) / 8,
                (deviation * 3 + mean.abs_diff(rtt)) / 4,
            ),
        });
    }

    /// Records that new data has been acknowledged.
    pub(super) fn progress(&mut self) {
        self.backoff = 0;
    }

    pub(super) fn timed_out(&mut self) {
        self.backoff = (self.backoff + 1).min(8);
    }

    /// Returns the time to wait for an acknowledgement before sending again.
    pub(super) fn timeout(&self) -> Duration {
        let base = self
            .smoothed
            .map_or(INITIAL, |(mean, deviation)| mean + deviation * 4);
        (base.clamp(SHORTEST, LONGEST) * (1 << self.backoff)).min(LONGEST)
    }
}
