//! Checking signatures apart from the state machine, on as many threads as wanted.
//!
//! A frame goes through three steps: [`ControlPlane::admit`](crate::ControlPlane::admit) drops
//! whatever can be dropped without curve arithmetic, [`Unverified::verify`] does the arithmetic and
//! needs nothing but what it carries, [`ControlPlane::apply`](crate::ControlPlane::apply) acts on
//! it. [`ControlPlane::frame`](crate::ControlPlane::frame) is all three at once.
//!
//! # Why signatures are not checked in batches
//!
//! The deployed nodes check without a cofactor, each signature alone. The batch equation adds up
//! the errors of many signatures, each times a random number: an error of small order vanishes from
//! the sum in one run of eight, or one of two. Whoever makes such a signature (only the owner of the
//! key can) would have it taken by a node that checks in batches, passed on, and refused by the next
//! that checks singly, which closes its peering with the innocent node between. Ruling such errors
//! out (is every `R` in the large subgroup?) costs more than a batch saves. So every verdict here is
//! that of the single check, and speed comes from checking nothing twice, and from threads.

use pinecone_fib::PortId;
use pinecone_wire::{Announcement, PublicKey, SignedBody, VerifyingKey, Watermark};

/// A frame that would be acted on if its signatures are good.
#[derive(Debug)]
pub struct Unverified {
    pub(crate) claim: Claim,
    pub(crate) port: PortId,
    /// The peering's serial number: the port may be another's by the time of the verdict.
    pub(crate) serial: u64,
    pub(crate) check: Check,
}

/// A frame with its verdict.
#[derive(Debug)]
pub struct Verified {
    pub(crate) claim: Claim,
    pub(crate) port: PortId,
    pub(crate) serial: u64,
    /// The first signature that fails.
    pub(crate) verdict: Result<(), usize>,
    /// Keys that had to be decompressed and signed well.
    pub(crate) keys: Vec<VerifyingKey>,
    pub(crate) checked: u64,
}

/// What a frame says.
#[derive(Debug)]
pub(crate) enum Claim {
    Announcement(Announcement),
    Bootstrap {
        header: (u8, u8),
        key: PublicKey,
        watermark: Watermark,
        body: SignedBody,
    },
    Broadcast {
        header: (u8, u8),
        key: PublicKey,
        body: SignedBody,
    },
    /// That the path of a key is broken. Not signed: it keeps its place among what is.
    Notice {
        key: PublicKey,
        sequence: u64,
    },
}

/// Which signatures to check, and with what.
#[derive(Debug)]
pub(crate) enum Check {
    /// None: there is none, or this is a simulator.
    Nothing,
    /// That of the body, with this key if it is known.
    Body(Option<VerifyingKey>),
    /// Those of an announcement from this one on, with these keys as far as they are known.
    Entries {
        from: usize,
        keys: Vec<Option<VerifyingKey>>,
    },
}

impl Unverified {
    /// Does the arithmetic. The verdict is that of checking each signature by itself.
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
                Claim::Bootstrap { key, body, .. } | Claim::Broadcast { key, body, .. },
                Check::Body(known),
            ) => {
                let good = verify(known, key, &|key| body.verify(key));
                if good { Ok(()) } else { Err(0) }
            }
            // Made by nobody; what does not fit together is not good.
            (Claim::Announcement(_) | Claim::Notice { .. }, Check::Body(_))
            | (
                Claim::Bootstrap { .. } | Claim::Broadcast { .. } | Claim::Notice { .. },
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

    /// How many signatures [`Self::verify`] checks, each some 30 µs.
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

    /// Whether nothing more from its peering may be [admitted](crate::ControlPlane::admit) before
    /// this is [applied](crate::ControlPlane::apply), as it decides what is dropped.
    #[must_use]
    pub fn holds_up(&self) -> bool {
        matches!(self.claim, Claim::Announcement(_))
    }

    /// The peering that brought it.
    #[must_use]
    pub fn port(&self) -> PortId {
        self.port
    }
}

impl Verified {
    /// The peering that brought it.
    #[must_use]
    pub fn port(&self) -> PortId {
        self.port
    }
}
