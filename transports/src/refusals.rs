//! Keeps whoever connects in a loop from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(10);
const LINES_PER_WINDOW: u64 = 50;

/// Decides which refusals get a line of the log. All are counted elsewhere.
#[derive(Debug)]
pub(crate) struct RefusalLog {
    lines: u64,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    refusals: u64,
}

impl Default for RefusalLog {
    fn default() -> Self {
        Self::new(LINES_PER_WINDOW)
    }
}

impl RefusalLog {
    /// Admits so many lines in a window.
    pub(crate) fn new(lines: u64) -> Self {
        Self {
            lines,
            window: Mutex::default(),
        }
    }

    /// Whether to log one more refusal at `now`. The first of a window comes with how many went
    /// unlogged in the window before.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unlogged = 0;
        if window
            .began
            .is_none_or(|began| now.saturating_duration_since(began) >= WINDOW)
        {
            unlogged = window.refusals.saturating_sub(self.lines);
            *window = Window {
                began: Some(now),
                refusals: 0,
            };
        }
        window.refusals += 1;
        (window.refusals <= self.lines).then_some(unlogged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_a_bounded_number_of_lines() {
        let log = RefusalLog::default();
        let start = Instant::now();
        let logged = |at: Duration, n: u64| {
            (0..n)
                .filter_map(|_| log.admit(start + at))
                .collect::<Vec<_>>()
        };
        assert_eq!(logged(Duration::ZERO, 60).len(), 50);
        assert_eq!(logged(WINDOW / 2, 40).len(), 0);
        let next = logged(WINDOW, 3);
        assert_eq!(next, [50, 0, 0]);
    }
}
