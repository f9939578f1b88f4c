//! Keys for the temporary peers.

use pinecone::SecretKey;

use crate::failure::Failure;
use crate::secret;

/// Number of keys generated for each that is used. The keys are low because the highest key of a network
/// is its root, and a root that soon leaves disturbs everyone.
const CANDIDATES: usize = 256;

/// Returns low keys, the lowest first.
pub(super) fn low_keys(count: usize) -> Result<Vec<SecretKey>, Failure> {
    let keys: Result<Vec<_>, _> = (0..count * CANDIDATES)
        .map(|_| secret::generate())
        .collect();
    let mut keys = keys?;
    keys.sort_by_cached_key(SecretKey::public_key);
    keys.truncate(count);
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_low_and_in_order() {
        let keys = low_keys(2).unwrap();
        assert!(keys[0].public_key() < keys[1].public_key());
        assert!(keys[1].public_key().0[0] < 0x40);
    }
}
