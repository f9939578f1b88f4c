//! The proof of a peering: both sides show that they own the keys of their handshakes, for this stream and now.
//!
//! A handshake can be replayed. Two nodes that both offer [`Extensions::PEERING_PROOF`](crate::Extensions) therefore send
//! each other a [challenge](Challenge) and then a proof, before the peering is used. The proof is a signature of both
//! handshakes, both challenges and the channel that carries the stream. With a [`Password`], both sides also show that
//! they know it. `docs/peering-proof.md` specifies the format and says what a proof does not achieve.
//!
//! This module moves no bytes and has no source of randomness: both are the caller's.

mod cpace;
mod password;

pub use password::{Password, PasswordError};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use zeroize::{Zeroize, Zeroizing};

use crate::{HANDSHAKE_LEN, PublicKey, SecretKey, Signature};

/// Length of a challenge in bytes.
pub const CHALLENGE_LEN: usize = 68;
/// Length of a proof in bytes.
pub const PROOF_LEN: usize = 96;
/// Number of random bytes that one side of a proof needs.
pub const RANDOM_LEN: usize = 96;
/// Version of the proof.
pub const VERSION: u8 = 1;

const SIGNATURE_LABEL: &[u8; 32] = b"pinecone-peering-proof-signature";
const TAG_LABEL: &[u8; 32] = b"pinecone-peering-password-tag-v1";
const NONCE_LEN: usize = 32;
const TAG_LEN: usize = 32;
/// The challenge up to its element, which the password exchange authenticates as associated data.
const HEAD_LEN: usize = CHALLENGE_LEN - cpace::ELEMENT_LEN;

/// The channel that carries the stream, to which a proof is bound. Its value is unique for each channel and known
/// to both of its ends, so that a proof cannot be relayed from one channel to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The stream is not encrypted.
    None,
    /// The handshake hash of an encrypted link (Noise).
    Noise([u8; 32]),
    /// The exporter of TLS 1.3 (RFC 9266: label `EXPORTER-Channel-Binding`, empty context, 32 bytes). A stream over an
    /// older TLS counts as not encrypted.
    TlsExporter([u8; 32]),
}

/// A kind of [`Binding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// The stream is not encrypted.
    None,
    /// An encrypted link.
    Noise,
    /// TLS.
    Tls,
}

/// The handling of a peer that sees another kind of channel than the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherChannel {
    /// Refuses the peer. For channels that end at the peer, such as encrypted links and `tls://`.
    Refuse,
    /// Accepts a peer that sees a plain stream, with a proof that is bound to no channel. For TLS that may end at a
    /// reverse proxy of the peer. Whoever ends it can then relay the proof, read the stream and change it.
    Unbound,
}

/// The stream of a peering: what both sides sent over it before the proof, and its channel.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// The handshake that this node sent.
    pub ours: &'a [u8; HANDSHAKE_LEN],
    /// The handshake that the peer sent, whose signature has been checked.
    pub theirs: &'a [u8; HANDSHAKE_LEN],
    /// The channel.
    pub binding: Binding,
    /// The handling of a peer that sees another kind of channel.
    pub other_channel: OtherChannel,
}

/// The outcome of a proof that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The key, which is that of the peer's handshake.
    pub key: PublicKey,
    /// The kind of channel to which the proof is bound.
    pub binding: BindingKind,
    /// Whether the peer has proven that it knows the password.
    pub password: bool,
}

/// The reason why a proof is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The peer has another version of the proof.
    #[error("peer has version {0} of the peering proof, this node has version 1")]
    Version(u8),
    /// A field of the challenge or proof has a value that is not defined.
    #[error("malformed {field} in the peering proof")]
    Malformed {
        /// The name of the field.
        field: &'static str,
    },
    /// The peer's challenge or key is this node's own.
    #[error("the peer sent this node's own challenge back")]
    Reflected,
    /// The peer sees another kind of channel.
    #[error(
        "peer sees the channel {theirs:?}, this node {ours:?}: something between them ends the encryption"
    )]
    OtherChannel {
        /// The kind that this node sees.
        ours: BindingKind,
        /// The kind that the peer sees.
        theirs: BindingKind,
    },
    /// The peer has no password.
    #[error("peer has no password: start it with the --password-file of this network")]
    PeerHasNoPassword,
    /// The peer has a password and this node has none.
    #[error("peer demands a password: start this node with --password-file")]
    PasswordNeeded,
    /// The signature was not made with the key of the peer's handshake, or not for this stream: someone
    /// replays or relays.
    #[error("peer does not prove its key: the signature is not of this stream")]
    Signature,
    /// The peer's password is another one.
    #[error("peer has another password")]
    WrongPassword,
}

/// One side of a proof that has sent its challenge, or is about to.
pub struct Challenge<'a> {
    stream: Stream<'a>,
    ours: [u8; CHALLENGE_LEN],
    share: Option<cpace::Share>,
}

/// One side of a proof that knows both challenges.
pub struct Proof {
    ours: [u8; PROOF_LEN],
    /// The messages that the peer must have signed and authenticated.
    expected: Transcript,
    key: Option<Zeroizing<[u8; cpace::KEY_LEN]>>,
    proven: Proven,
}

impl Binding {
    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> BindingKind {
        match self {
            Self::None => BindingKind::None,
            Self::Noise(_) => BindingKind::Noise,
            Self::TlsExporter(_) => BindingKind::Tls,
        }
    }

    fn value(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Noise(value) | Self::TlsExporter(value) => value,
        }
    }
}

impl BindingKind {
    const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Noise => 1,
            Self::Tls => 2,
        }
    }

    fn from_code(code: u8) -> Result<Self, ProofError> {
        match code {
            0 => Ok(Self::None),
            1 => Ok(Self::Noise),
            2 => Ok(Self::Tls),
            _ => Err(ProofError::Malformed { field: "channel" }),
        }
    }
}

impl<'a> Challenge<'a> {
    /// Begins a proof over `stream`. `random` must come from a secure source and never be used again.
    #[must_use]
    pub fn new(
        stream: Stream<'a>,
        password: Option<&Password>,
        random: &Zeroizing<[u8; RANDOM_LEN]>,
    ) -> Self {
        let mut scalar = Zeroizing::new([0; 64]);
        scalar.copy_from_slice(&random[NONCE_LEN..]);
        let share = password.map(|password| {
            let [first, second] = ordered(stream.ours, stream.theirs);
            let channel = [&first[..], second].concat();
            cpace::Share::new(password.as_bytes(), &channel, &scalar)
        });
        let mut ours = [0; CHALLENGE_LEN];
        ours[0] = VERSION;
        ours[1] = stream.binding.kind().code();
        ours[2] = u8::from(share.is_some());
        ours[4..HEAD_LEN].copy_from_slice(&random[..NONCE_LEN]);
        if let Some(share) = &share {
            ours[HEAD_LEN..].copy_from_slice(share.element());
        }
        Self {
            stream,
            ours,
            share,
        }
    }

    /// Returns the challenge to send.
    #[must_use]
    pub fn message(&self) -> &[u8; CHALLENGE_LEN] {
        &self.ours
    }

    /// Checks the peer's challenge and answers it. `key` is that of this node's handshake.
    ///
    /// # Errors
    /// The peer is refused. Close the stream.
    pub fn answer(
        self,
        theirs: &[u8; CHALLENGE_LEN],
        key: &SecretKey,
    ) -> Result<Proof, ProofError> {
        let Self {
            stream,
            ours,
            share,
        } = self;
        let [version, channel, password, _, ..] = *theirs;
        if version != VERSION {
            return Err(ProofError::Version(version));
        }
        let (our_key, their_key) = (key_of(stream.ours), key_of(stream.theirs));
        if ours[4..HEAD_LEN] == theirs[4..HEAD_LEN] || our_key == their_key {
            return Err(ProofError::Reflected);
        }
        let binding = common_binding(&stream, BindingKind::from_code(channel)?)?;
        let has_element = theirs[HEAD_LEN..].iter().any(|byte| *byte != 0);
        match password {
            0 if has_element => return Err(ProofError::Malformed { field: "element" }),
            0 if share.is_some() => return Err(ProofError::PeerHasNoPassword),
            0 => {}
            1 if share.is_none() => return Err(ProofError::PasswordNeeded),
            1 => {}
            _ => return Err(ProofError::Malformed { field: "password" }),
        }
        let session_key = match &share {
            None => None,
            Some(share) => {
                let malformed = ProofError::Malformed { field: "element" };
                Some(session_key(share, &stream, &ours, theirs).ok_or(malformed)?)
            }
        };

        let by_us = Transcript::new(stream.ours, stream.theirs, &ours, theirs, &binding);
        let expected = Transcript::new(stream.theirs, stream.ours, theirs, &ours, &binding);
        let mut proof = [0; PROOF_LEN];
        proof[..Signature::LEN].copy_from_slice(&key.sign(&by_us.0).0);
        if let Some(session_key) = &session_key {
            let tag = by_us.tag(session_key).finalize().into_bytes();
            proof[Signature::LEN..].copy_from_slice(&tag[..TAG_LEN]);
        }
        let proven = Proven {
            key: their_key,
            binding: binding.kind(),
            password: session_key.is_some(),
        };
        Ok(Proof {
            ours: proof,
            expected,
            key: session_key,
            proven,
        })
    }
}

impl Proof {
    /// Returns the proof to send.
    #[must_use]
    pub fn message(&self) -> &[u8; PROOF_LEN] {
        &self.ours
    }

    /// Checks the peer's proof.
    ///
    /// # Errors
    /// The peer is refused. Close the stream.
    pub fn verify(self, theirs: &[u8; PROOF_LEN]) -> Result<Proven, ProofError> {
        let (signature, tag) = theirs.split_at(Signature::LEN);
        let signature = Signature::from_prefix(signature).ok_or(ProofError::Signature)?;
        if !self
            .proven
            .key
            .verify_strictly(&self.expected.0, &signature)
        {
            return Err(ProofError::Signature);
        }
        match &self.key {
            None if tag.iter().any(|byte| *byte != 0) => {
                return Err(ProofError::Malformed { field: "tag" });
            }
            None => {}
            // Takes the same time for every tag.
            Some(key) => self
                .expected
                .tag(key)
                .verify_truncated_left(tag)
                .map_err(|_| ProofError::WrongPassword)?,
        }
        Ok(self.proven)
    }
}

/// The text that one side signs: everything that both sides sent before, that side's messages first, and the channel.
struct Transcript(Vec<u8>);

impl Transcript {
    fn new(
        signer: &[u8; HANDSHAKE_LEN],
        other: &[u8; HANDSHAKE_LEN],
        by_signer: &[u8; CHALLENGE_LEN],
        by_other: &[u8; CHALLENGE_LEN],
        binding: &Binding,
    ) -> Self {
        let channel = [binding.kind().code()];
        Self(
            [
                &SIGNATURE_LABEL[..],
                signer,
                other,
                by_signer,
                by_other,
                &channel,
                binding.value(),
            ]
            .concat(),
        )
    }

    fn tag(&self, key: &[u8; cpace::KEY_LEN]) -> Hmac<Sha512> {
        // The key is a hash block or less, so it is used as it is.
        let mut block = Zeroizing::new([0; 128]);
        block[..cpace::KEY_LEN].copy_from_slice(key);
        let mut block_key = (*block).into();
        let mut mac = Hmac::<Sha512>::new(&block_key);
        block_key.as_mut_slice().zeroize();
        mac.update(TAG_LABEL);
        mac.update(&self.0);
        mac
    }
}

/// Returns the channel that both sides see, or none if they see different kinds and that is acceptable.
fn common_binding(stream: &Stream<'_>, theirs: BindingKind) -> Result<Binding, ProofError> {
    let ours = stream.binding.kind();
    if ours == theirs {
        return Ok(stream.binding);
    }
    let acceptable = match (ours, theirs) {
        // Only the peer can know whether its TLS may end before this node.
        (BindingKind::None, BindingKind::Tls) => true,
        (BindingKind::Tls, BindingKind::None) => stream.other_channel == OtherChannel::Unbound,
        _ => false,
    };
    if acceptable {
        Ok(Binding::None)
    } else {
        Err(ProofError::OtherChannel { ours, theirs })
    }
}

fn session_key(
    share: &cpace::Share,
    stream: &Stream<'_>,
    ours: &[u8; CHALLENGE_LEN],
    theirs: &[u8; CHALLENGE_LEN],
) -> Option<Zeroizing<[u8; cpace::KEY_LEN]>> {
    let (data, element) = theirs.split_last_chunk()?;
    let received = cpace::Sent { element, data };
    let sent = cpace::Sent {
        element: share.element(),
        data: &ours[..HEAD_LEN],
    };
    if key_of(stream.ours) < key_of(stream.theirs) {
        share.key(element, &sent, &received)
    } else {
        share.key(element, &received, &sent)
    }
}

/// Returns both handshakes, that of the lower key first.
fn ordered<'a>(
    a: &'a [u8; HANDSHAKE_LEN],
    b: &'a [u8; HANDSHAKE_LEN],
) -> [&'a [u8; HANDSHAKE_LEN]; 2] {
    if key_of(a) < key_of(b) {
        [a, b]
    } else {
        [b, a]
    }
}

/// Returns the key that a handshake claims.
fn key_of(handshake: &[u8; HANDSHAKE_LEN]) -> PublicKey {
    let mut key = [0; PublicKey::LEN];
    key.copy_from_slice(&handshake[8..8 + PublicKey::LEN]);
    PublicKey(key)
}
