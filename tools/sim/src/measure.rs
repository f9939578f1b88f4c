//! Samples: the state of a network at one moment, and what happened since the last sample.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::counts::Counts;
use crate::graph::{Graph, UNREACHABLE};
use crate::ids::NodeId;
use crate::network::{Network, Way};
use crate::random::{Random, Stream};
use crate::scenario::{ConvergedBy, MeasureSettings};
use crate::time::{Nanos, seconds};

/// A sample, which is one line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Its time in seconds.
    pub at: f64,
    /// The number of nodes that are up.
    pub alive: usize,
    /// The number of links that are up between them.
    pub links: usize,
    /// The number of different roots that they follow.
    pub roots: usize,
    /// The number of pairs of nodes that were tried. A chain of links joins each of them.
    pub pairs: usize,
    /// The number of pairs of nodes that no chain of links joins. They count neither as reached nor
    /// as lost.
    pub apart: usize,
    /// Results of routing by key.
    pub snek: Reach,
    /// Results of routing by coordinates.
    pub tree: Reach,
    /// Results for pairs of honest nodes, if there are adversaries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub honest: Option<Honest>,
    /// Protocol frames sent since the last sample.
    pub protocol: Rates,
    /// Changes of parents since then.
    pub reparentings: u64,
    /// Changes of roots since then.
    pub root_changes: u64,
    /// Routes in the tables of nodes.
    pub routes: Spread,
    /// Distances of nodes from the root, in the tree.
    pub depth: Spread,
    /// Pings and other traffic lost since the last sample, by reason.
    pub lost: BTreeMap<&'static str, u64>,
}

/// Results of trying pairs of nodes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reach {
    /// The share of pairs that reach each other. Absent if no pair was tried.
    pub share: Option<f64>,
    /// Links taken, divided by the least possible number.
    pub stretch: Spread,
    /// Links taken.
    pub hops: Spread,
    /// Lost frames, by reason.
    pub lost: BTreeMap<&'static str, u64>,
}

/// Results for pairs of honest nodes that are joined without the adversaries.
#[derive(Clone, Debug, Serialize)]
pub struct Honest {
    /// The number of pairs.
    pub pairs: usize,
    /// The share of them that reach each other by key.
    pub snek: Option<f64>,
    /// The share of them that reach each other by coordinates.
    pub tree: Option<f64>,
    /// The share of pairs whose frames by key passed an adversary.
    pub met: Option<f64>,
    /// The share of the other pairs that reach each other by key.
    pub snek_clear: Option<f64>,
    /// The share that reaches each other by coordinates, of the pairs whose frames by coordinates
    /// passed no adversary.
    pub tree_clear: Option<f64>,
}

/// Protocol frames sent per node and second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Rates {
    /// Frames of all types.
    pub frames: f64,
    /// Bytes of all types.
    pub bytes: f64,
    /// Bytes of keepalives.
    pub keepalive_bytes: f64,
    /// Bytes of tree announcements.
    pub announcement_bytes: f64,
    /// Bytes of bootstraps.
    pub bootstrap_bytes: f64,
    /// Bytes of wakeup broadcasts.
    pub broadcast_bytes: f64,
}

/// The distribution of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
    pub max: f64,
}

impl Spread {
    /// Returns the distribution of these numbers, or zeros if there are none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1) - 1;
            values.get(rank).copied().unwrap_or_default()
        };
        Self {
            mean: values.iter().sum::<f64>() / values.len().max(1) as f64,
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

impl Sample {
    /// Reports whether enough pairs reach each other by the required kinds of routing. A sample
    /// without pairs is not converged.
    #[must_use]
    pub fn is_converged(&self, settings: &MeasureSettings) -> bool {
        let enough = settings.converged;
        let reached = |reach: &Reach| reach.share.is_some_and(|share| share >= enough);
        let by_key = || reached(&self.snek);
        reached(&self.tree) && (settings.converged_by == ConvergedBy::Coordinates || by_key())
    }

    /// Returns the share of pairs that no chain of links joins, or nothing if no pair was drawn.
    #[must_use]
    pub fn apart(&self) -> Option<f64> {
        share(self.apart, self.apart + self.pairs)
    }
}

/// Takes samples.
pub struct Measurer {
    random: Random,
    pairs: usize,
    graph: Graph,
    /// The network's count of changes when the graph was made.
    changes: Option<u64>,
    last: Counts,
    last_at: Nanos,
}

/// The pairs of a sample.
#[derive(Default)]
struct Trials {
    tried: Vec<Trial>,
    apart: usize,
}

/// A pair that was tried.
struct Trial {
    distance: u32,
    /// Set if the two are joined even without the adversaries.
    spared: bool,
    probes: [crate::network::Probe; 2],
}

impl Measurer {
    /// Returns a measurer that tries this many pairs in a sample.
    #[must_use]
    pub fn new(seed: u64, pairs: usize) -> Self {
        Self {
            random: Random::new(seed, Stream::Measures),
            pairs,
            graph: Graph::default(),
            changes: None,
            last: Counts::default(),
            last_at: 0,
        }
    }

    /// Returns the graph of the links that are up now.
    pub fn graph(&mut self, network: &Network) -> &Graph {
        if self.changes.replace(network.changes()) != Some(network.changes()) {
            self.graph = Graph::of(network);
        }
        &self.graph
    }

    /// Takes a sample.
    pub fn sample(&mut self, network: &mut Network) -> Sample {
        let alive = network.alive();
        let adversaries = alive.iter().any(|&node| network.is_adversary(node));
        let Trials {
            tried: trials,
            apart,
        } = self.try_pairs(network, &alive, adversaries);
        let states: Vec<_> = alive.iter().filter_map(|&n| network.status(n)).collect();
        let counts = network.counts();
        let time = seconds(network.now() - self.last_at).max(1e-9) * alive.len().max(1) as f64;
        let rate = |now: u64, before: u64| (now - before) as f64 / time;
        let (now, last) = (&counts, &self.last);
        let bytes = |of: fn(&Counts) -> u64| rate(of(now), of(last));
        let lost = counts.losses.since(&last.losses);
        let sample = Sample {
            at: seconds(network.now()),
            alive: alive.len(),
            links: network.live_links().count(),
            roots: states.iter().map(|s| s.root).collect::<BTreeSet<_>>().len(),
            pairs: trials.len(),
            apart,
            snek: reach(&trials, Way::Snek),
            tree: reach(&trials, Way::Tree),
            honest: adversaries.then(|| honest(&trials)),
            protocol: Rates {
                frames: rate(now.protocol().frames, last.protocol().frames),
                bytes: rate(now.protocol().bytes, last.protocol().bytes),
                keepalive_bytes: bytes(|c| c.keepalives.bytes),
                announcement_bytes: bytes(|c| c.announcements.bytes),
                bootstrap_bytes: bytes(|c| c.bootstraps.bytes),
                broadcast_bytes: bytes(|c| c.broadcasts.bytes),
            },
            reparentings: counts.reparentings - last.reparentings,
            root_changes: counts.root_changes - last.root_changes,
            routes: Spread::of(states.iter().map(|s| s.routes as f64).collect()),
            depth: Spread::of(
                states
                    .iter()
                    .map(|s| s.coordinates.depth() as f64)
                    .collect(),
            ),
            lost: lost
                .iter()
                .filter(|(_, n)| *n > 0)
                .map(|(loss, n)| (loss.name(), n))
                .collect(),
        };
        self.last = counts;
        self.last_at = network.now();
        sample
    }

    fn try_pairs(&mut self, network: &mut Network, alive: &[NodeId], adversaries: bool) -> Trials {
        self.graph(network);
        let graph = &self.graph;
        let without = adversaries.then(|| graph.without(|node| network.is_adversary(node)));
        let mut nodes: Vec<_> = alive.to_vec();
        nodes.retain(|&node| !network.is_adversary(node));
        let others = nodes.len().saturating_sub(1);
        let all = nodes.len() * others <= self.pairs;
        let sources = match all {
            true => nodes.len(),
            false => (self.pairs.isqrt() + 1).min(nodes.len()),
        };
        let targets = match all {
            true => others,
            false => (self.pairs / sources.max(1)).clamp(1, others),
        };
        let mut trials = Trials::default();
        for source in 0..sources {
            // The sources so far are at the front of the list.
            let own = match all {
                true => source,
                false => source + self.random.index(nodes.len() - source),
            };
            nodes.swap(source, own);
            let Some(&from) = nodes.get(source) else {
                continue;
            };
            let distances = graph.distances(from);
            let spared = without.as_ref().map(|graph| graph.distances(from));
            let mut rest: Vec<_> = nodes.iter().copied().filter(|&n| n != from).collect();
            if !all {
                self.random.choose(&mut rest, targets);
            }
            for &to in rest.iter().take(targets) {
                let distance = |all: &Vec<u32>| all.get(to as usize).copied();
                let Some(hops) = distance(&distances).filter(|&d| d != UNREACHABLE) else {
                    trials.apart += 1;
                    continue;
                };
                let probes = [Way::Snek, Way::Tree].map(|way| network.probe(from, to, way));
                trials.tried.push(Trial {
                    distance: hops,
                    spared: spared
                        .as_ref()
                        .is_none_or(|all| distance(all) != Some(UNREACHABLE)),
                    probes,
                });
            }
        }
        trials
    }
}

fn reach(trials: &[Trial], way: Way) -> Reach {
    let (mut stretch, mut hops) = (Vec::new(), Vec::new());
    let mut lost = BTreeMap::new();
    for trial in trials {
        match trial.probes[way as usize].result {
            Ok(took) => {
                stretch.push(f64::from(took) / f64::from(trial.distance.max(1)));
                hops.push(f64::from(took));
            }
            Err(loss) => *lost.entry(loss.name()).or_default() += 1,
        }
    }
    Reach {
        share: share(hops.len(), trials.len()),
        stretch: Spread::of(stretch),
        hops: Spread::of(hops),
        lost,
    }
}

fn honest(trials: &[Trial]) -> Honest {
    let spared: Vec<_> = trials.iter().filter(|trial| trial.spared).collect();
    let count = |way: Way, clear: bool| {
        let probes = spared.iter().map(|trial| trial.probes[way as usize]);
        let of = probes.filter(|probe| !clear || !probe.met_adversary);
        let (mut all, mut reached) = (0, 0);
        for probe in of {
            all += 1;
            reached += usize::from(probe.result.is_ok());
        }
        (reached, all)
    };
    let shares = |way, clear| {
        let (reached, all) = count(way, clear);
        share(reached, all)
    };
    let clear = count(Way::Snek, true).1;
    Honest {
        pairs: spared.len(),
        snek: shares(Way::Snek, false),
        tree: shares(Way::Tree, false),
        met: share(clear, spared.len()).map(|clear| 1.0 - clear),
        snek_clear: shares(Way::Snek, true),
        tree_clear: shares(Way::Tree, true),
    }
}

/// Returns a share of a whole, or nothing if the whole is 0.
pub(crate) fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_of_numbers() {
        let spread = Spread::of((1..=200).rev().map(f64::from).collect());
        assert_eq!(
            spread,
            Spread {
                mean: 100.5,
                p50: 100.0,
                p99: 198.0,
                max: 200.0
            }
        );
        assert_eq!(Spread::of(Vec::new()), Spread::default());
        assert_eq!(Spread::of(vec![3.0]).p99, 3.0);
    }
}
