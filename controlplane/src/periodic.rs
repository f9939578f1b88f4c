//! Periodic timers.

use std::time::Duration;

/// A timer that is due at a fixed interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Periodic {
    every: Duration,
    next: Duration,
}

impl Periodic {
    /// Creates a timer that is first due one interval after `start`.
    pub(crate) fn new(start: Duration, every: Duration) -> Self {
        Self {
            every,
            next: start + every,
        }
    }

    /// Creates a timer that is first due at `first`.
    pub(crate) fn starting(first: Duration, every: Duration) -> Self {
        Self { every, next: first }
    }

    /// Returns the time at which it is due next.
    pub(crate) fn next(&self) -> Duration {
        self.next
    }

    /// Returns the time at which the timer was due, and rearms it, if it is due. If several were missed, returns the
    /// latest.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Duration> {
        let late = now.checked_sub(self.next)?;
        let missed = late.as_nanos() / self.every.as_nanos();
        let due = self.next + self.every * u32::try_from(missed).unwrap_or(u32::MAX);
        self.next = due + self.every;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_rounds_are_run_once_and_keep_their_phase() {
        let secs = Duration::from_secs;
        let mut timer = Periodic::new(secs(1), secs(2));
        assert_eq!(timer.take(secs(2)), None);
        assert_eq!(timer.take(secs(3)), Some(secs(3)));
        assert_eq!(timer.take(secs(3)), None);
        assert_eq!(timer.take(Duration::from_millis(10_500)), Some(secs(9)));
        assert_eq!(timer.next(), secs(11));
    }
}
