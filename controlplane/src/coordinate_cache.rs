//! A cache of other nodes' coordinates.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use pinecone_wire::timing::COORDINATES_LIFETIME;
use pinecone_wire::{Coordinates, PublicKey};

use crate::Now;

/// The coordinates that other nodes have stated: `key → coordinates` for 60 s (protocol section 7).
///
/// The source of a traffic frame is not authenticated. So the first statement is believed, and after that only a key
/// that this node has sent to within the last 60 s may change its coordinates. When the cache is full, keys that this
/// node has not sent to are evicted first. Coordinates deeper than those of any tree are refused, as a frame has room
/// for a hundred times more. Clear the cache ([`Self::clear`]) when the root key changes.
#[derive(Debug)]
pub struct CoordinateCache {
    limit: usize,
    /// Number of port numbers in all entries.
    ports: usize,
    entries: HashMap<PublicKey, Entry>,
    /// Entries in order of expiry: those of keys that this node has not sent to, and those of the others.
    strangers: BTreeSet<(Duration, PublicKey)>,
    acquaintances: BTreeSet<(Duration, PublicKey)>,
    /// The time at which this node last sent to a key, to the second; and the same entries in order of time.
    sent: HashMap<PublicKey, Duration>,
    sent_order: BTreeSet<(Duration, PublicKey)>,
    refused: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Entry {
    coordinates: Coordinates,
    expires: Duration,
    acquainted: bool,
}

impl Default for CoordinateCache {
    fn default() -> Self {
        Self::new(Self::DEFAULT_LIMIT)
    }
}

impl CoordinateCache {
    /// The default limit on the number of keys.
    pub const DEFAULT_LIMIT: usize = 65_536;
    /// The maximum number of port numbers of one key: as many as an announcement may have signatures.
    pub const MAX_DEPTH: usize = 600;
    /// The maximum number of port numbers in all entries, per key of the limit.
    pub const PORTS_PER_KEY: usize = 16;

    /// Creates an empty cache for at most `limit` keys.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            ports: 0,
            entries: HashMap::new(),
            strangers: BTreeSet::new(),
            acquaintances: BTreeSet::new(),
            sent: HashMap::new(),
            sent_order: BTreeSet::new(),
            refused: 0,
            evicted: 0,
        }
    }

    /// Records the source coordinates of a traffic frame from `key`. Returns whether they were accepted.
    pub fn insert(&mut self, now: Now, key: PublicKey, coordinates: Coordinates) -> bool {
        self.expire(now);
        let acquainted = self.sent.contains_key(&key);
        let depth = coordinates.depth();
        if depth > Self::MAX_DEPTH || (self.entries.contains_key(&key) && !acquainted) {
            self.refused += 1;
            return false;
        }
        self.remove(&key);
        let most = (self.limit * Self::PORTS_PER_KEY).max(Self::MAX_DEPTH);
        while self.entries.len() >= self.limit || self.ports + depth > most {
            if !self.make_room(acquainted) {
                self.refused += 1;
                return false;
            }
        }
        self.ports += depth;
        let expires = now.monotonic + COORDINATES_LIFETIME;
        self.queue(acquainted).insert((expires, key));
        self.entries.insert(
            key,
            Entry {
                coordinates,
                expires,
                acquainted,
            },
        );
        true
    }

    /// Returns the coordinates of `key`, if it has stated them within the last 60 s.
    #[must_use]
    pub fn get(&self, now: Now, key: &PublicKey) -> Option<Coordinates> {
        self.entries
            .get(key)
            .filter(|entry| now.monotonic < entry.expires)
            .map(|entry| entry.coordinates.clone())
    }

    /// Records that this node is sending to `key`.
    pub fn sent_to(&mut self, now: Now, key: &PublicKey) {
        if let Some(at) = self.sent.get(key).copied() {
            // This is called for every frame, and once a second is enough.
            if now.monotonic < at + Duration::from_secs(1) {
                return;
            }
            self.sent_order.remove(&(at, *key));
        } else if self.sent.len() >= self.limit
            && let Some((_, oldest)) = self.sent_order.pop_first()
        {
            self.sent.remove(&oldest);
        }
        self.sent.insert(*key, now.monotonic);
        self.sent_order.insert((now.monotonic, *key));
        self.expire(now);
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.acquainted
        {
            entry.acquainted = true;
            let at = (entry.expires, *key);
            self.strangers.remove(&at);
            self.acquaintances.insert(at);
        }
    }

    /// Removes all coordinates, because the tree that they belong to is gone.
    pub fn clear(&mut self) {
        self.ports = 0;
        self.entries.clear();
        self.strangers.clear();
        self.acquaintances.clear();
    }

    /// Returns the number of keys with coordinates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Reports whether the cache holds no coordinates.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the number of coordinates refused, because this node does not send to the key, they are too deep, or the
    /// cache is full of entries that may not be evicted for them.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Returns the number of coordinates evicted before they expired.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn expire(&mut self, now: Now) {
        for acquainted in [false, true] {
            while let Some(&(expires, key)) = self.queue(acquainted).first()
                && expires <= now.monotonic
            {
                self.remove(&key);
            }
        }
        while let Some(&(at, key)) = self.sent_order.first()
            && at + COORDINATES_LIFETIME <= now.monotonic
        {
            self.sent_order.pop_first();
            self.sent.remove(&key);
        }
    }

    /// Evicts the entry that expires first, preferring keys that this node has not sent to.
    fn make_room(&mut self, for_acquaintance: bool) -> bool {
        let oldest = match self.strangers.first() {
            Some(oldest) => Some(*oldest),
            None if for_acquaintance => self.acquaintances.first().copied(),
            None => None,
        };
        oldest.is_some_and(|(_, key)| {
            self.remove(&key);
            self.evicted += 1;
            true
        })
    }

    fn remove(&mut self, key: &PublicKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.ports -= entry.coordinates.depth();
            self.queue(entry.acquainted).remove(&(entry.expires, *key));
        }
    }

    fn queue(&mut self, acquainted: bool) -> &mut BTreeSet<(Duration, PublicKey)> {
        if acquainted {
            &mut self.acquaintances
        } else {
            &mut self.strangers
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            monotonic: Duration::from_millis(ms),
            unix_ms: ms,
        }
    }

    fn key(n: u8) -> PublicKey {
        PublicKey([n; 32])
    }

    fn place(port: u64) -> Coordinates {
        vec![port].into()
    }

    #[test]
    fn the_first_statement_holds_for_sixty_seconds() {
        let mut cache = CoordinateCache::new(10);
        assert!(cache.insert(at(0), key(1), place(1)));
        assert!(!cache.insert(at(1000), key(1), place(2)));
        assert_eq!(cache.get(at(59_999), &key(1)), Some(place(1)));
        assert_eq!(cache.get(at(60_000), &key(1)), None);
        assert!(cache.insert(at(60_000), key(1), place(3)));
        assert_eq!(cache.get(at(60_000), &key(1)), Some(place(3)));
        assert_eq!(cache.refused(), 1);
    }

    #[test]
    fn a_key_that_was_sent_to_may_move_for_sixty_seconds() {
        let mut cache = CoordinateCache::new(10);
        cache.insert(at(0), key(1), place(1));
        cache.sent_to(at(10_000), &key(1));
        assert!(cache.insert(at(20_000), key(1), place(2)));
        assert!(!cache.insert(at(70_000), key(1), place(3)));
        assert_eq!(cache.get(at(79_999), &key(1)), Some(place(2)));
        assert_eq!(cache.get(at(80_000), &key(1)), None);
    }

    #[test]
    fn strangers_are_evicted_first() {
        let mut cache = CoordinateCache::new(3);
        cache.insert(at(0), key(1), place(1));
        cache.sent_to(at(0), &key(1));
        cache.insert(at(1), key(2), place(2));
        cache.sent_to(at(1), &key(3));
        cache.insert(at(2), key(3), place(3));
        assert!(cache.insert(at(3), key(4), place(4)));
        assert_eq!(cache.get(at(3), &key(2)), None, "the only stranger");
        cache.sent_to(at(4), &key(4));
        assert!(!cache.insert(at(5), key(5), place(5)), "a stranger");
        cache.sent_to(at(6), &key(5));
        assert!(cache.insert(at(7), key(5), place(5)));
        assert_eq!(cache.get(at(7), &key(1)), None, "the oldest");
        assert_eq!((cache.refused(), cache.evicted()), (1, 2));
        assert_eq!(cache.len(), 3);
    }

    #[test]
    fn port_numbers_are_bounded_per_key_and_in_total() {
        const DEPTH: usize = CoordinateCache::MAX_DEPTH;
        let deep = |depth: usize| Coordinates::from(vec![1u64; depth]);
        let mut cache = CoordinateCache::default();
        assert!(!cache.insert(at(0), key(1), deep(DEPTH + 1)));
        assert!(cache.insert(at(0), key(1), deep(DEPTH)));
        cache.sent_to(at(0), &key(1));
        assert!(!cache.insert(at(0), key(1), deep(DEPTH + 1)));
        assert_eq!(cache.get(at(0), &key(1)), Some(deep(DEPTH)));
        let most = CoordinateCache::DEFAULT_LIMIT * CoordinateCache::PORTS_PER_KEY / DEPTH;
        for n in 0..most as u64 + 10 {
            let mut key = PublicKey([9; 32]);
            key.0[..8].copy_from_slice(&n.to_be_bytes());
            assert!(cache.insert(at(n), key, deep(DEPTH)));
        }
        assert_eq!(cache.len(), most, "strangers were evicted");
        assert_eq!(cache.ports, most * DEPTH);
        assert_eq!(cache.get(at(0), &key(1)), Some(deep(DEPTH)));
        assert!(cache.insert(at(20_000), key(1), place(1)), "it may move");
        assert_eq!(cache.ports, (most - 1) * DEPTH + 1);
        cache.insert(at(100_000), key(2), deep(2));
        assert_eq!((cache.len(), cache.ports), (1, 2), "the others expired");
    }

    #[test]
    fn both_tables_stay_within_the_limit() {
        let mut cache = CoordinateCache::new(4);
        for n in 0..100 {
            cache.sent_to(at(u64::from(n)), &key(n));
            cache.insert(at(u64::from(n)), key(n), place(1));
        }
        assert_eq!(cache.len(), 4);
        assert_eq!(cache.sent.len(), 4);
        assert_eq!(cache.sent_order.len(), 4);
        assert_eq!(cache.strangers.len() + cache.acquaintances.len(), 4);
        cache.clear();
        assert!(cache.is_empty());
        assert_eq!(cache.get(at(100), &key(99)), None);
    }
}
