//! Detection of other nodes that use this node's key.
//!
//! A node that dials itself sees its own key twice, as the dialler and as the listener. A sighting without a
//! counterpart is another node with this node's key, or a node that sends its handshake back.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::direction::Direction;

/// Time that a sighting waits for its counterpart.
pub(crate) const COUNTERPART_WITHIN: Duration = Duration::from_secs(3);
/// Number of sightings that may wait, as strangers can cause them.
const MOST_WAITING: usize = 64;
/// The least time between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(3600);

/// Identifies a sighting that waits for its counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sighting(u64);

/// The meaning of a sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The sighting is the counterpart of an earlier one.
    Ourselves,
    /// The counterpart may still follow. Ask again with [`OwnKey::is_elsewhere`].
    Wait(Sighting),
    /// Too many sightings wait, so this one is treated as another node.
    Elsewhere,
}

/// The sightings that wait for their counterparts.
#[derive(Debug, Default)]
pub(crate) struct OwnKey(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    waiting: VecDeque<(Sighting, Direction)>,
    last_logged: Option<Instant>,
}

impl OwnKey {
    /// Records that a stream, opened in this direction, has shown this node's own key.
    pub(crate) fn seen(&self, direction: Direction) -> Verdict {
        let mut state = self.lock();
        let other = state.waiting.iter().position(|(_, d)| *d != direction);
        if let Some(other) = other {
            state.waiting.remove(other);
            return Verdict::Ourselves;
        }
        if state.waiting.len() >= MOST_WAITING {
            return Verdict::Elsewhere;
        }
        let sighting = Sighting(state.next);
        state.next += 1;
        state.waiting.push_back((sighting, direction));
        Verdict::Wait(sighting)
    }

    /// Reports whether the sighting has had no counterpart. Call it once, after
    /// [`COUNTERPART_WITHIN`].
    pub(crate) fn is_elsewhere(&self, sighting: Sighting) -> bool {
        let mut state = self.lock();
        let at = state.waiting.iter().position(|(s, _)| *s == sighting);
        at.and_then(|at| state.waiting.remove(at)).is_some()
    }

    /// Reports whether to log a sighting: once in an hour.
    pub(crate) fn log_is_due(&self, now: Instant) -> bool {
        let last = &mut self.lock().last_logged;
        let due = last.is_none_or(|at| now.saturating_duration_since(at) >= LOG_INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Inbound, Outbound};

    #[test]
    fn both_ends_of_a_stream_to_ourselves_are_paired() {
        let own = OwnKey::default();
        let Verdict::Wait(first) = own.seen(Inbound) else {
            panic!("there is no counterpart yet")
        };
        let Verdict::Wait(second) = own.seen(Inbound) else {
            panic!("both are of the same end")
        };
        assert_eq!(own.seen(Outbound), Verdict::Ourselves);
        assert!(!own.is_elsewhere(first));
        assert!(own.is_elsewhere(second));
        assert!(!own.is_elsewhere(second), "only once");
    }

    #[test]
    fn waiting_sightings_are_bounded() {
        let own = OwnKey::default();
        for _ in 0..MOST_WAITING {
            assert!(matches!(own.seen(Inbound), Verdict::Wait(_)));
        }
        assert_eq!(own.seen(Inbound), Verdict::Elsewhere);
        assert_eq!(own.seen(Outbound), Verdict::Ourselves);
    }

    #[test]
    fn sightings_are_logged_once_an_hour() {
        let own = OwnKey::default();
        let start = Instant::now();
        let logged = |s: u64| own.log_is_due(start + Duration::from_secs(s));
        assert_eq!(
            [0, 1, 3599, 3600, 3601].map(logged),
            [true, false, false, true, false]
        );
    }
}
