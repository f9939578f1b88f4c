//! Adversaries: nodes that break the rules.
//!
//! Each is an honest control plane, some of whose incoming and outgoing frames are dropped, changed
//! or made up.

use pinecone_fib::PortId;
use pinecone_wire::{
    Announcement, Frame, FrameType, PublicKey, SecretKey, Signature, SignedBody, Watermark,
    announcement, frame,
};

use crate::ids::NodeId;
use crate::random::Random;
use crate::time::Nanos;

/// The largest number of recorded bootstraps. Further ones are not recorded.
const MAX_RECORDED: usize = 10_000;

/// The behaviour of an adversary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// Drops frames that it should forward or accept.
    Drop {
        /// The types of frames.
        kinds: Vec<FrameType>,
        /// The share of them, in parts of a million.
        rate: u32,
        /// The peer from or to which frames are dropped. If absent, those of all peers are.
        peer: Option<NodeId>,
    },
    /// Sends bootstraps of made-up keys to all peers.
    Flood {
        /// The time between batches.
        every: Nanos,
        /// The number of bootstraps to each peer in a batch.
        count: u32,
    },
    /// Sends all bootstraps that it received to all peers.
    Replay {
        /// The time between batches.
        every: Nanos,
        /// The number of times that each is sent.
        times: u32,
    },
    /// Tells all peers that the path of every bootstrap that it received is broken.
    Deny {
        /// The time between batches.
        every: Nanos,
    },
    /// Announces itself to all peers as a child of the root, wherever it is. The announcement has
    /// the root's own entry, whose signature is valid for any child, followed by the adversary's.
    Claim,
}

/// An adversary and its state.
#[derive(Clone, Debug)]
pub struct Adversary {
    mischief: Mischief,
    recorded: Vec<Vec<u8>>,
    /// The number of times that the recorded frames have been sent.
    replayed: u32,
}

/// The identity under which an adversary makes frames.
pub(crate) struct Identity {
    pub(crate) key: PublicKey,
    /// Absent if nothing is signed.
    pub(crate) secret: Option<SecretKey>,
    pub(crate) root: PublicKey,
    pub(crate) root_sequence: u64,
    pub(crate) unix_ms: u64,
}

impl Adversary {
    /// Returns an adversary with this behaviour.
    #[must_use]
    pub fn new(mischief: Mischief) -> Self {
        Self {
            mischief,
            recorded: Vec::new(),
            replayed: 0,
        }
    }

    /// Returns the time between its batches, if it sends any.
    #[must_use]
    pub fn interval(&self) -> Option<Nanos> {
        match self.mischief {
            Mischief::Flood { every, .. }
            | Mischief::Replay { every, .. }
            | Mischief::Deny { every } => Some(every.max(1)),
            Mischief::Drop { .. } | Mischief::Claim => None,
        }
    }

    /// Decides whether it drops a frame of this kind from or to `with`.
    pub(crate) fn drops(&self, kind: FrameType, with: NodeId, random: &mut Random) -> bool {
        match &self.mischief {
            Mischief::Drop { kinds, rate, peer } => {
                kinds.contains(&kind)
                    && peer.is_none_or(|peer| peer == with)
                    && random.happens(*rate)
            }
            _ => false,
        }
    }

    /// Records a frame that it received, if it will use it.
    pub(crate) fn record(&mut self, kind: FrameType, frame: &[u8]) {
        let records = matches!(
            self.mischief,
            Mischief::Replay { .. } | Mischief::Deny { .. }
        );
        if records && kind == FrameType::Bootstrap && self.recorded.len() < MAX_RECORDED {
            self.recorded.push(frame.to_vec());
        }
    }

    /// Returns the frame that it sends in place of one of its own.
    pub(crate) fn rewrite(&self, port: PortId, frame: Vec<u8>, who: &Identity) -> Vec<u8> {
        if self.mischief != Mischief::Claim {
            return frame;
        }
        claim(port, &frame, who).unwrap_or(frame)
    }

    /// Returns the frames of its next batch, which go to every peer.
    pub(crate) fn batch(&mut self, who: &Identity, random: &mut Random) -> Vec<Vec<u8>> {
        match self.mischief {
            Mischief::Flood { count, .. } => {
                let frames = (0..count).filter_map(|_| made_up(who, random));
                frames.collect()
            }
            Mischief::Replay { times, .. } => {
                let frames = self.recorded.clone();
                self.replayed += 1;
                if self.replayed >= times {
                    self.replayed = 0;
                    self.recorded.clear();
                }
                frames
            }
            Mischief::Deny { .. } => {
                let recorded = std::mem::take(&mut self.recorded);
                recorded.iter().filter_map(|frame| denied(frame)).collect()
            }
            Mischief::Drop { .. } | Mischief::Claim => Vec::new(),
        }
    }
}

/// Shortens an announcement to the root's entry and the adversary's.
fn claim(port: PortId, frame: &[u8], who: &Identity) -> Option<Vec<u8>> {
    let (_, Frame::Announcement { payload }) = Frame::parse(frame).ok()? else {
        return None;
    };
    let honest = Announcement::decode(payload).ok()?;
    if honest.entries().len() < 3 {
        return None;
    }
    let root = honest.entries().first()?;
    let mut cut = announcement::root_payload(&honest.root(), honest.root_sequence());
    pinecone_wire::varu64::push(&mut cut, root.port);
    cut.extend_from_slice(root.key.as_bytes());
    cut.extend_from_slice(&honest.signature(root).0);
    let signature = match &who.secret {
        Some(secret) => announcement::sign(&cut, secret),
        None => Signature([0; 64]),
    };
    let mut out = Vec::new();
    let port = u64::from(port.0);
    announcement::push_frame(&mut out, &cut, port, &who.key, &signature).ok()?;
    Some(out)
}

/// Returns a notice that the path which a bootstrap sets up is broken.
fn denied(frame: &[u8]) -> Option<Vec<u8>> {
    let (_, Frame::Bootstrap { key, payload, .. }) = Frame::parse(frame).ok()? else {
        return None;
    };
    let (mut body, _) = SignedBody::decode(payload).ok()?;
    body.signature = Signature([0; 64]);
    let sequence = body.sequence;
    let watermark = Watermark { key, sequence };
    let mut out = Vec::new();
    frame::push_bootstrap(&mut out, (0, 0), &key, &watermark, &body.encode()).ok()?;
    Some(out)
}

/// Returns a bootstrap of a random key.
fn made_up(who: &Identity, random: &mut Random) -> Option<Vec<u8>> {
    let bytes = random.bytes();
    let (key, body) = if who.secret.is_some() {
        let secret = SecretKey::from_seed(&bytes);
        let body = SignedBody::sign(&secret, who.unix_ms, who.root, who.root_sequence);
        (secret.public_key(), body)
    } else {
        let body = SignedBody {
            sequence: who.unix_ms,
            root: who.root,
            root_sequence: who.root_sequence,
            signature: Signature([0; 64]),
        };
        (PublicKey(bytes), body)
    };
    let mut out = Vec::new();
    frame::push_bootstrap(&mut out, (0, 0), &key, &Watermark::START, &body.encode()).ok()?;
    Some(out)
}
