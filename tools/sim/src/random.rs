//! Random numbers from a seed.
//!
//! They come from ChaCha8 with integer arithmetic alone, so that they are the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The denominator of probabilities, which are given in parts of a million.
pub const MILLION: u32 = 1_000_000;

/// The purpose of a random number generator. Each purpose has its own stream, so that drawing more
/// numbers from one does not change the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// The nodes' keys.
    Keys,
    /// The topology.
    Topology,
    /// The delays and losses of links.
    Links,
    /// The times at which nodes start.
    Starts,
    /// The nodes and links that events affect.
    Events,
    /// The movements of nodes.
    Mobility,
    /// The pairs that are measured.
    Measures,
    /// The pairs that ping each other.
    Pings,
    /// The behaviour of adversaries.
    Adversaries,
}

/// A random number generator.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// Returns the generator of a stream for the run with this seed.
    #[must_use]
    pub fn new(seed: u64, stream: Stream) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(bytes);
        random.set_stream(stream as u64);
        Self(random)
    }

    /// Returns a number below `n`, or 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// Returns an index into a sequence of length `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// Returns true with a probability of `millionths` in a million.
    pub fn happens(&mut self, millionths: u32) -> bool {
        millionths > 0 && self.below(u64::from(MILLION)) < u64::from(millionths)
    }

    /// Returns one of `items`, or nothing if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index(items.len()))
    }

    /// Moves `count` random items to the front.
    pub fn choose<T>(&mut self, items: &mut [T], count: usize) {
        for at in 0..count.min(items.len()) {
            let other = at + self.index(items.len() - at);
            items.swap(at, other);
        }
    }

    /// Returns 32 bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither the machine nor the version of a library may change the numbers of a seed.
    #[test]
    fn a_seed_always_gives_these_numbers() {
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
