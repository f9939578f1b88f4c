//! Adversaries: nodes that break the rules.

use std::time::Duration;

use pinecone_wire::FrameType;
use serde::Deserialize;

use super::event::NodeRef;
use super::times::{duration, time};
use crate::time::{Nanos, nanos};

/// An adversary, and what it does.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdversarySettings {
    /// The node.
    pub node: NodeRef,
    /// The time from which it is an adversary.
    #[serde(default, deserialize_with = "time")]
    pub at: Nanos,
    /// Its behaviour.
    pub mischief: MischiefSettings,
}

/// The behaviour of an adversary.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MischiefSettings {
    /// Drops frames.
    Drop {
        /// The types of frames.
        frames: Vec<FrameKind>,
        /// The share of them, from 0 to 1.
        #[serde(default = "all")]
        rate: f64,
        /// The peer from or to which frames are dropped. If absent, those of all peers are.
        peer: Option<NodeRef>,
    },
    /// Sends bootstraps of made-up keys to all peers.
    Flood {
        /// The time between batches.
        #[serde(default = "second", deserialize_with = "duration")]
        every: Nanos,
        /// The number of bootstraps to each peer in a batch.
        count: u32,
    },
    /// Sends all bootstraps that it received to all peers.
    Replay {
        /// The time between batches.
        #[serde(default = "second", deserialize_with = "duration")]
        every: Nanos,
        /// The number of times that each is sent.
        #[serde(default = "one")]
        times: u32,
    },
    /// Announces every path that it learned of as broken.
    Deny {
        /// The time between batches.
        #[serde(default = "second", deserialize_with = "duration")]
        every: Nanos,
    },
    /// Claims to be a child of the root, and thus close to every node.
    Claim {},
}

/// A type of frame.
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
