//! Sequences that outlive their routes, against replayed bootstraps.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hashbrown::HashTable;
use pinecone_wire::PublicKey;

/// The last sequences of keys whose route is gone, kept so that their bootstraps cannot be replayed.
///
/// Where paths change there are far more entries than routes, so an entry holds only a hash of its key: 48 bits,
/// with a secret seed. With a million entries, one key in 10^8 is mistaken for another and has to wait for its next
/// bootstrap.
#[derive(Debug, Default)]
pub(crate) struct ReplayCache {
    /// Numbers of the live entries, by hash. An entry in the queue whose number is missing here is dead.
    numbers: HashTable<u32>,
    /// Entries in order of expiry, numbered consecutively.
    queue: VecDeque<Entry>,
    /// The number of the first entry.
    first: u32,
    evicted: u64,
    seed: RandomState,
}

/// An entry, packed into 16 bytes.
#[derive(Debug)]
struct Entry {
    /// The hash of the key in the upper 48 bits, the upper 16 bits of the sequence below.
    hash: u64,
    /// The lower 32 bits of the sequence.
    low: u32,
    /// The time at which it expires, in tenths of a second: enough for 13 years.
    until: u32,
}

const _: () = assert!(size_of::<Entry>() == 16);

/// Maximum length of a queue from which dead entries are removed early. Moving a longer one would block the control
/// plane for milliseconds.
const MOST_MOVED: usize = 65_536;
/// Minimum length of a queue that is worth compacting.
const LEAST_MOVED: usize = if cfg!(test) { 8 } else { 64 };

/// The bits of [`Entry::hash`] that belong to the key.
const HASH: u64 = !0xffff;
/// The highest sequence that can be represented. As a time in milliseconds it lies in the year 10,889, and is never
/// accepted.
const HIGHEST: u64 = (1 << 48) - 1;

impl ReplayCache {
    /// Adds a sequence that expires at `until`, which must not be earlier than in a previous call. Beyond `max` entries
    /// the oldest is evicted.
    pub(crate) fn insert(&mut self, key: &PublicKey, sequence: u64, until: Duration, max: usize) {
        while self.queue.len() >= max {
            match self.pop() {
                Some(true) => self.evicted += 1,
                Some(false) => {}
                None => return,
            }
        }
        self.remove(key);
        let len = self.queue.len();
        if len > 2 * self.numbers.len() && (LEAST_MOVED..=MOST_MOVED).contains(&len) {
            self.compact();
        }
        let number = self.first.wrapping_add(self.queue.len() as u32);
        let hash = self.hash(key);
        let (queue, first) = (&self.queue, self.first);
        let hash_of = |&number: &u32| spread(hash_of(queue, first, number).unwrap_or_default());
        self.numbers.insert_unique(spread(hash), number, hash_of);
        if self.queue.len() == self.queue.capacity() {
            // Doubling would leave half of the memory unused.
            self.queue.reserve_exact((self.queue.len() / 4).max(8));
        }
        self.queue.push_back(Entry::new(hash, sequence, until));
    }

    /// Returns the last sequence of `key`, unless it has expired.
    pub(crate) fn get(&self, now: Duration, key: &PublicKey) -> Option<u64> {
        let (hash, queue, first) = (self.hash(key), &self.queue, self.first);
        let of_key = |&number: &u32| hash_of(queue, first, number) == Some(hash);
        let number = self.numbers.find(spread(hash), of_key)?;
        let entry = queue.get(number.wrapping_sub(first) as usize)?;
        (!entry.is_expired(now)).then(|| entry.sequence())
    }

    /// Removes the entry of `key`, which has a route again.
    pub(crate) fn remove(&mut self, key: &PublicKey) {
        let (hash, queue, first) = (self.hash(key), &self.queue, self.first);
        let of_key = |&number: &u32| hash_of(queue, first, number) == Some(hash);
        if let Ok(found) = self.numbers.find_entry(spread(hash), of_key) {
            found.remove();
        }
    }

    /// Removes expired entries.
    pub(crate) fn expire(&mut self, now: Duration) {
        while self
            .queue
            .front()
            .is_some_and(|entry| entry.is_expired(now))
        {
            self.pop();
        }
    }

    /// Returns the number of entries evicted before they expired.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Compacts the queue by dropping dead entries.
    fn compact(&mut self) {
        let (queue, numbers) = (std::mem::take(&mut self.queue), &self.numbers);
        let live = queue.into_iter().zip(0u32..).filter(|(entry, at)| {
            let number = self.first.wrapping_add(*at);
            let hash = spread(entry.hash & HASH);
            numbers.find(hash, |&known| known == number).is_some()
        });
        self.queue.reserve_exact(self.numbers.len() * 5 / 4);
        self.queue.extend(live.map(|(entry, _)| entry));
        self.numbers = HashTable::with_capacity(self.queue.len());
        for (entry, at) in self.queue.iter().zip(0u32..) {
            let (queue, first) = (&self.queue, self.first);
            let hash_of = |&number: &u32| spread(hash_of(queue, first, number).unwrap_or_default());
            let number = first.wrapping_add(at);
            self.numbers
                .insert_unique(spread(entry.hash & HASH), number, hash_of);
        }
    }

    /// Drops the head of the queue. Returns whether it was live.
    fn pop(&mut self) -> Option<bool> {
        let entry = self.queue.pop_front()?;
        let first = self.first;
        self.first = first.wrapping_add(1);
        let found = self
            .numbers
            .find_entry(spread(entry.hash & HASH), |&number| number == first);
        Some(found.map(|found| found.remove()).is_ok())
    }

    fn hash(&self, key: &PublicKey) -> u64 {
        self.seed.hash_one(key.as_bytes()) & HASH
    }
}

impl Entry {
    fn new(hash: u64, sequence: u64, until: Duration) -> Self {
        let sequence = sequence.min(HIGHEST);
        // Rounded up, so that it does not expire early.
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

    fn is_expired(&self, now: Duration) -> bool {
        now.as_millis() >= u128::from(self.until) * 100
    }
}

/// Returns the hash of the key of the entry with this number.
fn hash_of(queue: &VecDeque<Entry>, first: u32, number: u32) -> Option<u64> {
    let entry = queue.get(number.wrapping_sub(first) as usize)?;
    Some(entry.hash & HASH)
}

/// Moves the hash to the low bits, from which the table derives positions.
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
    fn sequences_expire_and_the_number_is_limited() {
        let mut cache = ReplayCache {
            first: u32::MAX - 1,
            ..ReplayCache::default()
        };
        let key = |n: u8| PublicKey([n; 32]);
        for n in 0..5 {
            cache.insert(&key(n), u64::from(n), secs(10 + u64::from(n)), 4);
        }
        assert_eq!(cache.get(secs(0), &key(0)), None);
        assert_eq!(cache.evicted(), 1);
        assert_eq!(cache.get(secs(10), &key(1)), Some(1));
        assert_eq!(cache.get(secs(11), &key(1)), None);
        assert_eq!(cache.get(secs(11), &key(3)), Some(3));
        cache.remove(&key(2));
        assert_eq!(cache.get(secs(0), &key(2)), None);
        cache.insert(&key(3), 33, secs(20), 4);
        cache.expire(secs(19));
        assert_eq!(cache.get(secs(19), &key(3)), Some(33));
        assert_eq!(cache.numbers.len(), 1);
        assert_eq!(cache.queue.len(), 1);
    }

    #[test]
    fn sequences_are_returned_unchanged() {
        let mut cache = ReplayCache::default();
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
            cache.insert(&key, sequence, until, usize::MAX);
            let just_before = until - Duration::from_nanos(1);
            assert_eq!(cache.get(just_before, &key), Some(sequence));
            assert_eq!(cache.get(until + Duration::from_millis(100), &key), None);
        }
    }

    #[test]
    fn removed_entries_are_compacted() {
        let mut cache = ReplayCache {
            first: u32::MAX - 1000,
            ..ReplayCache::default()
        };
        let key = |n: u64| PublicKey([(n % 30) as u8; 32]);
        for n in 0..10_000 {
            cache.insert(&key(n), n, secs(60), usize::MAX);
            cache.remove(&key(n + 20));
            assert!(cache.queue.len() <= 42);
        }
        for n in 9_990..10_000 {
            assert_eq!(cache.get(secs(0), &key(n)), Some(n));
        }
    }

    proptest! {
        /// Applies random operations on 20 keys, one a second, to the cache and to a plain map.
        #[test]
        fn the_cache_agrees_with_a_plain_map(steps in prop::collection::vec((0..4u8, 0..20u8), 1..300)) {
            let mut cache = ReplayCache::default();
            let mut model: BTreeMap<u8, (u64, Duration)> = BTreeMap::new();
            for (n, (step, of)) in steps.into_iter().enumerate() {
                let now = secs(n as u64);
                let key = |of: u8| PublicKey([of; 32]);
                match step {
                    0 | 1 => {
                        let until = now + secs(60);
                        cache.insert(&key(of), n as u64, until, usize::MAX);
                        model.insert(of, (n as u64, until));
                    }
                    2 => {
                        cache.remove(&key(of));
                        model.remove(&of);
                    }
                    _ => {
                        cache.expire(now);
                        prop_assert!(cache.queue.len() <= 60);
                    }
                }
                model.retain(|_, (_, until)| now < *until);
                for of in 0..20 {
                    let expected = model.get(&of).map(|(sequence, _)| *sequence);
                    prop_assert_eq!(cache.get(now, &key(of)), expected);
                }
            }
        }
    }
}
