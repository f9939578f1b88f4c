//! Controlled delay (RFC 8289): drops from the head of a queue that has stood too long, ever
//! faster until it does not.

/// How long a delay above the target is borne, in milliseconds: a round trip of the slow sort.
const INTERVAL_MS: u64 = 100;

/// The state of one flow. Times are in milliseconds.
#[derive(Default)]
pub(super) struct Codel {
    /// When the delay will have been above the target for an interval.
    deadline: Option<u64>,
    dropping: bool,
    next: u64,
    /// Drops since dropping began, and when it began last.
    count: u32,
    last_count: u32,
}

impl Codel {
    /// Whether the frame at the head, which has waited for `waited`, is to be dropped. A frame that is
    /// alone in its flow (`lone`) never is.
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
            // One that was dropping a moment ago goes on where it was.
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
