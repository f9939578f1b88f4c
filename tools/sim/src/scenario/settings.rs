//! The contents of a scenario.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use pinecone_controlplane::Config;
use serde::Deserialize;

use super::adversary::AdversarySettings;
use super::event::Event;
use super::source::Source;
use super::times::{duration, range, time};
use crate::expect::Comparison;
use crate::link::LinkOptions;
use crate::node::NodeOptions;
use crate::random::{MILLION, Random};
use crate::time::{Nanos, SECOND, nanos};
use crate::topology::Topology;

/// The time before the end of the run after which no pings are sent, so that answers can return.
pub(crate) const LAST_CALL: Nanos = 5 * SECOND;

/// A scenario.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// A short name.
    pub name: String,
    /// A sentence that describes it.
    #[serde(default)]
    pub about: String,
    /// The seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// The length of the run in virtual time.
    #[serde(deserialize_with = "duration")]
    pub duration: Nanos,
    /// The links at the start.
    pub topology: Topology,
    /// The nodes.
    #[serde(default)]
    pub network: NetworkSettings,
    /// The links' properties.
    #[serde(default)]
    pub link: LinkSettings,
    /// The measurements.
    #[serde(default)]
    pub measure: MeasureSettings,
    /// Rounds of pings, if any.
    pub pings: Option<PingSettings>,
    /// Changes to the network.
    #[serde(default)]
    pub event: Vec<Event>,
    /// Nodes that break the rules.
    #[serde(default)]
    pub adversary: Vec<AdversarySettings>,
    /// Expectations: a comparison for each measure.
    #[serde(default)]
    pub expect: BTreeMap<String, Comparison>,
    /// The directory of the scenario's file, to which paths in it are relative.
    #[serde(skip)]
    pub directory: PathBuf,
    /// The file and the lines of its keys.
    #[serde(skip)]
    pub source: Source,
}

/// Settings of the nodes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NetworkSettings {
    /// The number of separate copies of the topology at the start.
    pub copies: u32,
    /// Set if signatures are made and checked. Otherwise all frames are believed.
    pub signatures: bool,
    /// The time within which nodes start.
    #[serde(deserialize_with = "time")]
    pub start_within: Nanos,
    /// Set if nodes send wakeup broadcasts.
    pub wakeup_broadcasts: bool,
    /// The hop limit of a node's own wakeup broadcasts.
    pub wakeup_hops: u8,
    /// The number of other nodes' broadcasts that a node forwards in a minute.
    pub max_broadcasts_forwarded: usize,
    /// Set if nodes correct outdated paths.
    pub correct_paths: bool,
    /// Set if nodes enforce the hop limit of traffic frames.
    pub hop_limiting: bool,
    /// The largest number of routes in a node's table.
    pub max_routes: usize,
    /// The largest number of routes in a node's table that lead over one peering.
    pub max_routes_per_peer: usize,
}

/// Settings of the links. Each link draws its own values.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LinkSettings {
    /// The range of latencies.
    #[serde(deserialize_with = "range")]
    pub latency: (Nanos, Nanos),
    /// Bits per second; 0 for no limit.
    pub bandwidth: u64,
    /// The share of packets that are lost, from 0 to 1.
    pub loss: f64,
    /// The capacity in bytes of the queue for traffic, where bandwidth is limited.
    pub queue: u64,
}

/// Settings of the measurements.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MeasureSettings {
    /// The time between samples.
    #[serde(deserialize_with = "duration")]
    pub every: Nanos,
    /// The number of pairs of nodes in a sample; all pairs if there are no more than that.
    pub pairs: usize,
    /// The share of pairs that must reach each other for the network to count as converged, from
    /// 0 to 1.
    pub converged: f64,
    /// The kinds of routing by which they must reach each other.
    pub converged_by: ConvergedBy,
}

/// The kinds of routing that must work for a network to count as converged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConvergedBy {
    /// Routing by key and by coordinates.
    #[default]
    Both,
    /// Routing by coordinates: the nodes agree on a root and on a tree.
    Coordinates,
}

/// Settings of pings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PingSettings {
    /// The time of the first round.
    #[serde(deserialize_with = "time")]
    pub from: Nanos,
    /// The time between rounds.
    #[serde(deserialize_with = "duration")]
    pub every: Nanos,
    /// The number of pings in a round.
    pub count: usize,
    /// The least distance between the two nodes, in links.
    #[serde(default = "one")]
    pub min_distance: u32,
}

impl Scenario {
    /// Returns the name of each event in reports. The second event of a kind ends in `-2`, and so on.
    #[must_use]
    pub fn event_names(&self) -> Vec<String> {
        let mut order: Vec<_> = self.event.iter().enumerate().collect();
        order.sort_by_key(|(_, event)| event.at);
        let mut names = vec![String::new(); self.event.len()];
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, event) in order {
            let kind = event.action.name();
            let times = seen.entry(kind).or_default();
            *times += 1;
            if let Some(name) = names.get_mut(number) {
                *name = match times {
                    1 => kind.into(),
                    n => format!("{kind}-{n}"),
                };
            }
        }
        names
    }

    /// Returns the options of this network's nodes.
    #[must_use]
    pub fn node_options(&self) -> NodeOptions {
        let network = &self.network;
        NodeOptions {
            config: Config {
                wakeup_broadcasts: network.wakeup_broadcasts,
                wakeup_hops: network.wakeup_hops,
                max_broadcasts_forwarded: network.max_broadcasts_forwarded,
                correct_paths: network.correct_paths,
                max_routes: network.max_routes,
                max_routes_per_peer: network.max_routes_per_peer,
                ..Config::default()
            },
            signatures: network.signatures,
            hop_limiting: network.hop_limiting,
            publish: false,
        }
    }
}

impl LinkSettings {
    /// Draws the options of one link.
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
            start_within: SECOND,
            wakeup_broadcasts: true,
            wakeup_hops: config.wakeup_hops,
            max_broadcasts_forwarded: config.max_broadcasts_forwarded,
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
            every: SECOND,
            pairs: 1000,
            converged: 1.0,
            converged_by: ConvergedBy::default(),
        }
    }
}

/// Converts a share to parts of a million.
pub(crate) fn millionths(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * f64::from(MILLION)).round() as u32
}

fn one() -> u32 {
    1
}
