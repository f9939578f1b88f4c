//! Events: changes to the network at a given time.

use serde::Deserialize;

use super::times::{duration, some_duration, some_range, time};
use crate::link::How;
use crate::time::Nanos;

/// A change of the network and its time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Its time.
    #[serde(deserialize_with = "time")]
    pub at: Nanos,
    /// The change.
    pub action: Action,
}

/// A change of the network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum Action {
    /// Adds nodes, each with links to random nodes that are up.
    AddNodes {
        /// The number.
        count: u32,
        /// The number of links of each new node.
        #[serde(default = "two")]
        links: u32,
    },
    /// Stops random nodes for good.
    RemoveNodes {
        /// The number.
        count: usize,
        /// The way in which they go down.
        #[serde(default)]
        how: How,
    },
    /// Stops a node.
    Stop {
        /// The node.
        node: NodeRef,
        /// The way in which it goes down.
        #[serde(default)]
        how: How,
    },
    /// Starts a node that is down. It keeps its key and loses all other state.
    Start {
        /// The node.
        node: NodeRef,
    },
    /// Adds a link.
    Link {
        /// An end of the link.
        a: NodeRef,
        /// The other end.
        b: NodeRef,
    },
    /// Takes a link down.
    Cut {
        /// An end of the link.
        a: NodeRef,
        /// The other end.
        b: NodeRef,
        /// The way in which it goes down.
        #[serde(default)]
        how: How,
    },
    /// Brings a link up again.
    Heal {
        /// An end of the link.
        a: NodeRef,
        /// The other end.
        b: NodeRef,
    },
    /// Takes random links down.
    CutLinks {
        /// The number.
        count: usize,
        /// The way in which they go down.
        #[serde(default)]
        how: How,
        /// The time after which they come up again, if they do.
        #[serde(default, deserialize_with = "some_duration")]
        heal_after: Option<Nanos>,
    },
    /// Changes the properties of all links.
    SetLinks {
        /// The range of latencies.
        #[serde(default, deserialize_with = "some_range")]
        latency: Option<(Nanos, Nanos)>,
        /// Bits per second.
        bandwidth: Option<u64>,
        /// The share of packets that are lost, from 0 to 1.
        loss: Option<f64>,
    },
    /// Takes down the links between the first nodes and the others.
    Partition {
        /// The share of nodes on the first side.
        #[serde(default = "half")]
        share: f64,
        /// The way in which they go down.
        #[serde(default)]
        how: How,
    },
    /// Brings all links up again.
    Merge {},
    /// Links each copy of the topology to the next one.
    Join {
        /// The number of links between two copies.
        #[serde(default = "one")]
        links: u32,
    },
    /// Stops the node with the highest key.
    KillRoot {
        /// The way in which it goes down.
        #[serde(default)]
        how: How,
    },
    /// Stops and starts the node with the highest key repeatedly.
    FlapRoot {
        /// The number of times.
        times: u32,
        /// The time for which it is down.
        #[serde(deserialize_with = "duration")]
        down: Nanos,
        /// The time for which it is up in between.
        #[serde(deserialize_with = "duration")]
        up: Nanos,
        /// The way in which it goes down.
        #[serde(default)]
        how: How,
    },
    /// Stops random nodes at evenly spread times, and starts each again after a while.
    Churn {
        /// The share of nodes that are stopped in a minute.
        rate: f64,
        /// The time for which this lasts.
        #[serde(rename = "for", deserialize_with = "duration")]
        lasting: Nanos,
        /// The time for which each is down.
        #[serde(deserialize_with = "duration")]
        down: Nanos,
        /// Set if they keep their keys.
        #[serde(default)]
        same_key: bool,
        /// The way in which they go down.
        #[serde(default)]
        how: How,
    },
    /// Moves the nodes of a geometric topology, and links those that are near each other.
    Move {
        /// The longest link in metres.
        range: u32,
        /// The longest distance in metres that a node moves in a round.
        step: u32,
        /// The time between rounds.
        #[serde(deserialize_with = "duration")]
        every: Nanos,
        /// The number of rounds.
        rounds: u32,
        /// The way in which links go down.
        #[serde(default)]
        how: How,
    },
}

/// A reference to a node: its number, its name in a topology file, `root` (the highest key that is
/// up), `hub` (the node with the most links) or `random`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a node is a number from 0, a name in quotes from the topology file, \"root\", \"hub\" or \"random\""
)]
pub enum NodeRef {
    /// A number from 0.
    Number(u32),
    /// A name or one of the special words.
    Name(String),
}

impl Action {
    /// Returns the name in reports. Starting a node is `start-node`, as `start` is the start of the
    /// run.
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
    /// Reports whether the node depends on the run.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        matches!(self, Self::Name(name) if ["root", "hub", "random"].contains(&name.as_str()))
    }

    /// Reports whether the node is drawn at random.
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
