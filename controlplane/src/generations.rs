//! A bounded map that drops what has not been used lately.

use std::collections::HashMap;
use std::hash::Hash;

/// A map of at most `limit` entries, in two generations.
///
/// Once the young generation holds half of the limit it becomes the old one, and the entries of the previous old
/// generation are dropped. An entry that is used in between moves to the young generation and stays.
pub(crate) struct Generations<K, V> {
    half: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    dropped: u64,
}

impl<K: Eq + Hash, V: Clone> Generations<K, V> {
    /// Creates an empty map. The limit is at least 2.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            half: (limit / 2).max(1),
            young: HashMap::new(),
            old: HashMap::new(),
            dropped: 0,
        }
    }

    /// Returns the value of `key` without counting this as a use.
    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Returns a copy of the value of `key`, which counts as used.
    pub(crate) fn get(&mut self, key: K) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(value.clone());
        }
        let value = self.old.remove(&key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Inserts or replaces an entry.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.dropped += self.old.len() as u64;
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Returns the number of entries dropped to stay within the limit.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_entries_stay_and_the_limit_holds() {
        let mut map = Generations::new(8);
        map.insert(0, 0);
        for n in 1..100 {
            assert_eq!(map.get(n), None);
            map.insert(n, 10 * n);
            assert_eq!(map.get(n), Some(10 * n));
            assert_eq!(map.get(0), Some(0));
            assert!(map.young.len() + map.old.len() <= 8);
        }
        assert!(map.dropped() >= 89, "{}", map.dropped());
    }

    #[test]
    fn peeking_does_not_keep_an_entry() {
        let mut map = Generations::new(4);
        map.insert(0, 'a');
        for n in 1..=3 {
            map.insert(n, 'b');
            assert_eq!(map.peek(&0), Some(&'a'));
        }
        map.insert(4, 'b');
        assert_eq!(map.peek(&0), None);
    }

    #[test]
    fn an_entry_can_be_replaced() {
        let mut map = Generations::new(2);
        map.insert(1, 'a');
        map.insert(1, 'b');
        assert_eq!((map.get(1), map.dropped()), (Some('b'), 0));
        map.insert(2, 'c');
        map.insert(1, 'd');
        assert_eq!(map.get(1), Some('d'));
    }
}
