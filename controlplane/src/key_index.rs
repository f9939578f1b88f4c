//! An index by key into entries that hold their keys themselves, so that no key is stored twice.

use std::hash::{BuildHasher, Hasher, RandomState};

use hashbrown::HashTable;
use pinecone_wire::PublicKey;

/// Maps each key to the place of its entry. A key takes 9 bytes, plus the free space of the table.
///
/// The hash is seeded at random, so nobody can choose keys that collide. The index cannot be iterated, so no
/// decision depends on the seed.
#[derive(Debug, Default)]
pub(crate) struct KeyIndex {
    places: HashTable<Place>,
    seed: RandomState,
}

/// A place with the hash of its key, so that the table can grow without reading the keys, which are scattered in
/// memory.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u32,
    hash: u32,
}

impl KeyIndex {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns the place of the entry of `key`. `holds` reports whether the entry at a place has that key.
    pub(crate) fn find(&self, key: &PublicKey, holds: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = self.hash(key);
        let same = |place: &Place| place.hash == hash && holds(place.at);
        self.places.find(spread(hash), same).map(|place| place.at)
    }

    /// Inserts `key`, which must not be present, with the place `at`.
    pub(crate) fn insert(&mut self, key: &PublicKey, at: u32) {
        let hash = self.hash(key);
        let place = Place { at, hash };
        self.places
            .insert_unique(spread(hash), place, |place| spread(place.hash));
    }

    /// Removes `key` and returns its place. `holds` is as in [`Self::find`].
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

/// Spreads the hash: the table derives positions from the low bits and a tag from the highest.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
