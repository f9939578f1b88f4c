//! Rows that are compared with each other: measured in alternation, round after round.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::forwarder::{self, Kind, Tables};
use crate::links::Links;
use crate::load::{self, Offer, Sample};
use crate::traffic::Traffic;
use crate::watchdog;

/// Time that a measurement may take beyond its duration.
pub(super) const GRACE: Duration = Duration::from_secs(60);

/// A row of a table.
pub(super) struct Row<'a> {
    pub(super) kind: Kind,
    pub(super) tables: &'a Tables,
    pub(super) peers: usize,
    pub(super) traffic: Traffic,
}

impl Row<'_> {
    /// Measures the row once.
    pub(super) fn measure(&self, offer: Offer) -> Result<Sample> {
        let what = format!(
            "{}, {} bytes, {} flows, {} peers",
            self.kind, self.traffic.size, self.traffic.flows, self.peers
        );
        let _watch = watchdog::watch(offer.warm_up + offer.time + GRACE, &what);
        let links = Links::new(self.peers);
        let router = forwarder::start(self.kind, links.router, self.tables)?;
        load::run(&*router, &links.inputs, &links.outputs, self.traffic, offer).context(what)
    }
}

/// Measures all rows in every round. Returns the samples by row.
pub(super) fn interleave(
    rows: &[Row<'_>],
    rounds: usize,
    offer: Offer,
) -> Result<Vec<Vec<Sample>>> {
    let mut samples = vec![Vec::with_capacity(rounds); rows.len()];
    for _ in 0..rounds {
        for (row, samples) in rows.iter().zip(&mut samples) {
            samples.push(row.measure(offer)?);
        }
    }
    Ok(samples)
}
