//! Adversaries: nodes that break the rules.

use std::time::Duration;

use pinecone_wire::FrameType;
use serde::Deserialize;

use super::event::NodeRef;
use super::times::{duration, time};
use crate::time::{Nanos, nanos};

/// Who does not play by the rules, and how.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdversarySettings {
    /// Which node.
    pub node: NodeRef,
    /// From when on.
    #[serde(default, deserialize_with = "time")]
    pub at: Nanos,
    /// What it does.
    pub mischief: MischiefSettings,
}

/// What an adversary does.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MischiefSettings {
    /// Drops frames.
    Drop {
        /// Of which types.
        frames: Vec<FrameKind>,
        /// Which share of them.
        #[serde(default = "all")]
        rate: f64,
        /// Only what comes from, or goes to, this peer.
        peer: Option<NodeRef>,
    },
    /// Sends bootstraps of made-up keys to all peers.
    Flood {
        /// How often.
        #[serde(default = "second", deserialize_with = "duration")]
        every: Nanos,
        /// How many each time.
        count: u32,
    },
    /// Sends the bootstraps that it hears to all peers.
    Replay {
        /// How often.
        #[serde(default = "second", deserialize_with = "duration")]
        every: Nanos,
        /// How many times each.
        #[serde(default = "one")]
        times: u32,
    },
    /// Says of every path that it hears of that it is broken.
    Deny {
        /// How often.
        #[serde(default = "second", deserialize_with = "duration")]
        every: Nanos,
    },
    /// Claims to be next to the root, and so near to everyone.
    Claim {},
}

/// A type of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrameKind {
    /// Tree announcements.
    Announcement,
    /// Bootstraps.
    Bootstrap,
    /// Wakeup broadcasts.
    Broadcast,
    /// Traffic.
    Traffic,
}

impl From<FrameKind> for FrameType {
    fn from(kind: FrameKind) -> Self {
        match kind {
            FrameKind::Announcement => Self::Announcement,
            FrameKind::Bootstrap => Self::Bootstrap,
            FrameKind::Broadcast => Self::Broadcast,
            FrameKind::Traffic => Self::Traffic,
        }
    }
}

fn one() -> u32 {
    1
}

fn all() -> f64 {
    1.0
}

fn second() -> Nanos {
    nanos(Duration::from_secs(1))
}
