//! Verification of signatures outside the state machine, on any number of threads.
//!
//! A frame is processed in three steps. [`ControlPlane::admit`](crate::ControlPlane::admit) drops every frame that can
//! be dropped without curve arithmetic. [`Unverified::verify`] does the arithmetic and needs only its own data.
//! [`ControlPlane::apply`](crate::ControlPlane::apply) acts on the frame.
//! [`ControlPlane::frame`](crate::ControlPlane::frame) does all three.
//!
//! # Why signatures are not verified in batches
//!
//! Deployed nodes verify each signature by itself, without a cofactor. The batch equation sums the errors of many
//! signatures, each multiplied by a random number. An error of small order vanishes from that sum with a probability
//! of one in eight, or one in two. Only the owner of a key can make such a signature. A node that verifies in batches
//! would accept it and forward it to a node that verifies singly, which would refuse it and close its peering with
//! the innocent node in between. Excluding such errors (is every `R` in the large subgroup?) costs more than a batch
//! saves. So every verdict here is that of single verification. Speed comes from verifying nothing twice, and from
//! threads.

use pinecone_fib::PortId;
use pinecone_wire::{Announcement, PublicKey, SignedBody, VerifyingKey, Watermark};

/// A frame that will be acted on if its signatures are good.
#[derive(Debug)]
pub struct Unverified {
    pub(crate) claim: Claim,
    pub(crate) port: PortId,
    /// The serial number of the peering: by the time of the verdict, the port may belong to another.
    pub(crate) serial: u64,
    pub(crate) check: Check,
}

/// A frame with the verdict about its signatures.
#[derive(Debug)]
pub struct Verified {
    pub(crate) claim: Claim,
    pub(crate) port: PortId,
    pub(crate) serial: u64,
    /// The error is the index of the first bad signature.
    pub(crate) verdict: Result<(), usize>,
    /// Keys that were decompressed here and whose signatures are good.
    pub(crate) keys: Vec<VerifyingKey>,
    /// Number of signatures verified.
    pub(crate) checked: u64,
}

/// The content of a frame.
#[derive(Debug)]
pub(crate) enum Claim {
    Announcement(Announcement),
    Bootstrap(Bootstrap),
    Broadcast {
        /// The frame's extra byte and hop limit.
        header: (u8, u8),
        key: PublicKey,
        body: SignedBody,
    },
    /// A notice that the path of a key is broken. It is not signed, but takes the same way as other frames so that
    /// the order is kept.
    Notice {
        key: PublicKey,
        sequence: u64,
    },
}

/// A bootstrap frame.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    /// The frame's extra byte and hop limit.
    pub(crate) header: (u8, u8),
    pub(crate) key: PublicKey,
    pub(crate) watermark: Watermark,
    pub(crate) body: SignedBody,
}

/// The signatures to verify, and the keys known for that.
#[derive(Debug)]
pub(crate) enum Check {
    /// No signature is verified: the frame has none, or this is a simulator.
    Nothing,
    /// The signature of the body, with its key if it is cached.
    Body(Option<VerifyingKey>),
    /// The signatures of an announcement from this index on, with the keys that are cached.
    Entries {
        from: usize,
        keys: Vec<Option<VerifyingKey>>,
    },
}

impl Unverified {
    /// Verifies the signatures. The verdict is the same as that of verifying each signature by itself.
    #[must_use]
    pub fn verify(self) -> Verified {
        let mut keys = Vec::new();
        let mut checked = 0;
        let mut verify = |known: Option<VerifyingKey>,
                          key: &PublicKey,
                          check: &dyn Fn(&VerifyingKey) -> bool| {
            let is_new = known.is_none();
            let Some(ready) = known.or_else(|| key.verifying_key()) else {
                return false;
            };
            checked += 1;
            let good = check(&ready);
            if good && is_new {
                keys.push(ready);
            }
            good
        };
        let verdict = match (&self.claim, self.check) {
            (_, Check::Nothing) => Ok(()),
            (Claim::Announcement(announcement), Check::Entries { from, keys }) => {
                let mut keys = keys.into_iter();
                let entries = announcement.entries().iter().enumerate().skip(from);
                let bad = entries.into_iter().find(|(_, entry)| {
                    let signed = announcement.signed_bytes(entry);
                    !verify(keys.next().flatten(), &entry.key, &|key| {
                        key.verify(signed, &announcement.signature(entry))
                    })
                });
                bad.map_or(Ok(()), |(index, _)| Err(index))
            }
            (
                Claim::Bootstrap(Bootstrap { key, body, .. }) | Claim::Broadcast { key, body, .. },
                Check::Body(known),
            ) => {
                let good = verify(known, key, &|key| body.verify(key));
                if good { Ok(()) } else { Err(0) }
            }
            // Unreachable: claim and check do not match; reject.
            (Claim::Announcement(_) | Claim::Notice { .. }, Check::Body(_))
            | (
                Claim::Bootstrap(_) | Claim::Broadcast { .. } | Claim::Notice { .. },
                Check::Entries { .. },
            ) => Err(0),
        };
        Verified {
            claim: self.claim,
            port: self.port,
            serial: self.serial,
            verdict,
            keys,
            checked,
        }
    }

    /// Takes the signatures as valid, on the word of [`VerifiedBodies::contains`](crate::VerifiedBodies::contains).
    #[must_use]
    pub fn trust(self) -> Verified {
        Verified {
            claim: self.claim,
            port: self.port,
            serial: self.serial,
            verdict: Ok(()),
            keys: Vec::new(),
            checked: 0,
        }
    }

    /// Returns the number of signatures that [`Self::verify`] verifies. Each takes about 30 µs.
    #[must_use]
    pub fn cost(&self) -> usize {
        match (&self.claim, &self.check) {
            (_, Check::Nothing) => 0,
            (Claim::Announcement(announcement), Check::Entries { from, .. }) => {
                announcement.entries().len() - from
            }
            _ => 1,
        }
    }

    /// Reports whether this frame must be [applied](crate::ControlPlane::apply) before another frame from the same
    /// peering is [admitted](crate::ControlPlane::admit), because it decides which frames are dropped.
    #[must_use]
    pub fn holds_up(&self) -> bool {
        matches!(self.claim, Claim::Announcement(_))
    }

    /// Returns the port that the frame came from.
    #[must_use]
    pub fn port(&self) -> PortId {
        self.port
    }
}

impl Verified {
    /// Returns the port that the frame came from.
    #[must_use]
    pub fn port(&self) -> PortId {
        self.port
    }
}
