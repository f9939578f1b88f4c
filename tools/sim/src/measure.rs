//! What a network is like at one moment, and what happened in it since the moment before.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::counts::Counts;
use crate::graph::{Graph, UNREACHABLE};
use crate::ids::NodeId;
use crate::network::{Network, Way};
use crate::random::{Random, Stream};
use crate::scenario::{ConvergedBy, MeasureSettings};
use crate::time::{Nanos, seconds};

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// When, in seconds.
    pub at: f64,
    /// Nodes that are up.
    pub alive: usize,
    /// Links that are up between them.
    pub links: usize,
    /// How many roots they follow.
    pub roots: usize,
    /// Pairs of nodes that were tried. A chain of links joins each.
    pub pairs: usize,
    /// Pairs of nodes that no chain of links joins. They count neither as reached nor as lost.
    pub apart: usize,
    /// How they reach each other by key.
    pub snek: Reach,
    /// How they reach each other by coordinates.
    pub tree: Reach,
    /// How honest pairs do, where there are adversaries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub honest: Option<Honest>,
    /// What the protocol sent since the last sample.
    pub protocol: Rates,
    /// Nodes that took another parent since then.
    pub reparentings: u64,
    /// Nodes whose root became another since then.
    pub root_changes: u64,
    /// Routes in a node's table.
    pub routes: Spread,
    /// How far below the root nodes are.
    pub depth: Spread,
    /// Pings and other traffic lost since the last sample, by reason.
    pub lost: BTreeMap<&'static str, u64>,
}

/// How pairs of nodes reach each other.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reach {
    /// The share that does; none where no pair was tried.
    pub share: Option<f64>,
    /// How many links it takes, for each that it could take at least.
    pub stretch: Spread,
    /// How many links it takes.
    pub hops: Spread,
    /// Why the others do not.
    pub lost: BTreeMap<&'static str, u64>,
}

/// How honest pairs do, of those that are joined without the adversaries.
#[derive(Clone, Debug, Serialize)]
pub struct Honest {
    /// How many pairs.
    pub pairs: usize,
    /// Which share of them reach each other, by key.
    pub snek: Option<f64>,
    /// The same, by coordinates.
    pub tree: Option<f64>,
    /// The share of those whose frames came by an adversary, by key.
    pub met: Option<f64>,
    /// Which share reach each other of those whose frames did not come by an adversary, by key.
    pub snek_clear: Option<f64>,
    /// The same, by coordinates.
    pub tree_clear: Option<f64>,
}

/// What the protocol sends a node and second.
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

/// How numbers are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Their median.
    pub p50: f64,
    /// What 99 of a hundred are not above.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of these numbers; zeros where there are none.
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
    /// Whether enough pairs reach each other by the ways that count. A sample without a pair
    /// shows nothing.
    #[must_use]
    pub fn is_converged(&self, settings: &MeasureSettings) -> bool {
        let enough = settings.converged;
        let reached = |reach: &Reach| reach.share.is_some_and(|share| share >= enough);
        let by_key = || reached(&self.snek);
        reached(&self.tree) && (settings.converged_by == ConvergedBy::Coordinates || by_key())
    }

    /// The share of pairs that no chain of links joins; none where no pair was drawn.
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
    /// What the graph shows.
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

/// One pair that was tried.
struct Trial {
    distance: u32,
    /// Whether the two are joined without the adversaries.
    spared: bool,
    probes: [crate::network::Probe; 2],
}

impl Measurer {
    /// Takes samples over so many pairs.
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

    /// Who is linked to whom now.
    pub fn graph(&mut self, network: &Network) -> &Graph {
        if self.changes.replace(network.changes()) != Some(network.changes()) {
            self.graph = Graph::of(network);
        }
        &self.graph
    }

    /// Looks at the network.
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
            // Sources go to the front of the list, each time one more of them.
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

/// A share; none of nothing.
pub(crate) fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
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
