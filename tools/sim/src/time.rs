//! Virtual time: whole nanoseconds since the start of the run.

use std::time::Duration;

use pinecone_controlplane::Now;

/// Virtual time in nanoseconds.
pub type Nanos = u64;

/// A millisecond.
pub const MILLISECOND: Nanos = 1_000_000;
/// A second.
pub const SECOND: Nanos = 1_000 * MILLISECOND;

/// Unix milliseconds at the start of every run.
pub const EPOCH_MS: u64 = 1_800_000_000_000;

/// Returns the time that control planes are given at `at`.
pub(crate) fn now(at: Nanos) -> Now {
    Now {
        monotonic: Duration::from_nanos(at),
        unix_ms: EPOCH_MS + at / MILLISECOND,
    }
}

/// Converts a duration. Durations over 584 years become [`Nanos::MAX`].
pub(crate) const fn nanos(duration: Duration) -> Nanos {
    let nanos = duration.as_nanos();
    if nanos > Nanos::MAX as u128 {
        Nanos::MAX
    } else {
        nanos as Nanos
    }
}

/// Converts to seconds.
#[must_use]
pub fn seconds(at: Nanos) -> f64 {
    at as f64 / SECOND as f64
}
