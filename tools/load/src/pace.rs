use std::time::Duration;

/// A batch contains at most the frames of this time.
const BATCH: Duration = Duration::from_millis(1);
/// The least time between two batches.
const GAP: Duration = Duration::from_micros(200);
/// Frames that are later than this are omitted, so that a stall is not followed by a burst.
const DEBT: Duration = Duration::from_millis(5);

/// A steady rate. Times are relative to the start.
///
/// ```
/// use std::time::Duration;
///
/// use pinecone_load::Pacer;
///
/// let mut pacer = Pacer::catching_up(1000.0);
/// assert_eq!(pacer.due(Duration::ZERO), 1);
/// pacer.sent(1);
/// assert_eq!(pacer.due(Duration::ZERO), 0);
/// assert_eq!(pacer.due(Duration::from_millis(100)), 100);
/// ```
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Frames per second.
    rate: f64,
    /// Number of frames that were sent or omitted.
    done: u64,
    left_out: u64,
    /// The most frames of a batch.
    batch: u64,
    /// The most frames that may be late.
    debt: u64,
    /// The least number of frames that the next batch waits for.
    gap: u64,
}

impl Pacer {
    /// Creates a pacer of `rate` frames per second, which sends short batches and omits frames that are too
    /// late.
    #[must_use]
    pub fn in_batches(rate: f64) -> Self {
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

    /// Creates a pacer of `rate` frames per second, which sends every frame, however late it is.
    #[must_use]
    pub fn catching_up(rate: f64) -> Self {
        Self {
            rate,
            done: 0,
            left_out: 0,
            batch: u64::MAX,
            debt: u64::MAX,
            gap: 1,
        }
    }

    /// Returns the number of frames to send now, `elapsed` after the start.
    #[inline]
    pub fn due(&mut self, elapsed: Duration) -> u64 {
        // The first frame is due at the start.
        let owed = (elapsed.as_secs_f64() * self.rate) as u64 + 1;
        let mut due = owed.saturating_sub(self.done);
        if due > self.debt.saturating_add(self.batch) {
            let too_late = due - self.debt;
            self.done += too_late;
            self.left_out += too_late;
            due = self.debt;
        }
        due.min(self.batch)
    }

    /// Records frames that were sent.
    #[inline]
    pub fn sent(&mut self, frames: u64) {
        self.done += frames;
    }

    /// Returns the time after the start at which the next frames are due.
    #[must_use]
    pub fn next(&self) -> Duration {
        // One nanosecond more, so that rounding never makes it too early.
        let frames = (self.done + self.gap - 1) as f64;
        Duration::from_secs_f64(frames / self.rate) + Duration::from_nanos(1)
    }

    /// Returns the number of frames that were omitted because this machine was late.
    #[must_use]
    pub fn left_out(&self) -> u64 {
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
        let (mut pacer, mut now) = (Pacer::in_batches(rate), Duration::ZERO);
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

    #[test]
    fn no_frame_is_omitted_while_catching_up() {
        let mut pacer = Pacer::catching_up(100_000.0);
        let stall = Duration::from_secs(10);
        let due = pacer.due(stall);
        assert_eq!(due, 1_000_001);
        pacer.sent(due);
        assert_eq!((pacer.due(stall), pacer.left_out()), (0, 0));
        let next = pacer.next();
        assert!(next > stall && pacer.due(next) == 1, "{next:?}");
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
