//! Tree announcements: the root, and the signed path from it to the sender (protocol section 4).
//!
//! ```
//! use pinecone_wire::{Announcement, Frame, SecretKey, announcement};
//!
//! // A root announces itself to the peer behind its port 7.
//! let root = SecretKey::from_seed(&[1; 32]);
//! let payload = announcement::root_payload(&root.public_key(), 1);
//! let signature = announcement::sign(&payload, &root);
//! let mut frame = Vec::new();
//! announcement::push_frame(&mut frame, &payload, 7, &root.public_key(), &signature)?;
//!
//! // That peer finds its coordinates in it.
//! let (_, Frame::Announcement { payload }) = Frame::parse(&frame)? else {
//!     unreachable!("this is an announcement");
//! };
//! let received = Announcement::decode(payload)?;
//! received.check(&root.public_key())?;
//! received.verify(|key| key.verifying_key())?;
//! assert_eq!(received.coordinates().ports(), [7]);
//! assert!(received.peer_coordinates().is_root());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::header::push_header;
use crate::varu64;
use crate::{
    AnnouncementError, BuildError, Coordinates, FrameType, PublicKey, SecretKey, Signature,
    VerifyingKey,
};

const ENTRY_MIN_LEN: usize = 1 + 32 + 64;

/// A signer on the path from the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The signer's port that leads to the next node.
    pub port: u64,
    /// The signer's key.
    pub key: PublicKey,
    /// Offset of this entry in the payload, which is the length of what its signature covers.
    signed_len: u32,
    /// Offset of its signature in the payload.
    signature_at: u32,
}

/// A decoded announcement, with the bytes that its signatures cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    root: PublicKey,
    root_sequence: u64,
    entries: Vec<Entry>,
    /// Root, sequence and entries as received, without bytes after them.
    payload: Vec<u8>,
}

impl Announcement {
    /// Decodes the payload of an announcement frame without checking its signatures. Bytes at the end
    /// that are too few for an entry are ignored.
    ///
    /// # Errors
    /// [`AnnouncementError::Malformed`].
    pub fn decode(payload: &[u8]) -> Result<Self, AnnouncementError> {
        let malformed = |at| AnnouncementError::Malformed { at };
        let place = |at| u32::try_from(at).map_err(|_| malformed(at));
        let root = PublicKey::from_prefix(payload).ok_or(malformed(0))?;
        let (root_sequence, n) = varu64::decode(&payload[32..]).map_err(|_| malformed(32))?;
        let mut at = 32 + n;
        let mut entries = Vec::with_capacity((payload.len() - at) / ENTRY_MIN_LEN);
        while payload.len() - at >= ENTRY_MIN_LEN {
            let (port, n) = varu64::decode(&payload[at..]).map_err(|_| malformed(at))?;
            let rest = &payload[at + n..];
            let key = PublicKey::from_prefix(rest).ok_or(malformed(at))?;
            if rest.len() < 96 {
                return Err(malformed(at));
            }
            entries.push(Entry {
                port,
                key,
                signed_len: place(at)?,
                signature_at: place(at + n + 32)?,
            });
            at += n + 96;
        }
        Ok(Self {
            root,
            root_sequence,
            entries,
            payload: payload[..at].to_vec(),
        })
    }

    /// Checks the list of signers: there is at least one, the root is first, `peer` is last, no port is
    /// 0 and no signer occurs twice. It takes no curve arithmetic, so it is called before
    /// [`Self::verify`].
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self, peer: &PublicKey) -> Result<(), AnnouncementError> {
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) else {
            return Err(AnnouncementError::Empty);
        };
        if first.key != self.root {
            return Err(AnnouncementError::NotRoot);
        }
        if let Some(index) = self.entries.iter().position(|e| e.port == 0) {
            return Err(AnnouncementError::ZeroPort { index });
        }
        if last.key != *peer {
            return Err(AnnouncementError::NotPeer);
        }
        let mut keys: Vec<_> = self.signers().collect();
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(AnnouncementError::Loop { signer: pair[0] }),
            None => Ok(()),
        }
    }

    /// Checks all signatures. `key_of` returns the decompressed keys, which callers can cache.
    ///
    /// # Errors
    /// [`AnnouncementError::Signature`] for the first one that does not verify.
    pub fn verify(
        &self,
        mut key_of: impl FnMut(&PublicKey) -> Option<VerifyingKey>,
    ) -> Result<(), AnnouncementError> {
        for (index, entry) in self.entries.iter().enumerate() {
            let (signed, signature) = (self.signed_bytes(entry), self.signature(entry));
            let verified = |key: VerifyingKey| key.verify(signed, &signature);
            if !key_of(&entry.key).is_some_and(verified) {
                return Err(AnnouncementError::Signature { index });
            }
        }
        Ok(())
    }

    /// Returns the bytes that the signature of one of the [entries](Self::entries) covers.
    #[must_use]
    pub fn signed_bytes(&self, entry: &Entry) -> &[u8] {
        // An entry of another announcement may reach past the end.
        let len = (entry.signed_len as usize).min(self.payload.len());
        &self.payload[..len]
    }

    /// Returns the signature of one of the [entries](Self::entries). It is all zeros for an entry of
    /// another announcement that reaches past the end of this one.
    #[must_use]
    pub fn signature(&self, entry: &Entry) -> Signature {
        let from = self.payload.get(entry.signature_at as usize..);
        from.and_then(Signature::from_prefix)
            .unwrap_or(Signature([0; 64]))
    }

    /// Returns the root's key.
    #[must_use]
    pub const fn root(&self) -> PublicKey {
        self.root
    }

    /// Returns the root's sequence.
    #[must_use]
    pub const fn root_sequence(&self) -> u64 {
        self.root_sequence
    }

    /// Returns all entries, that of the root first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the keys of all signers, that of the root first.
    pub fn signers(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.entries.iter().map(|e| e.key)
    }

    /// Reports whether `key` is one of the signers.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.entries.iter().any(|e| e.key == *key)
    }

    /// Returns the coordinates of the receiver as a child of the sender.
    #[must_use]
    pub fn coordinates(&self) -> Coordinates {
        self.entries
            .iter()
            .map(|e| e.port)
            .collect::<Vec<_>>()
            .into()
    }

    /// Returns the coordinates of the sender: all ports but the last.
    #[must_use]
    pub fn peer_coordinates(&self) -> Coordinates {
        let above = self.entries.len().saturating_sub(1);
        self.entries
            .iter()
            .take(above)
            .map(|e| e.port)
            .collect::<Vec<_>>()
            .into()
    }

    /// Returns root, sequence and entries as received.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Returns the payload of a root's announcement, before its own entry.
#[must_use]
pub fn root_payload(root: &PublicKey, root_sequence: u64) -> Vec<u8> {
    let mut payload = root.as_bytes().to_vec();
    varu64::push(&mut payload, root_sequence);
    payload
}

/// Signs an announcement. As the signature does not cover the port number, one is enough for all peers.
#[must_use]
pub fn sign(payload: &[u8], key: &SecretKey) -> Signature {
    key.sign(payload)
}

/// Appends the announcement frame for the peer at `port`: `payload`, which is the parent's or
/// [`root_payload`], and the sender's entry.
///
/// # Errors
/// [`BuildError::TooLong`] if it does not fit a frame; `out` is unchanged then.
pub fn push_frame(
    out: &mut Vec<u8>,
    payload: &[u8],
    port: u64,
    key: &PublicKey,
    signature: &Signature,
) -> Result<(), BuildError> {
    let entry = varu64::len(port) + 96;
    let whole = payload.len() + entry;
    push_header(out, FrameType::Announcement, 0, 0, 2 + whole)?;
    out.extend_from_slice(&(whole as u16).to_be_bytes());
    out.extend_from_slice(payload);
    varu64::push(out, port);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(&signature.0);
    Ok(())
}
