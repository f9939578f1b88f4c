//! Results by the number of destinations and by the number of peers.

use anyhow::Result;

use super::comparison::Comparison;
use super::row::{Row, interleave};
use crate::forwarder::{Kind, Tables};
use crate::options::Settings;
use crate::plot::{Line, Plot};
use crate::report::{RowFigures, Section};
use crate::traffic::{Spread, Traffic};

const KINDS: [Kind; 3] = [Kind::Relay, Kind::Epoll, Kind::Uring];
const FLOWS: [usize; 4] = [8, 64, 1000, 100_000];
const PEERS: [usize; 4] = [2, 8, 32, 128];

/// Measures by the number of destinations.
pub(super) fn flows(settings: &Settings) -> Result<Section> {
    let tables = Tables::new(settings.peers, settings.routes, settings.fill);
    let mut counts = FLOWS.to_vec();
    counts.retain(|n| *n <= settings.routes);
    let cases = counts.iter().map(|&n| Case {
        n,
        flows: n,
        peers: settings.peers,
        tables: &tables,
    });
    sweep(settings, cases.collect(), "destinations", "flows")
}

/// Measures by the number of peers.
pub(super) fn peers(settings: &Settings) -> Result<Section> {
    let mut counts = PEERS.to_vec();
    counts.retain(|n| *n <= settings.many_peers);
    let tables: Vec<_> = counts
        .iter()
        .map(|n| Tables::new(*n, settings.routes, settings.fill))
        .collect();
    let cases = counts.iter().zip(&tables).map(|(&n, tables)| Case {
        n,
        flows: settings.flows(settings.routes),
        peers: n,
        tables,
    });
    sweep(settings, cases.collect(), "peers on either side", "peers")
}

struct Case<'a> {
    n: usize,
    flows: usize,
    peers: usize,
    tables: &'a Tables,
}

/// Measures small and medium frames, in fewer rounds than the main tables.
fn sweep(
    settings: &Settings,
    cases: Vec<Case<'_>>,
    what: &'static str,
    name: &str,
) -> Result<Section> {
    let mut section = Section {
        title: match name {
            "flows" => "By number of destinations",
            _ => "By number of peers",
        },
        ..Section::default()
    };
    let rounds = settings.rounds.min(5);
    let sizes = [64, 1200];
    for size in sizes.iter().filter(|s| settings.sizes.contains(s)) {
        let mut comparison = Comparison::new(what);
        let mut lines = KINDS.map(|kind| Line {
            name: kind.to_string(),
            points: Vec::new(),
        });
        // All cases in every round, so that they can be compared with each other.
        let rows: Vec<_> = cases
            .iter()
            .flat_map(|case| {
                KINDS.map(|kind| Row {
                    kind,
                    tables: case.tables,
                    peers: case.peers,
                    traffic: Traffic {
                        size: *size,
                        flows: case.flows,
                        spread: Spread::Random,
                        fill: settings.fill,
                    },
                })
            })
            .collect();
        let samples = interleave(&rows, rounds, settings.offer())?;
        for (case, samples) in cases.iter().zip(samples.chunks(KINDS.len())) {
            for ((kind, row), line) in KINDS.iter().zip(samples).zip(&mut lines) {
                comparison.add(case.n.to_string(), *kind, row, &samples[0]);
                let rate = RowFigures(row).rate().median;
                line.points.push((case.n as f64, rate));
            }
        }
        section.text += &format!(
            "{}{size} bytes, a random egress, {} routes, {rounds} rounds:\n\n{}",
            if section.text.is_empty() { "" } else { "\n" },
            settings.routes,
            comparison.text()
        );
        section.plots.push(Plot {
            name: format!("forwarding-{name}-{size}"),
            title: format!("{size} bytes, by {what}"),
            x: what,
            y: "frames/s",
            log_y: false,
            lines: lines.to_vec(),
        });
    }
    Ok(section)
}
