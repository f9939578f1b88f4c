//! Scenarios: what network, what happens to it, what is measured and what must hold. The format
//! is documented in `docs/simulation.md`.

mod adversary;
mod check;
mod event;
mod layout;
mod shape;
mod source;
mod times;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pinecone_controlplane::Config;
use serde::Deserialize;

use self::source::Source;
use self::times::{duration, range, time};
use crate::error::Error;
use crate::expect::Comparison;
use crate::input;
use crate::link::LinkOptions;
use crate::node::NodeOptions;
use crate::random::{MILLION, Random};
use crate::time::{Nanos, nanos};
use crate::topology::Topology;

pub use self::adversary::{AdversarySettings, FrameKind, MischiefSettings};
pub(crate) use self::check::LAST_CALL;
pub use self::event::{Action, Event, NodeRef};

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
    #[serde(deserialize_with = "duration")]
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
    pub expect: BTreeMap<String, Comparison>,
    /// The directory of the scenario's file.
    #[serde(skip)]
    pub directory: PathBuf,
    /// The file and the lines of its keys.
    #[serde(skip)]
    pub source: Source,
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
    /// The hop limit of their own.
    pub wakeup_hops: u8,
    /// How many of others' they pass on in a minute.
    pub max_broadcasts_forwarded: usize,
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
    #[serde(deserialize_with = "duration")]
    pub every: Nanos,
    /// How many pairs of nodes: all, if there are no more than that.
    pub pairs: usize,
    /// The share of pairs that must reach each other for the network to count as converged.
    pub converged: f64,
    /// The ways by which they must reach each other.
    pub converged_by: ConvergedBy,
}

/// The ways by which pairs must reach each other for a network to count as converged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConvergedBy {
    /// By key and by coordinates.
    #[default]
    Both,
    /// By coordinates: the nodes agree on a root and on a tree.
    Coordinates,
}

/// Who pings whom.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PingSettings {
    /// When the first round is.
    #[serde(deserialize_with = "time")]
    pub from: Nanos,
    /// How far apart the rounds are.
    #[serde(deserialize_with = "duration")]
    pub every: Nanos,
    /// How many pings a round.
    pub count: usize,
    /// How many links the two are apart at least.
    #[serde(default = "one")]
    pub min_distance: u32,
}

impl Scenario {
    /// Reads a scenario. With `small`, the values in its `[small]` table replace the others.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Input`], [`Error::NoSmall`].
    pub fn read(path: &Path, small: bool) -> Result<Self, Error> {
        let text = input::read(path)?;
        Self::parse_file(path, &text, small)
    }

    /// Reads a scenario from its text. Errors call the file `scenario`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str, small: bool) -> Result<Self, Error> {
        Self::parse_file(Path::new("scenario"), text, small)
    }

    fn parse_file(path: &Path, text: &str, small: bool) -> Result<Self, Error> {
        let (source, mut scenario) = Source::read::<Self>(path, text, small)?;
        scenario.source = source;
        scenario.directory = path.parent().unwrap_or(Path::new(".")).into();
        scenario.check()?;
        if !small {
            // A mistake in `[small]` is one even where `[small]` is not used.
            match Self::parse_file(path, text, true) {
                Err(Error::NoSmall { .. }) => {}
                small => small
                    .and_then(|small| small.lay_out())
                    .map(drop)
                    .map_err(in_small)?,
            }
        }
        Ok(scenario)
    }

    /// The name of each event in reports: the second of a kind ends with `-2`, and so on.
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

    /// What the nodes of this network are made with.
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
        }
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
            every: second(),
            pairs: 1000,
            converged: 1.0,
            converged_by: ConvergedBy::default(),
        }
    }
}

/// A share as parts of a million.
pub(crate) fn millionths(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * f64::from(MILLION)).round() as u32
}

/// An error that comes up with the values of `[small]`.
fn in_small(error: Error) -> Error {
    match error {
        Error::Input { file, line, wrong } => Error::Input {
            file,
            line,
            wrong: format!("{wrong} (with --small)"),
        },
        error => error,
    }
}

fn one() -> u32 {
    1
}

fn second() -> Nanos {
    nanos(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
