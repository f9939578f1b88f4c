//! Sequences that outlive their routes.

use std::collections::VecDeque;
use std::time::Duration;

use pinecone_wire::PublicKey;

use crate::key_index::KeyIndex;

/// The last sequences of keys whose route is gone, so that their bootstraps cannot be replayed.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// By number; a number that is not in here counts no more.
    by_key: KeyIndex,
    /// In order of forgetting, numbered one after the other.
    queue: VecDeque<Last>,
    /// The number of the first of them.
    first: u32,
    forgotten: u64,
}

#[derive(Debug)]
struct Last {
    key: PublicKey,
    sequence: u64,
    until: Duration,
}

impl Remembered {
    /// Remembers a sequence until `until`, which never lies before that of an earlier call.
    pub(crate) fn insert(&mut self, key: PublicKey, sequence: u64, until: Duration, max: usize) {
        while self.queue.len() >= max {
            match self.pop() {
                Some(true) => self.forgotten += 1,
                Some(false) => {}
                None => return,
            }
        }
        self.remove(&key);
        let number = self.first.wrapping_add(self.queue.len() as u32);
        self.by_key.insert(&key, number);
        self.queue.push_back(Last {
            key,
            sequence,
            until,
        });
    }

    /// The last sequence of `key`, if it is to be remembered still.
    pub(crate) fn get(&self, now: Duration, key: &PublicKey) -> Option<u64> {
        let number = self.by_key.find(key, |number| self.holds(number, key))?;
        let last = self.last(number).filter(|last| now < last.until)?;
        Some(last.sequence)
    }

    /// The key has a route again.
    pub(crate) fn remove(&mut self, key: &PublicKey) {
        let (queue, first) = (&self.queue, self.first);
        let holds = |number: u32| {
            let last = queue.get(number.wrapping_sub(first) as usize);
            last.is_some_and(|last| last.key == *key)
        };
        self.by_key.remove(key, holds);
    }

    /// Forgets what is due.
    pub(crate) fn forget(&mut self, now: Duration) {
        while self.queue.front().is_some_and(|last| last.until <= now) {
            self.pop();
        }
    }

    /// How many were forgotten early.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn last(&self, number: u32) -> Option<&Last> {
        self.queue.get(number.wrapping_sub(self.first) as usize)
    }

    fn holds(&self, number: u32, key: &PublicKey) -> bool {
        self.last(number).is_some_and(|last| last.key == *key)
    }

    /// Drops the head of the queue; whether it still counted.
    fn pop(&mut self) -> Option<bool> {
        let last = self.queue.pop_front()?;
        let first = self.first;
        self.first = first.wrapping_add(1);
        Some(
            self.by_key
                .remove(&last.key, |number| number == first)
                .is_some(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn sequences_are_remembered_until_then_and_not_too_many() {
        let mut remembered = Remembered {
            first: u32::MAX - 1,
            ..Remembered::default()
        };
        let key = |n: u8| PublicKey([n; 32]);
        for n in 0..5 {
            remembered.insert(key(n), u64::from(n), secs(10 + u64::from(n)), 4);
        }
        assert_eq!(remembered.get(secs(0), &key(0)), None);
        assert_eq!(remembered.forgotten(), 1);
        assert_eq!(remembered.get(secs(10), &key(1)), Some(1));
        assert_eq!(remembered.get(secs(11), &key(1)), None);
        remembered.remove(&key(2));
        assert_eq!(remembered.get(secs(0), &key(2)), None);
        remembered.insert(key(3), 33, secs(20), 4);
        remembered.forget(secs(19));
        assert_eq!(remembered.get(secs(19), &key(3)), Some(33));
        assert_eq!(remembered.by_key.len(), 1);
        assert_eq!(remembered.queue.len(), 1);
    }
}
