//! The parts of a report that are computed at the end of a run.

use std::collections::BTreeMap;
use std::ops::Range;

use super::measures::Measures;
use super::{Pings, Report, Round};
use crate::measure::{Spread, share};
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

    fn compute_measures(&mut self, settings: &MeasureSettings, network: &mut Network) {
        let mut measures = Measures::default();
        if let Some(last) = self.samples.last() {
            let samples = self.samples.iter();
            let converged = samples.skip_while(|sample| !sample.is_converged(settings));
            measures.add_samples(last, &converged.collect::<Vec<_>>());
        }
        measures.add_counts(&network.counts());
        measures.add_events(&self.events);
        if let Some(pings) = &self.pings {
            measures.add_pings(pings);
        }
        self.measures = measures.into_map();
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
