//! The node's own signatures, and the choice of which signatures of others to verify.

use pinecone_wire::{
    Announcement, PublicKey, SecretKey, Signature, SignedBody, VerifyingKey, announcement,
};

use crate::generations::Generations;
use crate::trusted::Trusted;
use crate::verify::Check;

/// Signs for the node and tells which signatures of others must be verified.
pub(crate) enum Signer {
    Ed25519 {
        secret: Box<SecretKey>,
        /// Decompressed keys.
        known: Generations<PublicKey, VerifyingKey>,
        trusted: Box<Trusted>,
    },
    /// A signer for simulators, which accepts every signature and signs with zeros.
    Unsigned(PublicKey),
}

impl Signer {
    pub(crate) fn ed25519(secret: SecretKey, max_keys: usize, max_signatures: usize) -> Self {
        Self::Ed25519 {
            secret: Box::new(secret),
            known: Generations::new(max_keys),
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

    /// Returns the signatures of an announcement that must be verified.
    pub(crate) fn check_announcement(&mut self, announcement: &Announcement) -> Check {
        match self {
            Self::Ed25519 { known, trusted, .. } => {
                let from = trusted.known(announcement);
                let unknown = announcement.entries().iter().skip(from);
                let keys = unknown.map(|entry| known.get(entry.key)).collect();
                Check::Entries { from, keys }
            }
            Self::Unsigned(_) => Check::Nothing,
        }
    }

    /// Returns the check for a body that claims to be signed by `key`.
    pub(crate) fn check_body(&mut self, key: &PublicKey) -> Check {
        match self {
            Self::Ed25519 { known, .. } => Check::Body(known.get(*key)),
            Self::Unsigned(_) => Check::Nothing,
        }
    }

    /// Keeps keys that were decompressed to verify a good signature.
    pub(crate) fn learn(&mut self, keys: Vec<VerifyingKey>) {
        if let Self::Ed25519 { known, .. } = self {
            for key in keys {
                known.insert(key.public_key(), key);
            }
        }
    }

    /// Records that every signature of an announcement is good.
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
            Self::Ed25519 { known, .. } => known.dropped(),
            Self::Unsigned(_) => 0,
        }
    }
}
