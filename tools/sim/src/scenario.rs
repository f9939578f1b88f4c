//! Scenarios: what network, what happens to it, what is measured and what must hold. The format
//! is documented in `docs/simulation.md`.

mod times;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pinecone_controlplane::Config;
use pinecone_wire::FrameType;
use serde::Deserialize;

use self::times::{range, some_range, some_time, time};
use crate::error::Error;
use crate::link::LinkOptions;
use crate::network::How;
use crate::node::NodeOptions;
use crate::random::{MILLION, Random};
use crate::time::{Nanos, nanos};
use crate::topology::Topology;

/// A scenario.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// In a word.
    pub name: String,
    /// In a sentence.
    #[serde(default)]
    pub about: String,
    /// What all chance comes from.
    #[serde(default)]
    pub seed: u64,
    /// How long it lasts, in virtual time.
    #[serde(deserialize_with = "time")]
    pub duration: Nanos,
    /// Who is linked to whom.
    pub topology: Topology,
    /// What the nodes are like.
    #[serde(default)]
    pub network: NetworkSettings,
    /// What the links are like.
    #[serde(default)]
    pub link: LinkSettings,
    /// What is measured.
    #[serde(default)]
    pub measure: MeasureSettings,
    /// Who pings whom.
    pub pings: Option<PingSettings>,
    /// What happens.
    #[serde(default)]
    pub event: Vec<Event>,
    /// Who does not play by the rules.
    #[serde(default)]
    pub adversary: Vec<AdversarySettings>,
    /// What must hold: a comparison for each measure.
    #[serde(default)]
    pub expect: BTreeMap<String, String>,
    /// Where the scenario's file is.
    #[serde(skip)]
    pub directory: PathBuf,
}

/// What the nodes are like.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NetworkSettings {
    /// How many such networks stand side by side at the start.
    pub copies: u32,
    /// Whether signatures are made and checked, or replaced by a stand-in.
    pub signatures: bool,
    /// Nodes start at any time within this.
    #[serde(deserialize_with = "time")]
    pub start_within: Nanos,
    /// Whether nodes send wakeup broadcasts.
    pub wakeup_broadcasts: bool,
    /// Whether nodes correct old paths.
    pub correct_paths: bool,
    /// Whether nodes limit hops.
    pub hop_limiting: bool,
    /// The bound on a node's routes.
    pub max_routes: usize,
    /// The bound on the routes that come by one peering.
    pub max_routes_per_peer: usize,
}

/// What links are like: each draws its own.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LinkSettings {
    /// The least and the most latency.
    #[serde(deserialize_with = "range")]
    pub latency: (Nanos, Nanos),
    /// Bits a second; 0 for no limit.
    pub bandwidth: u64,
    /// The share of packets that are lost.
    pub loss: f64,
    /// Bytes of traffic that may wait where bandwidth is limited.
    pub queue: u64,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MeasureSettings {
    /// How often.
    #[serde(deserialize_with = "time")]
    pub every: Nanos,
    /// How many pairs of nodes: all, if there are no more than that.
    pub pairs: usize,
    /// The share of pairs that must reach each other for the network to count as converged.
    pub converged: f64,
}

/// Who pings whom.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PingSettings {
    /// When the first round is.
    #[serde(deserialize_with = "time")]
    pub from: Nanos,
    /// How far apart the rounds are.
    #[serde(deserialize_with = "time")]
    pub every: Nanos,
    /// How many pings a round.
    pub count: usize,
    /// How many links the two are apart at least.
    #[serde(default = "one")]
    pub min_distance: u32,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Event {
    /// When.
    #[serde(deserialize_with = "time")]
    pub at: Nanos,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    tag = "do",
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
        #[serde(default, deserialize_with = "some_time")]
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
    Merge,
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
        #[serde(deserialize_with = "time")]
        down: Nanos,
        /// How long it is up between.
        #[serde(deserialize_with = "time")]
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
        #[serde(rename = "for", deserialize_with = "time")]
        lasting: Nanos,
        /// How long each is down.
        #[serde(deserialize_with = "time")]
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
        #[serde(deserialize_with = "time")]
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
#[serde(untagged)]
pub enum NodeRef {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}

/// Who does not play by the rules, and how.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AdversarySettings {
    /// Which node.
    pub node: NodeRef,
    /// From when on.
    #[serde(default, deserialize_with = "time")]
    pub at: Nanos,
    /// What it does.
    #[serde(flatten)]
    pub mischief: MischiefSettings,
}

/// What an adversary does.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
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
        #[serde(default = "second", deserialize_with = "time")]
        every: Nanos,
        /// How many each time.
        count: u32,
    },
    /// Sends the bootstraps that it hears to all peers.
    Replay {
        /// How often.
        #[serde(default = "second", deserialize_with = "time")]
        every: Nanos,
        /// How many times each.
        #[serde(default = "one")]
        times: u32,
    },
    /// Says of every path that it hears of that it is broken.
    Deny {
        /// How often.
        #[serde(default = "second", deserialize_with = "time")]
        every: Nanos,
    },
    /// Claims to be next to the root, and so near to everyone.
    Claim,
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

impl Scenario {
    /// Reads a scenario; in small, what its `[small]` table says stands in place of the rest.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Scenario`], [`Error::NoSmall`], [`Error::Setting`].
    pub fn read(path: &Path, small: bool) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.into(),
            source,
        })?;
        let mut scenario = Self::parse(&text, small)?;
        scenario.directory = path.parent().unwrap_or(Path::new(".")).into();
        Ok(scenario)
    }

    /// Reads a scenario from its text.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str, small: bool) -> Result<Self, Error> {
        let wrong = |error| Error::Scenario(Box::new(error));
        let mut table: toml::Table = text.parse().map_err(wrong)?;
        match (table.remove("small"), small) {
            (Some(toml::Value::Table(over)), true) => overlay(&mut table, over),
            (_, true) => return Err(Error::NoSmall),
            (_, false) => {}
        }
        let scenario: Self = table.try_into().map_err(wrong)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// What the nodes of this network are made with.
    #[must_use]
    pub fn node_options(&self) -> NodeOptions {
        let network = &self.network;
        NodeOptions {
            config: Config {
                wakeup_broadcasts: network.wakeup_broadcasts,
                correct_paths: network.correct_paths,
                max_routes: network.max_routes,
                max_routes_per_peer: network.max_routes_per_peer,
                ..Config::default()
            },
            signatures: network.signatures,
            hop_limiting: network.hop_limiting,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let setting = |wrong: &str| Err(Error::Setting(wrong.into()));
        if self.duration == 0 || self.measure.every == 0 {
            return setting("`duration` and `measure.every` must be longer than nothing");
        }
        if self.network.copies == 0 {
            return setting("`network.copies` is at least 1");
        }
        if !(0.0..1.0).contains(&self.link.loss) {
            return setting("`link.loss` is a share: from 0 up to, but not including, 1");
        }
        if self.pings.as_ref().is_some_and(|pings| pings.every == 0) {
            return setting("`pings.every` must be longer than nothing");
        }
        Ok(())
    }
}

impl LinkSettings {
    /// Draws one link.
    pub fn draw(&self, random: &mut Random) -> LinkOptions {
        LinkOptions {
            latency: random.between(self.latency.0, self.latency.1),
            bandwidth: self.bandwidth,
            loss: millionths(self.loss),
            queue: self.queue,
        }
    }
}

impl Default for NetworkSettings {
    fn default() -> Self {
        let config = Config::default();
        Self {
            copies: 1,
            signatures: true,
            start_within: nanos(Duration::from_secs(1)),
            wakeup_broadcasts: true,
            correct_paths: config.correct_paths,
            hop_limiting: false,
            max_routes: config.max_routes,
            max_routes_per_peer: config.max_routes_per_peer,
        }
    }
}

impl Default for LinkSettings {
    fn default() -> Self {
        let ms = |n| nanos(Duration::from_millis(n));
        Self {
            latency: (ms(1), ms(20)),
            bandwidth: 0,
            loss: 0.0,
            queue: 4 << 20,
        }
    }
}

impl Default for MeasureSettings {
    fn default() -> Self {
        Self {
            every: second(),
            pairs: 1000,
            converged: 1.0,
        }
    }
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

/// A share as parts of a million.
pub(crate) fn millionths(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * f64::from(MILLION)).round() as u32
}

/// Puts the values of `over` in the place of those of `table`, table by table. Where the two are
/// of different `kind`s, nothing of the old one is left.
fn overlay(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new))
                if new
                    .get("kind")
                    .is_none_or(|kind| old.get("kind") == Some(kind)) =>
            {
                overlay(old, new);
            }
            (_, value) => {
                table.insert(key, value);
            }
        }
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

fn all() -> f64 {
    1.0
}

fn second() -> Nanos {
    nanos(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
