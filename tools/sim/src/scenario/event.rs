//! Events: changes to the network at a given time.

use serde::Deserialize;

use super::times::{duration, some_duration, some_range, time};
use crate::link::How;
use crate::time::Nanos;

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When.
    #[serde(deserialize_with = "time")]
    pub at: Nanos,
    /// What.
    pub action: Action,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum Action {
    /// New nodes come, each linked to some of those that are up.
    AddNodes {
        /// How many.
        count: u32,
        /// To how many each is linked.
        #[serde(default = "two")]
        links: u32,
    },
    /// Nodes picked at random go for good.
    RemoveNodes {
        /// How many.
        count: usize,
        /// How they go.
        #[serde(default)]
        how: How,
    },
    /// A node goes.
    Stop {
        /// Which.
        node: NodeRef,
        /// How it goes.
        #[serde(default)]
        how: How,
    },
    /// A node that is down comes back with its key.
    Start {
        /// Which.
        node: NodeRef,
    },
    /// A link is added.
    Link {
        /// From whom.
        a: NodeRef,
        /// To whom.
        b: NodeRef,
    },
    /// A link goes down.
    Cut {
        /// From whom.
        a: NodeRef,
        /// To whom.
        b: NodeRef,
        /// How it goes.
        #[serde(default)]
        how: How,
    },
    /// A link that is down comes back.
    Heal {
        /// From whom.
        a: NodeRef,
        /// To whom.
        b: NodeRef,
    },
    /// Links picked at random go down.
    CutLinks {
        /// How many.
        count: usize,
        /// How they go.
        #[serde(default)]
        how: How,
        /// After how long they come back, if they do.
        #[serde(default, deserialize_with = "some_duration")]
        heal_after: Option<Nanos>,
    },
    /// All links change.
    SetLinks {
        /// The least and the most latency.
        #[serde(default, deserialize_with = "some_range")]
        latency: Option<(Nanos, Nanos)>,
        /// Bits a second.
        bandwidth: Option<u64>,
        /// The share of packets that are lost.
        loss: Option<f64>,
    },
    /// The links between the first nodes and the others go down.
    Partition {
        /// The share of nodes that are on the first side.
        #[serde(default = "half")]
        share: f64,
        /// How they go.
        #[serde(default)]
        how: How,
    },
    /// All links that are down come back.
    Merge {},
    /// Networks that stood side by side are linked: each to the next, by so many links.
    Join {
        /// How many links.
        #[serde(default = "one")]
        links: u32,
    },
    /// The node with the highest key goes.
    KillRoot {
        /// How it goes.
        #[serde(default)]
        how: How,
    },
    /// The node with the highest key goes and comes back, again and again.
    FlapRoot {
        /// How often.
        times: u32,
        /// How long it is down.
        #[serde(deserialize_with = "duration")]
        down: Nanos,
        /// How long it is up between.
        #[serde(deserialize_with = "duration")]
        up: Nanos,
        /// How it goes.
        #[serde(default)]
        how: How,
    },
    /// Nodes picked at random go, and come back as new ones, at times spread evenly.
    Churn {
        /// The share of nodes that go in a minute.
        rate: f64,
        /// How long this goes on.
        #[serde(rename = "for", deserialize_with = "duration")]
        lasting: Nanos,
        /// How long each is down.
        #[serde(deserialize_with = "duration")]
        down: Nanos,
        /// Whether they come back with the keys that they had.
        #[serde(default)]
        same_key: bool,
        /// How they go.
        #[serde(default)]
        how: How,
    },
    /// Nodes move about in their square, and are linked to those that are near.
    Move {
        /// How far a link reaches, in metres.
        range: u32,
        /// The furthest that a node moves in a round, in metres.
        step: u32,
        /// How often.
        #[serde(deserialize_with = "duration")]
        every: Nanos,
        /// How many rounds.
        rounds: u32,
        /// How links go down.
        #[serde(default)]
        how: How,
    },
}

/// One node: its number, its name in a topology file, `root` (the highest key that is up), `hub`
/// (the one with the most links) or `random`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a node is a number from 0, a name in quotes from the topology file, \"root\", \"hub\" or \"random\""
)]
pub enum NodeRef {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}

impl Action {
    /// The name in reports. `start` is the start of the run, so starting a node is `start-node`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddNodes { .. } => "add-nodes",
            Self::RemoveNodes { .. } => "remove-nodes",
            Self::Stop { .. } => "stop",
            Self::Start { .. } => "start-node",
            Self::Link { .. } => "link",
            Self::Cut { .. } => "cut",
            Self::Heal { .. } => "heal",
            Self::CutLinks { .. } => "cut-links",
            Self::SetLinks { .. } => "set-links",
            Self::Partition { .. } => "partition",
            Self::Merge {} => "merge",
            Self::Join { .. } => "join",
            Self::KillRoot { .. } => "kill-root",
            Self::FlapRoot { .. } => "flap-root",
            Self::Churn { .. } => "churn",
            Self::Move { .. } => "move",
        }
    }
}

impl NodeRef {
    /// Whether the network decides which node it is.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        matches!(self, Self::Name(name) if ["root", "hub", "random"].contains(&name.as_str()))
    }

    /// Whether chance decides which node it is.
    #[must_use]
    pub fn is_random(&self) -> bool {
        matches!(self, Self::Name(name) if name == "random")
    }
}

fn one() -> u32 {
    1
}

fn two() -> u32 {
    2
}

fn half() -> f64 {
    0.5
}
