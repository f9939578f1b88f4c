//! A coarse timer wheel: ten thousand ports cost a check every few seconds each.

/// Milliseconds a slot.
const TICK: u64 = 50;
/// Slots: what lies further ahead than all of them waits in the last and is looked at again.
const SLOTS: u64 = 128;

/// Timers by number. A timer that is set again is not taken out: it fires, and its owner sees that
/// it is not due.
pub(crate) struct Wheel {
    slots: Vec<Vec<u32>>,
    /// The first tick that has not been run.
    next: u64,
    armed: usize,
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            next: now_ms / TICK,
            armed: 0,
        }
    }

    /// Fires `id` at `due_ms` or up to a tick later; earlier if that is over six seconds away.
    pub(crate) fn set(&mut self, id: u32, due_ms: u64) {
        let tick = due_ms
            .div_ceil(TICK)
            .clamp(self.next, self.next + SLOTS - 1);
        self.slots[(tick % SLOTS) as usize].push(id);
        self.armed += 1;
    }

    /// Moves what has fired by `now_ms` to `fired`.
    pub(crate) fn run(&mut self, now_ms: u64, fired: &mut Vec<u32>) {
        let now = now_ms / TICK;
        let last = now.min(self.next + SLOTS - 1);
        while self.next <= last && self.armed > 0 {
            let slot = &mut self.slots[(self.next % SLOTS) as usize];
            self.armed -= slot.len();
            fired.append(slot);
            self.next += 1;
        }
        self.next = self.next.max(now + 1);
    }

    /// When to run next, at the earliest.
    pub(crate) fn next_due(&self) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let tick = (self.next..self.next + SLOTS)
            .find(|t| !self.slots[(t % SLOTS) as usize].is_empty())?;
        Some(tick * TICK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_once_and_not_early() {
        let mut wheel = Wheel::new(1000);
        wheel.set(1, 1100);
        wheel.set(2, 4000);
        wheel.set(3, 900);
        let mut fired = Vec::new();
        wheel.run(1050, &mut fired);
        assert_eq!(fired, [3]);
        assert_eq!(wheel.next_due(), Some(1100));
        wheel.run(1120, &mut fired);
        assert_eq!(fired, [3, 1]);
        wheel.run(3999, &mut fired);
        assert_eq!(fired, [3, 1]);
        wheel.run(60_000, &mut fired);
        assert_eq!(fired, [3, 1, 2]);
        assert_eq!(wheel.next_due(), None);
    }

    #[test]
    fn far_timers_fire_early_rather_than_never() {
        let mut wheel = Wheel::new(0);
        wheel.set(7, 1_000_000);
        let mut fired = Vec::new();
        let due = wheel.next_due().unwrap();
        assert!(due <= SLOTS * TICK);
        wheel.run(due, &mut fired);
        assert_eq!(fired, [7]);
    }

    #[test]
    fn survives_a_long_pause() {
        let mut wheel = Wheel::new(0);
        let mut fired = Vec::new();
        wheel.run(1_000_000, &mut fired);
        wheel.set(1, 1_000_100);
        wheel.run(1_000_100, &mut fired);
        assert_eq!(fired, [1]);
    }
}
