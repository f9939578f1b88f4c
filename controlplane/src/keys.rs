use std::collections::HashMap;

use pinecone_wire::{
    Announcement, PublicKey, SecretKey, Signature, SignedBody, VerifyingKey, announcement,
};

use crate::trusted::Trusted;
use crate::verify::Check;

/// Signs for the node, and says what of others' signatures is to be checked.
pub(crate) enum Signer {
    Ed25519 {
        secret: Box<SecretKey>,
        known: KeyCache,
        trusted: Box<Trusted>,
    },
    /// For simulators: all is taken, and our own signatures are zeros.
    Unsigned(PublicKey),
}

impl Signer {
    pub(crate) fn ed25519(secret: SecretKey, max_keys: usize, max_signatures: usize) -> Self {
        Self::Ed25519 {
            secret: Box::new(secret),
            known: KeyCache::new(max_keys),
            trusted: Box::new(Trusted::new(max_signatures)),
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

    /// Which signatures of an announcement are to be checked.
    pub(crate) fn check_announcement(&mut self, announcement: &Announcement) -> Check {
        match self {
            Self::Ed25519 { known, trusted, .. } => {
                let from = trusted.known(announcement);
                let unknown = announcement.entries().iter().skip(from);
                let keys = unknown.map(|entry| known.get(&entry.key)).collect();
                Check::Entries { from, keys }
            }
            Self::Unsigned(_) => Check::Nothing,
        }
    }

    /// The same of a body that `key` is to have signed.
    pub(crate) fn check_body(&mut self, key: &PublicKey) -> Check {
        match self {
            Self::Ed25519 { known, .. } => Check::Body(known.get(key)),
            Self::Unsigned(_) => Check::Nothing,
        }
    }

    /// Keeps what a good signature has cost.
    pub(crate) fn learn(&mut self, keys: Vec<VerifyingKey>) {
        if let Self::Ed25519 { known, .. } = self {
            keys.into_iter().for_each(|key| known.insert(key));
        }
    }

    /// Every signature of this announcement is good.
    pub(crate) fn trust(&mut self, announcement: &Announcement) {
        if let Self::Ed25519 { trusted, .. } = self {
            trusted.insert(announcement);
        }
    }

    pub(crate) fn signatures_dropped(&self) -> u64 {
        match self {
            Self::Ed25519 { trusted, .. } => trusted.dropped(),
            Self::Unsigned(_) => 0,
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

    /// The key made ready, if it is known.
    fn get(&mut self, key: &PublicKey) -> Option<VerifyingKey> {
        if let Some(known) = self.young.get(key) {
            return Some(known.clone());
        }
        let known = self.old.remove(key)?;
        self.insert(known.clone());
        Some(known)
    }

    fn insert(&mut self, ready: VerifyingKey) {
        let key = ready.public_key();
        if self.young.contains_key(&key) {
            return;
        }
        if self.young.len() >= self.half {
            self.dropped += self.old.len() as u64;
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, ready);
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
        cache.insert(key(0).verifying_key().unwrap());
        for n in 1..100 {
            assert!(cache.get(&key(n)).is_none());
            cache.insert(key(n).verifying_key().unwrap());
            assert_eq!(cache.get(&key(n)).map(|k| k.public_key()), Some(key(n)));
            assert!(cache.get(&key(0)).is_some());
            assert!(cache.young.contains_key(&key(0)));
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert!(cache.dropped >= 89);
    }
}
