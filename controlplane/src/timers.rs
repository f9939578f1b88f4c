//! The protocol's times, and which of them is due next.

use std::time::Duration;

/// How often the snake is looked after (protocol section 5).
pub const MAINTENANCE: Duration = Duration::from_secs(1);
/// How often a node with a parent bootstraps (protocol section 5).
pub const BOOTSTRAP: Duration = Duration::from_secs(5);
/// After a change, how soon the next bootstraps follow one another.
pub const EAGER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// How long a bootstrap may be handed over to a new neighbour of its key. What is handed over lives
/// for longer by that than the routes that lead there: see [`EXPIRED_LIFE`].
pub const HAND_OVER: Duration = Duration::from_millis(1500);
/// How long a route lives from when it was last seen (protocol section 5).
pub const ROUTE_LIFE: Duration = Duration::from_secs(10);
/// How long traffic may follow a route that has expired, where it would be dropped otherwise. A
/// bootstrap that is handed over lives for up to [`HAND_OVER`] longer than the routes that lead there:
/// these must last until then.
pub const EXPIRED_LIFE: Duration = Duration::from_secs(2);
/// Such routes are forgotten in batches at most this far apart.
pub const EXPIRED_BATCH: Duration = Duration::from_millis(100);
/// How often a root announces itself anew (protocol section 4).
pub const ROOT_ANNOUNCEMENT: Duration = Duration::from_secs(30 * 60);
/// How old the announcement of a parent-to-be may be (protocol section 4).
pub const ANNOUNCEMENT_LIFE: Duration = Duration::from_secs(45 * 60);
/// How long to wait after bad news from the parent before choosing another (protocol section 4).
pub const REPARENT_WAIT: Duration = Duration::from_secs(1);
/// How often a wakeup broadcast is sent (protocol section 8).
pub const BROADCAST: Duration = Duration::from_secs(60);
/// The least time between two broadcasts of one key (protocol section 8).
pub const BROADCAST_GAP: Duration = Duration::from_secs(30);
/// How long a broadcast is remembered (protocol section 8).
pub const BROADCAST_MEMORY: Duration = Duration::from_secs(180);
/// How long cached coordinates live (protocol section 7).
pub const COORDINATES_LIFE: Duration = Duration::from_secs(60);
/// Expired routes are removed in batches at most this far apart.
pub const EXPIRY_BATCH: Duration = Duration::from_millis(10);

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
