//! Whether a worker waits for a batch: for several frames of sparse traffic together, in place of
//! waking up for each.
//!
//! Waking up costs more than a small frame does. Waiting costs every frame time, and is worth
//! nothing where peers send their next frame only when they have got an answer: then the wait makes
//! nothing come that would not have come anyway. So a worker waits only if
//!
//! 1. the arrivals of late came so densely that several are to be expected within the wait,
//! 2. they were small: bulk comes in batches of its own,
//! 3. they came from several ports: one flow and its answers are two at the most.
//!
//! and that has lasted for some turns. It stops at once when a wait has brought nothing, or two in a
//! row have brought one arrival each, or when arrivals have become sparser than before it began,
//! which says that they wait for us. Then it stays off for some turns, for twice as many if that
//! was soon after it had begun.

use std::time::Duration;

/// Arrivals to be expected for a wait to pay.
const EXPECTED: f64 = 4.0;
/// Fewest ports among the last [`WINDOW`] arrivals.
const PORTS: u32 = 4;
/// Arrivals that make up the recent past.
const WINDOW: u32 = 32;
/// Mean bytes of an arrival above which it is bulk.
const BULK: f64 = 4096.0;
/// How much sparser arrivals may become while we wait for batches.
const SPARSER: f64 = 2.0;
/// The longest gap taken into account: after silence, recent arrivals count soon again.
const LONGEST_GAP: f64 = 1e6;
/// Turns of dense traffic without a wait: before the first one and after one in vain; and at the
/// most.
const FIRST_PAUSE: u32 = 128;
const LONGEST_PAUSE: u32 = 1 << 16;
/// Waits in a row that paid, after which the next pause is a short one.
const PROVEN: u32 = 64;

/// What has arrived of late, and what came of waiting.
pub(crate) struct Batching {
    limit: Duration,
    /// Mean nanoseconds from one arrival to the next.
    gap: f64,
    /// Mean bytes of an arrival.
    len: f64,
    /// The ports of the current window, as bits of a small hash; those of the last one, counted.
    seen: u64,
    seen_arrivals: u32,
    ports: u32,
    /// Nanoseconds since the last turn that brought something.
    quiet: f64,
    /// The gap when waiting began.
    gap_before: Option<f64>,
    /// Turns of dense traffic to come without waiting, and how many it will be the next time.
    pause: u32,
    next_pause: u32,
    /// Waits that paid since waiting began, and whether the last one was meager.
    proven: u32,
    meager: bool,
}

impl Batching {
    /// Waits for at most `limit`; never, if that is zero.
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

    /// How long to wait for a batch now, if at all.
    pub(crate) fn wait(&mut self) -> Option<Duration> {
        let expected = self.limit.as_nanos() as f64 / self.gap;
        let pays = expected >= EXPECTED && self.len <= BULK && self.ports >= PORTS;
        if !pays {
            // What comes after this must last to count.
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

    /// Accounts for a turn: how long it took from the last one to this, what arrived (port and bytes
    /// of each), and whether it waited for a batch.
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

    /// Judges a wait by the arrivals that it brought.
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
