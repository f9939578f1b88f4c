//! Controlled delay (RFC 8289): drops from the head of a queue whose delay stays above a target, more and more often
//! until the delay falls below it.

/// The time in milliseconds for which a delay may stay above the target: a long round trip.
const INTERVAL_MS: u64 = 100;

/// The state of one flow. Times are in milliseconds.
#[derive(Default)]
pub(super) struct Codel {
    /// The time at which the delay will have been above the target for an interval.
    deadline: Option<u64>,
    dropping: bool,
    next: u64,
    /// The number of drops since dropping began.
    count: u32,
    /// The value of `count` when dropping last began.
    last_count: u32,
}

impl Codel {
    /// Reports whether to drop the frame at the head, which has waited for `waited`. A frame that is
    /// alone in its flow (`lone`) is never dropped.
    pub(super) fn must_drop(&mut self, now: u64, waited: u64, target: u64, lone: bool) -> bool {
        if waited < target || lone {
            self.deadline = None;
            self.dropping = false;
            return false;
        }
        let deadline = *self.deadline.get_or_insert(now + INTERVAL_MS);
        if now < deadline {
            return false;
        }
        if !self.dropping {
            self.dropping = true;
            // If dropping ended only recently, it continues at the same rate.
            let recent = now.saturating_sub(self.next) < 16 * INTERVAL_MS;
            let delta = self.count - self.last_count;
            self.count = if delta > 1 && recent { delta } else { 1 };
            self.last_count = self.count;
            self.next = now + self.gap();
            return true;
        }
        if now < self.next {
            return false;
        }
        self.count += 1;
        self.next += self.gap();
        true
    }

    fn gap(&self) -> u64 {
        (INTERVAL_MS as f64 / f64::from(self.count.max(1)).sqrt()) as u64
    }
}
