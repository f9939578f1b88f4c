//! Pacing of frames.

use std::time::Duration;

/// A batch contains at most the frames of this time.
const BATCH: Duration = Duration::from_millis(1);
/// The least time between two batches.
const GAP: Duration = Duration::from_micros(200);
/// Frames that are later than this are omitted, so that a stall is not followed by a burst.
const DEBT: Duration = Duration::from_millis(5);

/// A steady rate in short batches.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Frames per second.
    rate: f64,
    /// Number of frames that were sent or omitted.
    done: u64,
    left_out: u64,
    batch: u64,
    debt: u64,
    gap: u64,
}

impl Pacer {
    pub(crate) fn new(rate: f64) -> Self {
        let frames = |time: Duration| ((rate * time.as_secs_f64()) as u64).max(1);
        Self {
            rate,
            done: 0,
            left_out: 0,
            batch: frames(BATCH),
            debt: frames(DEBT),
            gap: frames(GAP),
        }
    }

    /// Returns the number of frames to send at `elapsed` after the start: at most a batch.
    pub(crate) fn due(&mut self, elapsed: Duration) -> u64 {
        // The first frame is due at the start.
        let owed = (elapsed.as_secs_f64() * self.rate) as u64 + 1;
        let mut due = owed.saturating_sub(self.done);
        if due > self.debt + self.batch {
            let too_late = due - self.debt;
            self.done += too_late;
            self.left_out += too_late;
            due = self.debt;
        }
        due.min(self.batch)
    }

    /// Records frames that were sent.
    pub(crate) fn sent(&mut self, frames: u64) {
        self.done += frames;
    }

    /// Returns the time after the start at which the next frames are due.
    pub(crate) fn next(&self) -> Duration {
        // One nanosecond more, so that rounding never makes it too early.
        let frames = (self.done + self.gap - 1) as f64;
        Duration::from_secs_f64(frames / self.rate) + Duration::from_nanos(1)
    }

    /// Returns the number of frames that were omitted because this machine was late.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs for `time` with each batch delayed by `late`. Returns the frames sent, the largest batch and the
    /// pacer.
    fn run(rate: f64, time: Duration, mut late: impl FnMut() -> Duration) -> (u64, u64, Pacer) {
        let (mut pacer, mut now) = (Pacer::new(rate), Duration::ZERO);
        let (mut sent, mut largest) = (0, 0);
        while now < time {
            let due = pacer.due(now);
            pacer.sent(due);
            sent += due;
            largest = largest.max(due);
            now = now.max(pacer.next()) + late();
        }
        (sent, largest, pacer)
    }

    #[test]
    fn a_slow_rate_sends_frames_one_by_one() {
        let (sent, largest, _) = run(1000.0, Duration::from_secs(2), || Duration::ZERO);
        assert!((2000..=2001).contains(&sent), "{sent}");
        assert_eq!(largest, 1);
    }

    #[test]
    fn frames_missed_in_a_stall_are_omitted() {
        let mut stalls = [Duration::from_secs(1)].into_iter();
        let (sent, largest, pacer) = run(100_000.0, Duration::from_secs(2), || {
            stalls.next().unwrap_or_default()
        });
        assert!(sent < 101_000, "{sent}");
        assert!(largest <= 100, "{largest}");
        assert!((99_000..=100_000).contains(&pacer.left_out()));
    }

    proptest! {
        #[test]
        fn the_rate_is_kept_in_short_batches(
            rate in 1.0..5e6f64,
            delays in prop::collection::vec(0..400u64, 1..20),
        ) {
            let mut delays = delays.into_iter().cycle();
            let time = Duration::from_secs(1);
            let (sent, largest, pacer) = run(rate, time, || {
                Duration::from_micros(delays.next().unwrap_or_default())
            });
            prop_assert!(largest <= (rate / 1000.0).max(1.0) as u64);
            prop_assert_eq!(pacer.left_out(), 0);
            // All but the last batch have been sent.
            prop_assert!(sent as f64 <= rate * 1.002 + 1.0, "{}", sent);
            prop_assert!(sent as f64 >= rate * 0.997 - 2.0, "{}", sent);
        }
    }
}
