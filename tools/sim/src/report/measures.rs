//! The measures of a report, by name.

use std::collections::BTreeMap;

use super::{Mark, Pings};
use crate::counts::Counts;
use crate::measure::{Honest, Reach, Sample, Spread};

/// Measures by the names that `docs/simulation.md` lists.
#[derive(Default)]
pub(super) struct Measures(BTreeMap<String, f64>);

impl Measures {
    pub(super) fn into_map(self) -> BTreeMap<String, f64> {
        self.0
    }

    /// Adds the measures of the last sample, and those over all samples since the network first
    /// converged.
    pub(super) fn add_samples(&mut self, last: &Sample, converged: &[&Sample]) {
        self.add_reach("snek", last, converged, |sample| &sample.snek);
        self.add_reach("tree", last, converged, |sample| &sample.tree);
        self.put("apart", last.apart());
        for (name, value) in [
            ("roots", last.roots as f64),
            ("alive", last.alive as f64),
            ("protocol.bytes", last.protocol.bytes),
            ("protocol.frames", last.protocol.frames),
            ("routes.mean", last.routes.mean),
            ("routes.p99", last.routes.p99),
            ("routes.max", last.routes.max),
        ] {
            self.put(name, Some(value));
        }
        if let Some(honest) = &last.honest {
            self.add_honest(honest, converged);
        }
    }

    pub(super) fn add_counts(&mut self, counts: &Counts) {
        for (name, count) in [
            ("reparentings", counts.reparentings),
            ("root_changes", counts.root_changes),
            ("peerings", counts.peerings),
            ("peerings.refused", counts.peerings_refused),
            ("peerings.timed_out", counts.peerings_timed_out),
            ("adversary.dropped", counts.adversary_dropped),
            ("adversary.sent", counts.adversary_sent),
            ("revisits", counts.revisits),
            ("rescued.expired_route", counts.rescues.expired_route),
            ("rescued.detour", counts.rescues.detour),
        ] {
            self.put(name, Some(count as f64));
        }
        for (loss, count) in counts.losses.iter() {
            self.put(&format!("lost.{}", loss.name()), Some(count as f64));
        }
    }

    pub(super) fn add_events(&mut self, events: &[Mark]) {
        let mut longest = Some(0.0);
        for mark in events {
            longest = longest
                .zip(mark.converged_after)
                .map(|(a, b): (f64, f64)| a.max(b));
            self.put(&format!("converge.{}", mark.name), mark.converged_after);
        }
        self.put("converge.max", longest);
    }

    pub(super) fn add_pings(&mut self, pings: &Pings) {
        self.put("pings.sent", Some(pings.sent as f64));
        self.put("pings.arrived", pings.arrived);
        self.put("pings.answered", pings.answered);
        self.put("pings.round.worst", pings.worst_round);
        if pings.arrived.is_some() {
            self.put("pings.round.median", Some(pings.rounds.p50));
            self.put("pings.round.mean", Some(pings.rounds.mean));
        }
        if pings.answered.is_some_and(|share| share > 0.0) {
            self.put("pings.round_trip_ms.p50", Some(pings.round_trip_ms.p50));
            self.put("pings.round_trip_ms.p99", Some(pings.round_trip_ms.p99));
        }
    }

    fn add_reach(
        &mut self,
        name: &str,
        last: &Sample,
        converged: &[&Sample],
        of: fn(&Sample) -> &Reach,
    ) {
        let reach = of(last);
        self.put(&format!("{name}.reach"), reach.share);
        let shares: Vec<_> = converged.iter().filter_map(|s| of(s).share).collect();
        let least = shares.iter().copied().reduce(f64::min);
        let mean = least.map(|_| Spread::of(shares).mean);
        self.put(&format!("{name}.reach.mean"), mean);
        self.put(&format!("{name}.reach.least"), least);
        if reach.share.is_some_and(|share| share > 0.0) {
            for (measure, value) in [
                ("stretch.mean", reach.stretch.mean),
                ("stretch.p50", reach.stretch.p50),
                ("stretch.p99", reach.stretch.p99),
                ("hops.mean", reach.hops.mean),
                ("hops.p99", reach.hops.p99),
            ] {
                self.put(&format!("{name}.{measure}"), Some(value));
            }
        }
    }

    fn add_honest(&mut self, honest: &Honest, converged: &[&Sample]) {
        self.put("honest.snek", honest.snek);
        self.put("honest.tree", honest.tree);
        self.put("honest.met", honest.met);
        self.put("honest.snek.clear", honest.snek_clear);
        self.put("honest.tree.clear", honest.tree_clear);
        let least = |of: fn(&Honest) -> Option<f64>| {
            let all = converged.iter().filter_map(|s| s.honest.as_ref());
            all.filter_map(of).reduce(f64::min)
        };
        self.put("honest.snek.clear.least", least(|h| h.snek_clear));
        self.put("honest.tree.clear.least", least(|h| h.tree_clear));
    }

    /// Adds a measure, if it has a value.
    fn put(&mut self, name: &str, value: Option<f64>) {
        self.0.extend(value.map(|value| (name.to_owned(), value)));
    }
}
