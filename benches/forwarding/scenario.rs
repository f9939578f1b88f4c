//! What is measured, one function a part. Rows that are meant to be compared are measured in turns,
//! round after round.

mod latency;
mod sizes;
mod sparse;
mod steady;
mod sweeps;
mod workers;

use std::time::Duration;

use anyhow::{Context, Result};

use crate::forwarder::{self, Kind, Tables};
use crate::links::Links;
use crate::load::{self, Offer, Sample};
use crate::options::{Scenario, Settings};
use crate::report::{RowFigures, Section, Table, count, micros, percent, ratio};
use crate::traffic::Traffic;
use crate::watchdog;

/// How much longer than it measures a run may take.
const GRACE: Duration = Duration::from_secs(60);

impl Scenario {
    /// Measures it.
    pub fn run(self, settings: &Settings) -> Result<Section> {
        match self {
            Self::Verify => sizes::verify(settings),
            Self::Table => sizes::random(settings),
            Self::Runs => sizes::runs(settings),
            Self::Routes => sizes::routes(settings),
            Self::Splice => sizes::splice(settings),
            Self::Flows => sweeps::flows(settings),
            Self::Peers => sweeps::peers(settings),
            Self::Workers => workers::workers(settings),
            Self::Sparse => sparse::sparse(settings),
            Self::Latency => latency::latency(settings),
            Self::Steady => steady::steady(settings),
            Self::All => unreachable!("it stands for the others"),
        }
    }
}

/// One row of a table.
struct Row<'a> {
    kind: Kind,
    tables: &'a Tables,
    peers: usize,
    traffic: Traffic,
}

impl Row<'_> {
    fn measure(&self, offer: Offer) -> Result<Sample> {
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

/// Measures all rows in every round. Samples by row.
fn interleave(rows: &[Row<'_>], rounds: usize, offer: Offer) -> Result<Vec<Vec<Sample>>> {
    let mut samples = vec![Vec::with_capacity(rounds); rows.len()];
    for _ in 0..rounds {
        for (row, samples) in rows.iter().zip(&mut samples) {
            samples.push(row.measure(offer)?);
        }
    }
    Ok(samples)
}

/// The table that most scenarios end in.
struct Comparison {
    table: Table,
}

impl Comparison {
    fn new(first: &str) -> Self {
        Self {
            table: Table::new(&[
                first,
                "",
                "frames/s",
                "of the relay's",
                "CPU us/frame",
                "of the relay's",
                "lost",
            ]),
        }
    }

    /// Adds a row, against the one that stands for 1.
    fn add(&mut self, first: String, kind: Kind, samples: &[Sample], relay: &[Sample]) {
        let (row, relay) = (RowFigures(samples), RowFigures(relay));
        let (share, cpu) = match kind {
            Kind::Relay => (String::new(), String::new()),
            _ => (
                row.share(&relay).show(percent),
                row.ratio(&relay).show(ratio),
            ),
        };
        self.table.row([
            first,
            kind.to_string(),
            row.rate().show(count),
            share,
            row.cpu().show(micros),
            cpu,
            percent(row.lost().median),
        ]);
    }

    fn text(&self) -> String {
        self.table.text()
    }
}
