//! A queue of future events, in the order of time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::Nanos;

/// A queue of items that are due at given times. Items due at the same time leave it in the order
/// in which they were added.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    pushed: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Nanos,
    number: u64,
    item: T,
}

impl<T> Queue<T> {
    /// Returns an empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            pushed: 0,
        }
    }

    /// Adds an item.
    pub fn push(&mut self, at: Nanos, item: T) {
        self.pushed += 1;
        self.heap.push(Entry {
            at,
            number: self.pushed,
            item,
        });
    }

    /// Removes the next item, if it is due by `until`.
    pub fn pop(&mut self, until: Nanos) -> Option<(Nanos, T)> {
        if self.heap.peek()?.at > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.item))
    }

    /// Returns the number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Reports whether the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Entry<T> {
    fn rank(&self) -> (Nanos, u64) {
        (self.at, self.number)
    }
}

/// Reversed, as the heap returns its greatest entry first.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.rank().cmp(&self.rank())
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_leave_in_order_of_time_and_then_of_insertion() {
        let mut queue = Queue::new();
        for (at, item) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b'), (9, 'e')] {
            queue.push(at, item);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(8)).collect();
        assert_eq!(order, [(3, 'a'), (3, 'b'), (5, 'c'), (5, 'd')]);
        assert_eq!(queue.len(), 1);
    }
}
