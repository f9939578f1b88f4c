//! Chance, from a seed: ChaCha8 and whole numbers only, so that it is the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A million: chances are given in parts of it.
pub const MILLION: u32 = 1_000_000;

/// What a source of chance is for. Each has a stream of its own, so that drawing more from one
/// changes nothing in the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// The nodes' keys.
    Keys,
    /// Who is linked to whom.
    Topology,
    /// The links' delays and losses.
    Links,
    /// When nodes start.
    Starts,
    /// What the scenario's events pick.
    Events,
    /// Where nodes are and go.
    Mobility,
    /// Which pairs are measured.
    Measures,
    /// Who pings whom.
    Pings,
    /// What adversaries do.
    Adversaries,
}

/// A source of chance.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The source for `stream` of the run with this seed.
    #[must_use]
    pub fn new(seed: u64, stream: Stream) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(bytes);
        random.set_stream(stream as u64);
        Self(random)
    }

    /// A number below `n`; 0 if there is none.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// An index into something of length `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// Whether something with a chance of `millionths` happens.
    pub fn happens(&mut self, millionths: u32) -> bool {
        millionths > 0 && self.below(u64::from(MILLION)) < u64::from(millionths)
    }

    /// Any of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index(items.len()))
    }

    /// Brings `count` items, picked at random, to the front.
    pub fn choose<T>(&mut self, items: &mut [T], count: usize) {
        for at in 0..count.min(items.len()) {
            let other = at + self.index(items.len() - at);
            items.swap(at, other);
        }
    }

    /// 32 bytes for a key.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another machine or another version of a library must not change what a seed gives.
    #[test]
    fn a_seed_gives_these_numbers_for_ever() {
        let mut random = Random::new(7, Stream::Links);
        let drawn: Vec<_> = (0..4).map(|_| random.below(1_000_000)).collect();
        assert_eq!(drawn, [10_922, 194_391, 900_044, 611_917]);
        assert_eq!(&random.bytes()[..4], [26, 83, 35, 152]);
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut random = Random::new(1, Stream::Events);
        for _ in 0..1000 {
            assert!(random.below(3) < 3);
            assert!((5..=7).contains(&random.between(5, 7)));
        }
        assert_eq!(random.below(0), 0);
        assert_eq!(random.between(4, 4), 4);
        assert!(random.pick::<u8>(&[]).is_none());
        assert!(!random.happens(0));
        assert!(random.happens(MILLION));
        let mut items: Vec<_> = (0..50).collect();
        random.choose(&mut items, 10);
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
