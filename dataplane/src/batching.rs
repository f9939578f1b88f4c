//! The decision whether a worker waits for several small frames together instead of waking up for each.
//!
//! Waking up costs more than forwarding a small frame. Waiting delays every frame, and is useless if peers send their
//! next frame only after an answer: no further frame arrives during the wait. So a worker waits only if
//!
//! 1. recent arrivals were so dense that several can be expected within the wait,
//! 2. they were small, as bulk arrives in batches of its own,
//! 3. they came from several ports, since one flow and its answers use at most two,
//!
//! and this has lasted for some iterations. It stops waiting at once when nothing arrives during a wait, when two waits
//! in a row end with one arrival each, or when arrivals have become sparser than before it began, which means that
//! peers wait for this worker. Waiting then stays off for some iterations, and for twice as many if it had begun only
//! recently.

use std::time::Duration;

/// Minimum number of expected arrivals for which a wait pays.
const EXPECTED: f64 = 4.0;
/// Minimum number of ports among the last [`WINDOW`] arrivals.
const PORTS: u32 = 4;
/// Number of arrivals that make up the recent past.
const WINDOW: u32 = 32;
/// Mean bytes of an arrival above which it is bulk.
const BULK: f64 = 4096.0;
/// Factor by which the gap between arrivals may grow while the worker waits for batches.
const SPARSER: f64 = 2.0;
/// The longest gap taken into account, in nanoseconds: after silence, recent arrivals soon count again.
const LONGEST_GAP: f64 = 1e6;
/// Number of iterations of dense traffic without a wait, before the first wait and after a wait without arrivals; and
/// the maximum.
const FIRST_PAUSE: u32 = 128;
const LONGEST_PAUSE: u32 = 1 << 16;
/// Number of waits in a row that paid, after which the next pause is a short one.
const PROVEN: u32 = 64;

/// Statistics of recent arrivals, and of the waits for them.
pub(crate) struct Batching {
    limit: Duration,
    /// Mean nanoseconds between two arrivals.
    gap: f64,
    /// Mean bytes of an arrival.
    len: f64,
    /// The ports of the current window as bits of a small hash, and the number of ports in the last
    /// one.
    seen: u64,
    seen_arrivals: u32,
    ports: u32,
    /// Nanoseconds since the last iteration with an arrival.
    quiet: f64,
    /// The gap when waiting began.
    gap_before: Option<f64>,
    /// Iterations of dense traffic left without waiting, and the number of them for the next pause.
    pause: u32,
    next_pause: u32,
    /// Number of waits that paid since waiting began, and whether fewer than two frames arrived during the last one.
    proven: u32,
    meager: bool,
}

impl Batching {
    /// Creates statistics for waits of at most `limit`. If that is zero, there are no waits.
    pub(crate) const fn new(limit: Duration) -> Self {
        Self {
            limit,
            gap: LONGEST_GAP,
            len: 0.0,
            seen: 0,
            seen_arrivals: 0,
            ports: 0,
            quiet: 0.0,
            gap_before: None,
            pause: 0,
            next_pause: FIRST_PAUSE,
            proven: 0,
            meager: false,
        }
    }

    /// Returns how long to wait for a batch now, if at all.
    pub(crate) fn wait(&mut self) -> Option<Duration> {
        let expected = self.limit.as_nanos() as f64 / self.gap;
        let pays = expected >= EXPECTED && self.len <= BULK && self.ports >= PORTS;
        if !pays {
            // Dense traffic must last for a while to count.
            self.pause = self.pause.max(FIRST_PAUSE);
        }
        if self.pause > 0 {
            self.pause -= 1;
            self.gap_before = None;
            return None;
        }
        self.gap_before.get_or_insert(self.gap);
        Some(self.limit)
    }

    /// Accounts for an iteration: the time since the last one, the arrivals (port and bytes of each),
    /// and whether it waited for a batch.
    pub(crate) fn iteration(
        &mut self,
        elapsed: Duration,
        arrivals: impl Iterator<Item = (u32, usize)>,
        waited: bool,
    ) {
        if self.limit.is_zero() {
            return;
        }
        self.quiet += elapsed.as_nanos() as f64;
        let mut count = 0;
        let mut bytes = 0;
        for (port, len) in arrivals {
            count += 1;
            bytes += len;
            self.seen |= 1 << (port % u64::BITS);
            self.seen_arrivals += 1;
            if self.seen_arrivals == WINDOW {
                self.ports = self.seen.count_ones();
                (self.seen, self.seen_arrivals) = (0, 0);
            }
        }
        if count > 0 {
            let weight = (f64::from(count) / f64::from(WINDOW)).min(1.0);
            let gap = (self.quiet / f64::from(count)).min(LONGEST_GAP);
            self.gap += (gap - self.gap) * weight;
            self.len += (bytes as f64 / f64::from(count) - self.len) * weight;
            self.quiet = 0.0;
        }
        if waited {
            self.judge(count);
        }
    }

    /// Judges a wait by the number of arrivals during it.
    fn judge(&mut self, arrivals: u32) {
        let sparser = (self.gap_before).is_some_and(|before| self.gap > before * SPARSER);
        let was_meager = std::mem::replace(&mut self.meager, arrivals < 2);
        if arrivals == 0 || (self.meager && was_meager) || sparser {
            if self.proven >= PROVEN {
                self.next_pause = FIRST_PAUSE;
            }
            self.pause = self.next_pause;
            self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
            self.proven = 0;
            self.meager = false;
        } else {
            self.proven = self.proven.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
