//! Verdicts that several control planes share.

use pinecone_wire::PublicKey;

use crate::generations::Generations;
use crate::verify::{Bootstrap, Check, Claim, Unverified, Verified};

/// Maximum number of bodies kept. Together they take about 2 MiB.
const LIMIT: usize = 8192;

/// Remembers the bodies of bootstraps and broadcasts whose signature is valid, for nodes of one process that
/// forward them to each other: each signature is verified once, and not at every hop.
///
/// A body is valid under a key or it is not, so it does not matter which node has verified it. Invalid bodies are
/// not kept, as they would push out valid ones.
pub struct VerifiedBodies(Generations<Identity, ()>);

/// The inputs of a verdict: the key that signs, and every field of the body.
type Identity = (PublicKey, u64, PublicKey, u64, [u8; 64]);

impl Default for VerifiedBodies {
    fn default() -> Self {
        Self(Generations::new(LIMIT))
    }
}

impl VerifiedBodies {
    /// Reports whether the frame's body has been found valid before. If so, [`Unverified::trust`] gives the
    /// verdict.
    pub fn contains(&mut self, frame: &Unverified) -> bool {
        let identity = match frame.check {
            Check::Body(_) => identity(&frame.claim),
            Check::Nothing | Check::Entries { .. } => None,
        };
        identity.is_some_and(|identity| self.0.get(identity).is_some())
    }

    /// Remembers the body of a frame whose signature has been verified here and is valid.
    pub fn insert(&mut self, frame: &Verified) {
        if frame.verdict.is_ok()
            && frame.checked > 0
            && let Some(identity) = identity(&frame.claim)
        {
            self.0.insert(identity, ());
        }
    }
}

impl std::fmt::Debug for VerifiedBodies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedBodies").finish_non_exhaustive()
    }
}

fn identity(claim: &Claim) -> Option<Identity> {
    let (key, body) = match claim {
        Claim::Bootstrap(Bootstrap { key, body, .. }) | Claim::Broadcast { key, body, .. } => {
            (key, body)
        }
        Claim::Announcement(_) | Claim::Notice { .. } => return None,
    };
    let signature = body.signature.0;
    Some((
        *key,
        body.sequence,
        body.root,
        body.root_sequence,
        signature,
    ))
}

#[cfg(test)]
mod tests {
    use pinecone_fib::PortId;
    use pinecone_wire::{SecretKey, Signature, SignedBody};

    use super::*;

    fn frame(key: PublicKey, body: SignedBody) -> Unverified {
        Unverified {
            claim: Claim::Broadcast {
                header: (0, 1),
                key,
                body,
            },
            port: PortId(1),
            serial: 1,
            check: Check::Body(None),
        }
    }

    #[test]
    fn only_bodies_that_were_found_valid_are_trusted_and_only_as_they_are() {
        let (signer, other) = (
            SecretKey::from_seed(&[1; 32]),
            SecretKey::from_seed(&[2; 32]),
        );
        let (key, root) = (signer.public_key(), other.public_key());
        let good = SignedBody::sign(&signer, 7, root, 3);
        let mut bodies = VerifiedBodies::default();
        assert!(!bodies.contains(&frame(key, good)));
        let verified = frame(key, good).verify();
        bodies.insert(&verified);
        assert!(bodies.contains(&frame(key, good)));
        assert_eq!(frame(key, good).trust().verdict, Ok(()));

        let mut altered = vec![
            (root, good),
            (
                key,
                SignedBody {
                    sequence: 8,
                    ..good
                },
            ),
            (key, SignedBody { root: key, ..good }),
            (
                key,
                SignedBody {
                    root_sequence: 4,
                    ..good
                },
            ),
        ];
        for index in [0, 63] {
            let mut signature = good.signature.0;
            signature[index] ^= 1;
            let signature = Signature(signature);
            altered.push((key, SignedBody { signature, ..good }));
        }
        for (key, body) in altered {
            assert!(!bodies.contains(&frame(key, body)));
            let verified = frame(key, body).verify();
            assert!(verified.verdict.is_err());
            bodies.insert(&verified);
            assert!(
                !bodies.contains(&frame(key, body)),
                "an invalid body is kept"
            );
        }
    }
}
