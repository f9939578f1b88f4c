//! The measures of a report, computed at the end of a run.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Pings, Report, Round};
use crate::measure::{Honest, Sample, Spread, share};
use crate::network::{Network, Ping};
use crate::scenario::{MeasureSettings, Scenario};
use crate::time::seconds;

impl Report {
    /// Computes measures and expectations at the end of a run. `rounds` has the numbers of each
    /// round's pings.
    pub(crate) fn finish(
        &mut self,
        scenario: &Scenario,
        network: &mut Network,
        rounds: &[Range<usize>],
    ) {
        self.find_convergence(&scenario.measure);
        if scenario.pings.is_some() {
            self.pings = Some(pings(network, rounds));
        }
        self.compute_measures(&scenario.measure, network);
        for (name, comparison) in &scenario.expect {
            let found = self.measures.get(name).copied();
            self.expectations.push(comparison.check(name, found));
        }
    }

    /// Finds the time to converge after each event: up to the first sample from which on all samples
    /// before the next event are converged.
    fn find_convergence(&mut self, settings: &MeasureSettings) {
        let starts: Vec<_> = self.events.iter().map(|mark| mark.at).collect();
        for (number, mark) in self.events.iter_mut().enumerate() {
            let next = starts.iter().skip(number + 1).find(|&&at| at > mark.at);
            let end = next.copied().unwrap_or(f64::INFINITY);
            let within = self
                .samples
                .iter()
                .filter(|sample| sample.at > mark.at && sample.at < end);
            let tail = within
                .rev()
                .take_while(|sample| sample.is_converged(settings));
            mark.converged_after = tail.last().map(|sample| sample.at - mark.at);
        }
    }

    /// Computes all measures. `docs/simulation.md` lists their names.
    fn compute_measures(&mut self, settings: &MeasureSettings, network: &mut Network) {
        let mut all: Vec<(String, f64)> = Vec::new();
        let mut put = |name: &str, value: Option<f64>| {
            all.extend(value.map(|value| (name.into(), value)));
        };
        let settled = self
            .samples
            .iter()
            .skip_while(|sample| !sample.is_converged(settings));
        let settled: Vec<_> = settled.collect();
        let over = |of: fn(&Sample) -> Option<f64>| {
            let values: Vec<_> = settled.iter().filter_map(|sample| of(sample)).collect();
            let least = values.iter().copied().reduce(f64::min);
            (least.map(|_| Spread::of(values).mean), least)
        };
        if let Some(last) = self.samples.last() {
            for (name, reach, of) in [
                (
                    "snek",
                    &last.snek,
                    (|s| s.snek.share) as fn(&Sample) -> Option<f64>,
                ),
                ("tree", &last.tree, |s| s.tree.share),
            ] {
                let some = |value| reach.share.filter(|&share| share > 0.0).map(|_| value);
                put(&format!("{name}.reach"), reach.share);
                let (mean, least) = over(of);
                put(&format!("{name}.reach.mean"), mean);
                put(&format!("{name}.reach.least"), least);
                put(&format!("{name}.stretch.mean"), some(reach.stretch.mean));
                put(&format!("{name}.stretch.p50"), some(reach.stretch.p50));
                put(&format!("{name}.stretch.p99"), some(reach.stretch.p99));
                put(&format!("{name}.hops.mean"), some(reach.hops.mean));
                put(&format!("{name}.hops.p99"), some(reach.hops.p99));
            }
            put("roots", Some(last.roots as f64));
            put("alive", Some(last.alive as f64));
            put("apart", last.apart());
            put("protocol.bytes", Some(last.protocol.bytes));
            put("protocol.frames", Some(last.protocol.frames));
            put("routes.mean", Some(last.routes.mean));
            put("routes.p99", Some(last.routes.p99));
            put("routes.max", Some(last.routes.max));
            if let Some(honest) = &last.honest {
                put("honest.snek", honest.snek);
                put("honest.tree", honest.tree);
                put("honest.met", honest.met);
                put("honest.snek.clear", honest.snek_clear);
                put("honest.tree.clear", honest.tree_clear);
                let honest = |of: fn(&Honest) -> Option<f64>| {
                    let all = settled.iter().filter_map(|s| s.honest.as_ref());
                    all.filter_map(of).reduce(f64::min)
                };
                put("honest.snek.clear.least", honest(|h| h.snek_clear));
                put("honest.tree.clear.least", honest(|h| h.tree_clear));
            }
        }
        let counts = network.counts();
        put("reparentings", Some(counts.reparentings as f64));
        put("root_changes", Some(counts.root_changes as f64));
        put("peerings", Some(counts.peerings as f64));
        put("peerings.refused", Some(counts.peerings_refused as f64));
        put("peerings.timed_out", Some(counts.peerings_timed_out as f64));
        put("adversary.dropped", Some(counts.adversary_dropped as f64));
        put("adversary.sent", Some(counts.adversary_sent as f64));
        for (loss, n) in counts.losses.iter() {
            put(&format!("lost.{}", loss.name()), Some(n as f64));
        }
        put("revisits", Some(counts.revisits as f64));
        put(
            "rescued.expired_route",
            Some(counts.rescues.expired_route as f64),
        );
        put("rescued.detour", Some(counts.rescues.detour as f64));
        let mut worst = Some(0.0);
        for mark in &self.events {
            worst = worst
                .zip(mark.converged_after)
                .map(|(a, b): (f64, f64)| a.max(b));
            put(&format!("converge.{}", mark.name), mark.converged_after);
        }
        put("converge.max", worst);
        if let Some(pings) = &self.pings {
            put("pings.sent", Some(pings.sent as f64));
            put("pings.arrived", pings.arrived);
            put("pings.answered", pings.answered);
            let sent = |value| pings.arrived.map(|_| value);
            put("pings.round.median", sent(pings.rounds.p50));
            put("pings.round.mean", sent(pings.rounds.mean));
            put("pings.round.worst", pings.worst_round);
            let answered = |value| {
                let share = pings.answered.filter(|&share| share > 0.0);
                share.map(|_| value)
            };
            put("pings.round_trip_ms.p50", answered(pings.round_trip_ms.p50));
            put("pings.round_trip_ms.p99", answered(pings.round_trip_ms.p99));
        }
        self.measures = all.into_iter().collect();
    }
}

fn pings(network: &Network, rounds: &[Range<usize>]) -> Pings {
    let all = network.pings();
    let arrived = all.iter().filter(|ping| ping.arrived.is_some()).count();
    let answered = all.iter().filter(|ping| ping.answered.is_some()).count();
    let mut lost = BTreeMap::new();
    for loss in all.iter().filter_map(|ping| ping.lost) {
        *lost.entry(loss.name()).or_default() += 1;
    }
    let rounds = rounds.iter().filter_map(|round| all.get(round.clone()));
    let by_round: Vec<_> = rounds.filter_map(Round::of).collect();
    let shares: Vec<_> = by_round.iter().filter_map(|round| round.arrived).collect();
    let round_trips = all
        .iter()
        .filter_map(|ping| Some(seconds(ping.answered? - ping.sent) * 1e3));
    let hops = all.iter().filter_map(|ping| ping.hops.map(f64::from));
    Pings {
        sent: all.len(),
        arrived: share(arrived, all.len()),
        answered: share(answered, all.len()),
        worst_round: shares.iter().copied().reduce(f64::min),
        rounds: Spread::of(shares),
        round_trip_ms: Spread::of(round_trips.collect()),
        hops: Spread::of(hops.collect()),
        lost,
        by_round,
    }
}

impl Round {
    /// Returns the results of a round, if any ping was sent in it.
    fn of(pings: &[Ping]) -> Option<Self> {
        let trips = pings
            .iter()
            .filter_map(|ping| Some(seconds(ping.answered? - ping.sent) * 1e3));
        let trips: Vec<_> = trips.collect();
        let arrived = pings.iter().filter(|ping| ping.arrived.is_some()).count();
        Some(Self {
            at: seconds(pings.first()?.sent),
            sent: pings.len(),
            arrived: share(arrived, pings.len()),
            answered: share(trips.len(), pings.len()),
            round_trip_ms: (!trips.is_empty()).then(|| Spread::of(trips)),
        })
    }
}
