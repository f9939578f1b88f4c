use std::collections::HashMap;

use pinecone_wire::{
    Announcement, AnnouncementError, PublicKey, SecretKey, Signature, SignedBody, VerifyingKey,
    announcement,
};

/// Signs for the node and checks what others signed.
pub(crate) enum Signer {
    Ed25519 {
        secret: Box<SecretKey>,
        known: KeyCache,
    },
    /// For simulators: all is taken, and our own signatures are zeros.
    Unsigned(PublicKey),
}

impl Signer {
    pub(crate) fn ed25519(secret: SecretKey, max_keys: usize) -> Self {
        Self::Ed25519 {
            secret: Box::new(secret),
            known: KeyCache::new(max_keys),
        }
    }

    pub(crate) fn unsigned(key: PublicKey) -> Self {
        Self::Unsigned(key)
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        match self {
            Self::Ed25519 { secret, .. } => secret.public_key(),
            Self::Unsigned(key) => *key,
        }
    }

    pub(crate) fn sign_announcement(&self, payload: &[u8]) -> Signature {
        match self {
            Self::Ed25519 { secret, .. } => announcement::sign(payload, secret),
            Self::Unsigned(_) => Signature([0; 64]),
        }
    }

    pub(crate) fn sign_body(
        &self,
        sequence: u64,
        root: PublicKey,
        root_sequence: u64,
    ) -> SignedBody {
        match self {
            Self::Ed25519 { secret, .. } => SignedBody::sign(secret, sequence, root, root_sequence),
            Self::Unsigned(_) => SignedBody {
                sequence,
                root,
                root_sequence,
                signature: Signature([0; 64]),
            },
        }
    }

    pub(crate) fn verify_announcement(
        &mut self,
        announcement: &Announcement,
    ) -> Result<(), AnnouncementError> {
        match self {
            Self::Ed25519 { known, .. } => announcement.verify(|key| known.get(key)),
            Self::Unsigned(_) => Ok(()),
        }
    }

    pub(crate) fn verify_body(&mut self, key: &PublicKey, body: &SignedBody) -> bool {
        match self {
            Self::Ed25519 { known, .. } => known.get(key).is_some_and(|key| body.verify(&key)),
            Self::Unsigned(_) => true,
        }
    }

    pub(crate) fn keys_dropped(&self) -> u64 {
        match self {
            Self::Ed25519 { known, .. } => known.dropped,
            Self::Unsigned(_) => 0,
        }
    }
}

/// Decompressed keys, in two generations: when the young one is half the limit, it becomes the
/// old one, and what was not asked for since is dropped.
pub(crate) struct KeyCache {
    half: usize,
    young: HashMap<PublicKey, VerifyingKey>,
    old: HashMap<PublicKey, VerifyingKey>,
    dropped: u64,
}

impl KeyCache {
    fn new(limit: usize) -> Self {
        Self {
            half: (limit / 2).max(1),
            young: HashMap::new(),
            old: HashMap::new(),
            dropped: 0,
        }
    }

    /// The key made ready, or nothing if it is no point of the curve.
    fn get(&mut self, key: &PublicKey) -> Option<VerifyingKey> {
        if let Some(known) = self.young.get(key) {
            return Some(known.clone());
        }
        let ready = match self.old.remove(key) {
            Some(known) => known,
            None => key.verifying_key()?,
        };
        if self.young.len() >= self.half {
            self.dropped += self.old.len() as u64;
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(*key, ready.clone());
        Some(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> PublicKey {
        SecretKey::from_seed(&[n; 32]).public_key()
    }

    #[test]
    fn the_cache_keeps_what_is_asked_for_and_stays_within_its_limit() {
        let mut cache = KeyCache::new(8);
        for n in 0..100 {
            assert_eq!(cache.get(&key(n)).map(|k| k.public_key()), Some(key(n)));
            assert!(cache.get(&key(0)).is_some());
            assert!(cache.young.contains_key(&key(0)));
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert!(cache.dropped >= 90);
    }

    #[test]
    fn what_is_no_point_of_the_curve_is_no_key() {
        let mut cache = KeyCache::new(8);
        let mut bad = PublicKey([0; 32]);
        bad.0[0] = 2;
        assert!(cache.get(&bad).is_none());
        assert!(cache.young.is_empty());
    }
}
