//! Nodes that do not play by the rules. Each is an honest control plane whose frames are dropped,
//! changed or added to on their way in and out.

use pinecone_fib::PortId;
use pinecone_wire::{
    Announcement, Frame, FrameType, PublicKey, SecretKey, Signature, SignedBody, Watermark,
    announcement, frame,
};

use crate::ids::NodeId;
use crate::random::Random;
use crate::time::Nanos;

/// Bootstraps that are kept to be sent again: more than that are not.
const MAX_RECORDED: usize = 10_000;

/// What an adversary does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// Drops frames that it should pass on or take.
    Drop {
        /// Of which types.
        kinds: Vec<FrameType>,
        /// How many of a million.
        rate: u32,
        /// Only what comes from this peer, or goes to it.
        peer: Option<NodeId>,
    },
    /// Sends every peer bootstraps of keys that nobody has.
    Flood {
        /// How often.
        every: Nanos,
        /// How many to each peer each time.
        count: u32,
    },
    /// Sends every bootstrap that it has heard to all of its peers.
    Replay {
        /// How often.
        every: Nanos,
        /// How many times each.
        times: u32,
    },
    /// Says of the path of every bootstrap that it has heard that it is broken, to all of its peers.
    Deny {
        /// How often.
        every: Nanos,
    },
    /// Announces itself to all peers as a child of the root, wherever it is: the root's own entry,
    /// whose signature serves any child, and behind it the adversary's.
    Claim,
}

/// A node's mischief.
#[derive(Clone, Debug)]
pub struct Adversary {
    mischief: Mischief,
    recorded: Vec<Vec<u8>>,
    /// How often what was recorded has been sent again.
    replayed: u32,
}

/// What an adversary is and has, for what it signs.
pub(crate) struct Identity {
    pub(crate) key: PublicKey,
    /// None where signatures are a stand-in.
    pub(crate) secret: Option<SecretKey>,
    pub(crate) root: PublicKey,
    pub(crate) root_sequence: u64,
    pub(crate) unix_ms: u64,
}

impl Adversary {
    /// An adversary that has done nothing yet.
    #[must_use]
    pub fn new(mischief: Mischief) -> Self {
        Self {
            mischief,
            recorded: Vec::new(),
            replayed: 0,
        }
    }

    /// How often it has something to send, if ever.
    #[must_use]
    pub fn interval(&self) -> Option<Nanos> {
        match self.mischief {
            Mischief::Flood { every, .. }
            | Mischief::Replay { every, .. }
            | Mischief::Deny { every } => Some(every.max(1)),
            Mischief::Drop { .. } | Mischief::Claim => None,
        }
    }

    /// Whether it drops a frame of this kind that comes from or goes to `peer`.
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

    /// Takes note of a frame that came.
    pub(crate) fn hear(&mut self, kind: FrameType, frame: &[u8]) {
        let records = matches!(
            self.mischief,
            Mischief::Replay { .. } | Mischief::Deny { .. }
        );
        if records && kind == FrameType::Bootstrap && self.recorded.len() < MAX_RECORDED {
            self.recorded.push(frame.to_vec());
        }
    }

    /// What it sends in place of a frame of its own.
    pub(crate) fn rewrite(&self, port: PortId, frame: Vec<u8>, who: &Identity) -> Vec<u8> {
        if self.mischief != Mischief::Claim {
            return frame;
        }
        claim(port, &frame, who).unwrap_or(frame)
    }

    /// What it sends to each peer of its own accord, now that it is due.
    pub(crate) fn act(&mut self, who: &Identity, random: &mut Random) -> Vec<Vec<u8>> {
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

/// The announcement `frame` cut down to the root's entry and ours.
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

/// The notice that the path which this bootstrap sets up is broken.
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

/// A bootstrap of a key made up on the spot.
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
