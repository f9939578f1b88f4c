//! Tables that compare rows with the relay.

use crate::forwarder::Kind;
use crate::load::Sample;
use crate::report::{RowFigures, Table, count, micros, percent, ratio};

/// The table of most scenarios: rates and CPU times compared with those of the relay.
pub(super) struct Comparison {
    table: Table,
}

impl Comparison {
    pub(super) fn new(first: &str) -> Self {
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

    /// Adds a row, compared with `relay`.
    pub(super) fn add(&mut self, first: String, kind: Kind, samples: &[Sample], relay: &[Sample]) {
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

    pub(super) fn text(&self) -> String {
        self.table.text()
    }
}
