//! A queue of the items that wait for the control plane. It is served round-robin by port, and keeps the order of each
//! port.

use std::collections::{BTreeMap, VecDeque};

use pinecone_dataplane::PortId;

/// The items that wait, by port. Their number is bounded by the data plane: waiting items count against the bound on a
/// port's pending frames.
pub(crate) struct Intake<T> {
    queues: BTreeMap<PortId, Queue<T>>,
    /// The ports that have items to hand out, the next one first.
    rotation: VecDeque<PortId>,
}

struct Queue<T> {
    waiting: VecDeque<T>,
    /// The number of items that are handed out and not done.
    under_way: usize,
    /// Set if no more items are handed out before those under way are done.
    held: bool,
    is_listed: bool,
}

impl<T> Default for Intake<T> {
    fn default() -> Self {
        Self {
            queues: BTreeMap::new(),
            rotation: VecDeque::new(),
        }
    }
}

impl<T> Intake<T> {
    /// Puts an item behind the others of its port.
    pub(crate) fn push(&mut self, port: PortId, item: T) {
        let queue = self.queues.entry(port).or_insert_with(Queue::new);
        queue.waiting.push_back(item);
        if !queue.held && !queue.is_listed {
            queue.is_listed = true;
            self.rotation.push_back(port);
        }
    }

    /// Reports whether a port has items to hand out.
    pub(crate) fn has_next(&self) -> bool {
        !self.rotation.is_empty()
    }

    /// Takes the next item, from the port that is next. An item for which `alone` returns true waits until no other
    /// item of its port is under way.
    pub(crate) fn next(&mut self, alone: impl Fn(&T) -> bool) -> Option<T> {
        while let Some(port) = self.rotation.pop_front() {
            let Some(queue) = self.queues.get_mut(&port) else {
                continue;
            };
            queue.is_listed = false;
            if queue.under_way > 0 && queue.waiting.front().is_some_and(&alone) {
                queue.held = true;
            }
            if queue.held {
                continue;
            }
            let Some(item) = queue.waiting.pop_front() else {
                continue;
            };
            if !queue.waiting.is_empty() {
                queue.is_listed = true;
                self.rotation.push_back(port);
            } else if queue.under_way == 0 {
                // The port may have closed, so its empty queue is removed.
                self.queues.remove(&port);
            }
            return Some(item);
        }
        None
    }

    /// Takes all items that still wait.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.rotation.clear();
        let queues = std::mem::take(&mut self.queues);
        queues.into_values().flat_map(|queue| queue.waiting)
    }

    /// Marks the item of this port that was handed out last as under way. If it `holds_up` the others, they wait until
    /// it is done.
    pub(crate) fn begin(&mut self, port: PortId, holds_up: bool) {
        let queue = self.queues.entry(port).or_insert_with(Queue::new);
        queue.under_way += 1;
        queue.held |= holds_up;
    }

    /// Marks an item that was under way as done.
    pub(crate) fn done(&mut self, port: PortId) {
        let Some(queue) = self.queues.get_mut(&port) else {
            return;
        };
        queue.under_way = queue.under_way.saturating_sub(1);
        if queue.under_way > 0 {
            return;
        }
        queue.held = false;
        if queue.waiting.is_empty() {
            self.queues.remove(&port);
        } else if !queue.is_listed {
            queue.is_listed = true;
            self.rotation.push_back(port);
        }
    }
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            under_way: 0,
            held: false,
            is_listed: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PortId = PortId(1);
    const B: PortId = PortId(2);

    fn take(intake: &mut Intake<u32>) -> Option<u32> {
        intake.next(|item| item.is_multiple_of(100))
    }

    #[test]
    fn ports_take_turns_and_each_keeps_its_order() {
        let mut intake = Intake::default();
        (101..=150).for_each(|n| intake.push(A, n));
        (201..=203).for_each(|n| intake.push(B, n));
        let all: Vec<_> = std::iter::from_fn(|| take(&mut intake)).collect();
        assert_eq!(all[..8], [101, 201, 102, 202, 103, 203, 104, 105]);
        assert_eq!(all.len(), 53);
        assert!(intake.queues.is_empty() && intake.rotation.is_empty());
    }

    #[test]
    fn an_item_that_holds_up_its_port_holds_up_no_other_port() {
        let mut intake = Intake::default();
        (101..=103).for_each(|n| intake.push(A, n));
        assert_eq!(take(&mut intake), Some(101));
        intake.begin(A, false);
        assert_eq!(take(&mut intake), Some(102));
        intake.begin(A, true);
        intake.push(A, 104);
        intake.push(B, 201);
        assert_eq!(take(&mut intake), Some(201));
        assert_eq!(take(&mut intake), None);
        intake.done(A);
        assert_eq!(take(&mut intake), None, "the one that holds up is not done");
        intake.done(A);
        assert_eq!(take(&mut intake), Some(103));
        assert_eq!(take(&mut intake), Some(104));
        assert!(intake.queues.is_empty());
    }

    #[test]
    fn an_item_that_runs_alone_waits_for_all_before_it() {
        let mut intake = Intake::default();
        [101, 200, 102].into_iter().for_each(|n| intake.push(A, n));
        assert_eq!(take(&mut intake), Some(101));
        intake.begin(A, false);
        assert_eq!(take(&mut intake), None);
        intake.done(A);
        assert_eq!(take(&mut intake), Some(200));
        assert_eq!(take(&mut intake), Some(102));
        assert!(intake.queues.is_empty());
    }
}
