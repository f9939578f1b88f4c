//! A coarse timer wheel. Each of ten thousand ports costs a check every few seconds.

/// Milliseconds in a slot.
const TICK: u64 = 50;
/// Number of slots. A timer further ahead than all of them waits in the last one and is filed again.
const SLOTS: u64 = 128;

/// Timers by number.
///
/// Each entry has its due time, so the slot that it is in decides only when it is checked. An entry that is checked too
/// early is filed again. A timer that is set a second time has two entries, and the timer's owner ignores the one that
/// no longer applies.
pub(crate) struct Wheel {
    slots: Vec<Vec<Entry>>,
    /// The first tick that has not been run.
    next: u64,
    armed: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    id: u32,
    due_ms: u64,
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            next: now_ms / TICK,
            armed: 0,
        }
    }

    /// Sets timer `id`, which fires at `due_ms` or up to a tick later, never earlier.
    pub(crate) fn set(&mut self, id: u32, due_ms: u64) {
        self.file(Entry { id, due_ms });
        self.armed += 1;
    }

    /// Moves the timers that are due by `now_ms` to `fired`.
    pub(crate) fn run(&mut self, now_ms: u64, fired: &mut Vec<u32>) {
        let now = now_ms / TICK;
        if now < self.next {
            return;
        }
        let last = now.min(self.next + SLOTS - 1);
        let mut early = Vec::new();
        if self.armed > 0 {
            for tick in self.next..=last {
                for entry in self.slots[(tick % SLOTS) as usize].drain(..) {
                    if entry.due_ms.div_ceil(TICK) <= now {
                        self.armed -= 1;
                        fired.push(entry.id);
                    } else {
                        early.push(entry);
                    }
                }
            }
        }
        self.next = now + 1;
        for entry in early {
            self.file(entry);
        }
    }

    /// Returns the time at which to run next: at most a tick after the first timer is due, and perhaps
    /// earlier.
    pub(crate) fn next_due(&self) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let tick = (self.next..self.next + SLOTS)
            .find(|t| !self.slots[(t % SLOTS) as usize].is_empty())?;
        Some(tick * TICK)
    }

    /// Puts an entry into a slot. The wheel stands still while its worker sleeps, so `next` may be long
    /// past here.
    fn file(&mut self, entry: Entry) {
        let tick = entry
            .due_ms
            .div_ceil(TICK)
            .clamp(self.next, self.next + SLOTS - 1);
        self.slots[(tick % SLOTS) as usize].push(entry);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    /// The idle time may be long: a worker without ports sleeps until it is woken.
    #[test]
    fn a_timer_set_after_a_long_idle_time_fires() {
        let mut wheel = Wheel::new(0);
        let mut fired = Vec::new();
        wheel.run(100, &mut fired);
        wheel.set(1, 11_000);
        wheel.run(8000, &mut fired);
        assert!(fired.is_empty());
        wheel.run(10_999, &mut fired);
        assert!(fired.is_empty());
        wheel.run(11_050, &mut fired);
        assert_eq!(fired, [1]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Time passes without a run.
        Pass(u64),
        /// Sets a timer that is due after this many milliseconds. If negative, it was due before.
        Set(i64),
        Run,
        /// Sleeps as a worker does: until the time that the wheel returns.
        Sleep,
    }

    fn step() -> impl Strategy<Value = Step> {
        let gap = prop_oneof![0..200u64, 0..10_000u64, 0..10_000_000u64];
        let delay = prop_oneof![-200..200i64, 0..7000i64, 0..100_000i64];
        prop_oneof![
            gap.prop_map(Step::Pass),
            delay.prop_map(Step::Set),
            Just(Step::Run),
            Just(Step::Sleep),
        ]
    }

    proptest! {
        #[test]
        fn a_list_of_timers_fires_the_same(
            start in 0..100_000u64,
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let mut wheel = Wheel::new(start);
            let mut now = start;
            // The tick at which each timer fires, and the first tick that has not been run.
            let mut model: Vec<(u32, u64)> = Vec::new();
            let mut next = start / TICK;
            for (id, step) in (0u32..).zip(steps) {
                match step {
                    Step::Pass(gap) => {
                        now += gap;
                        continue;
                    }
                    Step::Set(delay) => {
                        let due = now.saturating_add_signed(delay);
                        wheel.set(id, due);
                        model.push((id, due.div_ceil(TICK).max(next)));
                        continue;
                    }
                    Step::Run => {}
                    Step::Sleep => match wheel.next_due() {
                        Some(due) => now = now.max(due),
                        None => prop_assert!(model.is_empty(), "asleep for ever: {model:?}"),
                    },
                }
                // A worker that sleeps until the time that the wheel returns misses no timer.
                if let Some(first) = model.iter().map(|(_, tick)| *tick).min() {
                    prop_assert!(wheel.next_due().is_some_and(|due| due <= first * TICK));
                }
                let mut fired = Vec::new();
                wheel.run(now, &mut fired);
                fired.sort_unstable();
                let expected: Vec<u32> = (model.extract_if(.., |(_, tick)| *tick <= now / TICK))
                    .map(|(id, _)| id)
                    .collect();
                prop_assert_eq!(fired, expected);
                next = next.max(now / TICK + 1);
            }
        }
    }
}
