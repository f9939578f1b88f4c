//! The times at which the keys that a peering brought signed something.

use pinecone_wire::PublicKey;

/// Maximum number of keys kept for a peering.
const MAX_KEYS: usize = 7;

/// The last few keys that a peering brought, with the time at which each signed, relative to this node's monotonic
/// time, in milliseconds.
///
/// Only the XOR of the parts of a key is kept. A peer that makes up keys that collide replaces only its own.
#[derive(Debug, Default)]
pub(crate) struct HeardTimes(Vec<(u64, i64)>);

impl HeardTimes {
    /// Records the latest time of a key.
    pub(crate) fn record(&mut self, key: &PublicKey, time: i64) {
        let (parts, _) = key.0.as_chunks();
        let key = (parts.iter()).fold(0, |sum, part| sum ^ u64::from_be_bytes(*part));
        if let Some(at) = self.0.iter().position(|(known, _)| *known == key) {
            self.0.remove(at);
        } else if self.0.len() >= MAX_KEYS {
            self.0.remove(0);
        } else {
            self.0.reserve_exact(1);
        }
        self.0.push((key, time));
    }

    /// Returns the lower and the upper median.
    pub(crate) fn medians(&self) -> Option<(i64, i64)> {
        let mut times: Vec<_> = self.0.iter().map(|(_, time)| *time).collect();
        times.sort_unstable();
        let lower = times.get(times.len().saturating_sub(1) / 2)?;
        Some((*lower, *times.get(times.len() / 2)?))
    }

    /// Returns the keys, as far as they are kept.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(key, _)| *key)
    }
}
