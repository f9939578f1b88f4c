//! Periodic timers, and the intervals that are this node's own choice. Those of the protocol are in
//! [`pinecone_wire::timing`].

use std::time::Duration;

/// Delays between the bootstraps that follow the first one after a change.
pub(crate) const EAGER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// Time for which a bootstrap may be handed over to a new neighbour of its key. A bootstrap that is handed over
/// outlives the routes that lead there by up to this: see [`EXPIRED_LIFE`].
pub(crate) const HAND_OVER: Duration = Duration::from_millis(1500);
/// Time for which traffic that would otherwise be dropped may follow an expired route. It exceeds [`HAND_OVER`], so
/// that the routes towards a bootstrap that was handed over last as long as it does.
pub(crate) const EXPIRED_LIFE: Duration = Duration::from_secs(2);
/// Minimum time between two batches of expired routes that the tables forget.
pub(crate) const EXPIRED_BATCH: Duration = Duration::from_millis(100);
/// Minimum time between two batches of routes that expire.
pub(crate) const EXPIRY_BATCH: Duration = Duration::from_millis(10);

/// What comes round again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Periodic {
    every: Duration,
    next: Duration,
}

impl Periodic {
    pub(crate) fn new(start: Duration, every: Duration) -> Self {
        Self {
            every,
            next: start + every,
        }
    }

    /// The same, whose first round is at `first`.
    pub(crate) fn starting(first: Duration, every: Duration) -> Self {
        Self { every, next: first }
    }

    pub(crate) fn next(&self) -> Duration {
        self.next
    }

    /// If due: the time it was due at, the last one where several were missed.
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
