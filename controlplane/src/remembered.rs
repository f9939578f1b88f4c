//! Sequences that outlive their routes.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hashbrown::HashTable;
use pinecone_wire::PublicKey;

/// The last sequences of keys whose route is gone, so that their bootstraps cannot be replayed.
///
/// Where paths change there are far more of them than routes, so that of a key only a hash is kept,
/// of 48 bits and with a seed that nobody knows: with a million in here, one key in 10^8 is taken for
/// another, and has to wait for its next bootstrap.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// Numbers, by hash; one that is not in here counts no more.
    numbers: HashTable<u32>,
    /// In order of forgetting, numbered one after the other.
    queue: VecDeque<Last>,
    /// The number of the first of them.
    first: u32,
    forgotten: u64,
    seed: RandomState,
}

/// A sequence, in as little memory as it takes.
#[derive(Debug)]
struct Last {
    /// The hash of the key in the upper 48 bits, and the upper 16 of the sequence.
    hash: u64,
    /// The lower 32 bits of the sequence.
    low: u32,
    /// When to forget it, in tenths of a second: enough for 13 years.
    until: u32,
}

const _: () = assert!(size_of::<Last>() == 16);

/// A queue that is longer keeps what counts no more until it is due: moving it would hold up the control
/// plane for milliseconds.
const MOST_MOVED: usize = 65_536;
/// A queue that is shorter has too little to give back.
const LEAST_MOVED: usize = if cfg!(test) { 8 } else { 64 };

/// The bits of [`Last::hash`] that are the key's.
const HASH: u64 = !0xffff;
/// The highest sequence that is told from others: as a time in milliseconds, in the year 10,889. Such
/// a one is never accepted.
const HIGHEST: u64 = (1 << 48) - 1;

impl Remembered {
    /// Remembers a sequence until `until`, which never lies before that of an earlier call.
    pub(crate) fn insert(&mut self, key: &PublicKey, sequence: u64, until: Duration, max: usize) {
        while self.queue.len() >= max {
            match self.pop() {
                Some(true) => self.forgotten += 1,
                Some(false) => {}
                None => return,
            }
        }
        self.remove(key);
        let len = self.queue.len();
        if len > 2 * self.numbers.len() && (LEAST_MOVED..=MOST_MOVED).contains(&len) {
            self.drop_removed();
        }
        let number = self.first.wrapping_add(self.queue.len() as u32);
        let hash = self.hash(key);
        let (queue, first) = (&self.queue, self.first);
        let hash_of = |&number: &u32| spread(hash_of(queue, first, number).unwrap_or_default());
        self.numbers.insert_unique(spread(hash), number, hash_of);
        if self.queue.len() == self.queue.capacity() {
            // Doubling would keep half of it for nothing.
            self.queue.reserve_exact((self.queue.len() / 4).max(8));
        }
        self.queue.push_back(Last::new(hash, sequence, until));
    }

    /// The last sequence of `key`, if it is to be remembered still.
    pub(crate) fn get(&self, now: Duration, key: &PublicKey) -> Option<u64> {
        let (hash, queue, first) = (self.hash(key), &self.queue, self.first);
        let of_key = |&number: &u32| hash_of(queue, first, number) == Some(hash);
        let number = self.numbers.find(spread(hash), of_key)?;
        let last = queue.get(number.wrapping_sub(first) as usize)?;
        (!last.is_due(now)).then(|| last.sequence())
    }

    /// The key has a route again.
    pub(crate) fn remove(&mut self, key: &PublicKey) {
        let (hash, queue, first) = (self.hash(key), &self.queue, self.first);
        let of_key = |&number: &u32| hash_of(queue, first, number) == Some(hash);
        if let Ok(found) = self.numbers.find_entry(spread(hash), of_key) {
            found.remove();
        }
    }

    /// Forgets what is due.
    pub(crate) fn forget(&mut self, now: Duration) {
        while self.queue.front().is_some_and(|last| last.is_due(now)) {
            self.pop();
        }
    }

    /// How many were forgotten early.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Drops the entries of keys that have a route again.
    fn drop_removed(&mut self) {
        let (queue, numbers) = (std::mem::take(&mut self.queue), &self.numbers);
        let counting = queue.into_iter().zip(0u32..).filter(|(last, at)| {
            let number = self.first.wrapping_add(*at);
            let hash = spread(last.hash & HASH);
            numbers.find(hash, |&known| known == number).is_some()
        });
        self.queue.reserve_exact(self.numbers.len() * 5 / 4);
        self.queue.extend(counting.map(|(last, _)| last));
        self.numbers = HashTable::with_capacity(self.queue.len());
        for (last, at) in self.queue.iter().zip(0u32..) {
            let (queue, first) = (&self.queue, self.first);
            let hash_of = |&number: &u32| spread(hash_of(queue, first, number).unwrap_or_default());
            let number = first.wrapping_add(at);
            self.numbers
                .insert_unique(spread(last.hash & HASH), number, hash_of);
        }
    }

    /// Drops the head of the queue; whether it still counted.
    fn pop(&mut self) -> Option<bool> {
        let last = self.queue.pop_front()?;
        let first = self.first;
        self.first = first.wrapping_add(1);
        let found = self
            .numbers
            .find_entry(spread(last.hash & HASH), |&number| number == first);
        Some(found.map(|found| found.remove()).is_ok())
    }

    fn hash(&self, key: &PublicKey) -> u64 {
        self.seed.hash_one(key.as_bytes()) & HASH
    }
}

impl Last {
    fn new(hash: u64, sequence: u64, until: Duration) -> Self {
        let sequence = sequence.min(HIGHEST);
        // Not before its time is over.
        let until = until.as_nanos().div_ceil(100_000_000);
        Self {
            hash: hash | sequence >> 32,
            low: sequence as u32,
            until: u32::try_from(until).unwrap_or(u32::MAX),
        }
    }

    fn sequence(&self) -> u64 {
        (self.hash & !HASH) << 32 | u64::from(self.low)
    }

    fn is_due(&self, now: Duration) -> bool {
        now.as_millis() >= u128::from(self.until) * 100
    }
}

/// The hash of an entry's key.
fn hash_of(queue: &VecDeque<Last>, first: u32, number: u32) -> Option<u64> {
    let last = queue.get(number.wrapping_sub(first) as usize)?;
    Some(last.hash & HASH)
}

/// The table takes places from the lowest bits, which a hash leaves empty.
fn spread(hash: u64) -> u64 {
    (hash >> 16).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

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
            remembered.insert(&key(n), u64::from(n), secs(10 + u64::from(n)), 4);
        }
        assert_eq!(remembered.get(secs(0), &key(0)), None);
        assert_eq!(remembered.forgotten(), 1);
        assert_eq!(remembered.get(secs(10), &key(1)), Some(1));
        assert_eq!(remembered.get(secs(11), &key(1)), None);
        assert_eq!(remembered.get(secs(11), &key(3)), Some(3));
        remembered.remove(&key(2));
        assert_eq!(remembered.get(secs(0), &key(2)), None);
        remembered.insert(&key(3), 33, secs(20), 4);
        remembered.forget(secs(19));
        assert_eq!(remembered.get(secs(19), &key(3)), Some(33));
        assert_eq!(remembered.numbers.len(), 1);
        assert_eq!(remembered.queue.len(), 1);
    }

    #[test]
    fn sequences_come_back_as_they_were() {
        let mut remembered = Remembered::default();
        let sequences = [
            0,
            1,
            u64::from(u32::MAX),
            1 << 32,
            1_790_000_000_123,
            HIGHEST,
        ];
        for (n, sequence) in sequences.into_iter().enumerate() {
            let key = PublicKey([n as u8; 32]);
            let until = Duration::from_millis(1234);
            remembered.insert(&key, sequence, until, usize::MAX);
            let just_before = until - Duration::from_nanos(1);
            assert_eq!(remembered.get(just_before, &key), Some(sequence));
            assert_eq!(
                remembered.get(until + Duration::from_millis(100), &key),
                None
            );
        }
    }

    #[test]
    fn keys_that_come_and_go_take_no_memory_meanwhile() {
        let mut remembered = Remembered {
            first: u32::MAX - 1000,
            ..Remembered::default()
        };
        let key = |n: u64| PublicKey([(n % 30) as u8; 32]);
        for n in 0..10_000 {
            remembered.insert(&key(n), n, secs(60), usize::MAX);
            remembered.remove(&key(n + 20));
            assert!(remembered.queue.len() <= 42);
        }
        for n in 9_990..10_000 {
            assert_eq!(remembered.get(secs(0), &key(n)), Some(n));
        }
    }

    proptest! {
        /// Against a plain map: what is done with which of 20 keys in which second.
        #[test]
        fn it_agrees_with_a_plain_map(steps in prop::collection::vec((0..4u8, 0..20u8), 1..300)) {
            let mut remembered = Remembered::default();
            let mut model: BTreeMap<u8, (u64, Duration)> = BTreeMap::new();
            for (n, (step, of)) in steps.into_iter().enumerate() {
                let now = secs(n as u64);
                let key = |of: u8| PublicKey([of; 32]);
                match step {
                    0 | 1 => {
                        let until = now + secs(60);
                        remembered.insert(&key(of), n as u64, until, usize::MAX);
                        model.insert(of, (n as u64, until));
                    }
                    2 => {
                        remembered.remove(&key(of));
                        model.remove(&of);
                    }
                    _ => {
                        remembered.forget(now);
                        prop_assert!(remembered.queue.len() <= 60);
                    }
                }
                model.retain(|_, (_, until)| now < *until);
                for of in 0..20 {
                    let expected = model.get(&of).map(|(sequence, _)| *sequence);
                    prop_assert_eq!(remembered.get(now, &key(of)), expected);
                }
            }
        }
    }
}
