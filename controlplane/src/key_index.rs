//! Finds entries by the key that they hold themselves, so that no key is stored twice.

use std::hash::{BuildHasher, Hasher, RandomState};

use hashbrown::HashTable;
use pinecone_wire::PublicKey;

/// Where the entry of each key is: 9 bytes each, and what the table keeps free.
///
/// Nothing here can be iterated, and the hashes are keyed at random: nobody can choose keys that
/// collide, and nothing that is decided depends on them.
#[derive(Debug, Default)]
pub(crate) struct KeyIndex {
    places: HashTable<Place>,
    seed: RandomState,
}

/// With the hash, growing need not look at the keys, which lie anywhere in memory.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u32,
    hash: u32,
}

impl KeyIndex {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where the entry of `key` is, which `holds` says of a place.
    pub(crate) fn find(&self, key: &PublicKey, holds: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = self.hash(key);
        let same = |place: &Place| place.hash == hash && holds(place.at);
        self.places.find(spread(hash), same).map(|place| place.at)
    }

    /// `key`, which is not known, is at `at`.
    pub(crate) fn insert(&mut self, key: &PublicKey, at: u32) {
        let hash = self.hash(key);
        let place = Place { at, hash };
        self.places
            .insert_unique(spread(hash), place, |place| spread(place.hash));
    }

    /// Takes out the place of `key`, as in [`Self::find`].
    pub(crate) fn remove(&mut self, key: &PublicKey, holds: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = self.hash(key);
        let same = |place: &Place| place.hash == hash && holds(place.at);
        let found = self.places.find_entry(spread(hash), same).ok()?;
        Some(found.remove().0.at)
    }

    fn hash(&self, key: &PublicKey) -> u32 {
        let mut hasher = self.seed.build_hasher();
        hasher.write(key.as_bytes());
        hasher.finish() as u32
    }
}

/// The table takes places from the low bits and a check from the highest.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
