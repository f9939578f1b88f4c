//! Plots of a run: one SVG file for each measure.

mod figure;
mod labels;
mod paint;
mod ticks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::measure::{Honest, Sample, Spread};
use crate::report::{Pings, Report};

use self::figure::{Curve, Figure};

/// Draws all plots into a directory, which is created if it is missing. Returns the files.
///
/// # Errors
/// [`Error::Write`], [`Error::Plot`].
pub fn draw(report: &Report, directory: &Path) -> Result<Vec<PathBuf>, Error> {
    std::fs::create_dir_all(directory).map_err(|source| Error::Write {
        path: directory.into(),
        source,
    })?;
    let mut files = Vec::new();
    for (file, figure) in figures(report) {
        let path = directory.join(file).with_extension("svg");
        let svg = paint::paint(&figure).map_err(|reason| Error::Plot {
            path: path.clone(),
            reason,
        })?;
        std::fs::write(&path, svg).map_err(|source| Error::Write {
            path: path.clone(),
            source,
        })?;
        files.push(path);
    }
    Ok(files)
}

/// Returns all plots of a run and the names of their files.
fn figures(report: &Report) -> Vec<(&'static str, Figure)> {
    let figure = |title: &str, y, curves| Figure {
        title: title.into(),
        subtitle: format!(
            "{}, seed {}: {}",
            report.scenario, report.seed, report.about
        ),
        y,
        nothing: None,
        curves,
        events: report
            .events
            .iter()
            .filter(|event| event.at > 0.0)
            .map(|event| (event.at, event.name.clone()))
            .collect(),
        end: report.samples.last().map_or(1.0, |sample| sample.at),
        top: None,
    };
    let shares = |title: &str, y, curves| Figure {
        top: Some(100.0),
        ..figure(title, y, curves)
    };
    let losses = |title: &str, y, nothing, curves| Figure {
        nothing: Some(nothing),
        ..figure(title, y, curves)
    };
    let over = |name: &str, of: &dyn Fn(&Sample) -> Option<f64>| Curve {
        name: name.into(),
        points: report.samples.iter().map(|s| (s.at, of(s))).collect(),
    };
    let all = |name: &str, of: fn(&Sample) -> f64| over(name, &|sample| Some(of(sample)));
    // Has gaps where no pair reached each other.
    let reached = |name: &str,
                   way: fn(&Sample) -> &crate::measure::Reach,
                   of: fn(&crate::measure::Reach) -> f64| {
        over(name, &|sample| {
            let reach = way(sample);
            reach.share.filter(|&share| share > 0.0).map(|_| of(reach))
        })
    };

    let mut convergence = vec![
        over("by key", &|s| s.snek.share.map(percent)),
        over("by coordinates", &|s| s.tree.share.map(percent)),
    ];
    if report.samples.iter().any(|sample| sample.apart > 0) {
        convergence.push(over("not joined by links", &|s| s.apart().map(percent)));
    }
    let mut figures = vec![
        (
            "convergence",
            shares("Pairs that reach each other", "pairs, %", convergence),
        ),
        (
            "stretch",
            figure(
                "Links taken for each that is needed",
                "links taken / links needed",
                vec![
                    reached("by key, mean", |s| &s.snek, |r| r.stretch.mean),
                    reached("by key, p99", |s| &s.snek, |r| r.stretch.p99),
                    reached("by coordinates, mean", |s| &s.tree, |r| r.stretch.mean),
                    reached("by coordinates, p99", |s| &s.tree, |r| r.stretch.p99),
                ],
            ),
        ),
        (
            "hops",
            figure(
                "Links taken",
                "links",
                vec![
                    reached("by key, mean", |s| &s.snek, |r| r.hops.mean),
                    reached("by key, p99", |s| &s.snek, |r| r.hops.p99),
                    reached("by coordinates, mean", |s| &s.tree, |r| r.hops.mean),
                    reached("by coordinates, p99", |s| &s.tree, |r| r.hops.p99),
                ],
            ),
        ),
        (
            "bytes",
            figure(
                "Protocol traffic by type",
                "bytes per node and second",
                vec![
                    all("all", |s| s.protocol.bytes),
                    all("bootstraps", |s| s.protocol.bootstrap_bytes),
                    all("announcements", |s| s.protocol.announcement_bytes),
                    all("broadcasts", |s| s.protocol.broadcast_bytes),
                    all("keepalives", |s| s.protocol.keepalive_bytes),
                ],
            ),
        ),
        (
            "frames",
            figure(
                "Protocol frames",
                "frames per node and second",
                vec![all("all", |s| s.protocol.frames)],
            ),
        ),
        (
            "reparentings",
            figure(
                "Nodes that changed their parent or root",
                "changes since the sample before",
                vec![
                    all("another parent", |s| s.reparentings as f64),
                    all("another root", |s| s.root_changes as f64),
                ],
            ),
        ),
        (
            "routes",
            figure(
                "Routes in a node's table",
                "routes",
                vec![
                    all("mean", |s| s.routes.mean),
                    all("p99", |s| s.routes.p99),
                    all("max", |s| s.routes.max),
                ],
            ),
        ),
        (
            "lost-by-key",
            losses(
                "Pairs that do not reach each other by key, by reason",
                "pairs tried, %",
                "none lost",
                by_reason(report, |s| &s.snek.lost, |s| s.pairs as f64 / 100.0),
            ),
        ),
        (
            "lost-by-coordinates",
            losses(
                "Pairs that do not reach each other by coordinates, by reason",
                "pairs tried, %",
                "none lost",
                by_reason(report, |s| &s.tree.lost, |s| s.pairs as f64 / 100.0),
            ),
        ),
    ];
    if report.samples.iter().any(|sample| sample.honest.is_some()) {
        let honest = |name: &str, of: fn(&Honest) -> Option<f64>| {
            over(name, &|s| s.honest.as_ref().and_then(of).map(percent))
        };
        let curves = vec![
            honest("by key", |h| h.snek),
            honest("by coordinates", |h| h.tree),
            honest("by key, past it", |h| h.snek_clear),
            honest("by coord., past it", |h| h.tree_clear),
            honest("by key: met it", |h| h.met),
        ];
        let title = "Honest pairs that reach each other, and those not by way of an adversary";
        figures.push(("honest", shares(title, "pairs, %", curves)));
    }
    if let Some(pings) = &report.pings {
        let rounds = |name: &str, of: fn(&crate::report::Round) -> Option<f64>| Curve {
            name: name.into(),
            points: pings.by_round.iter().map(|r| (r.at, of(r))).collect(),
        };
        let trips = |name: &str, of: fn(&Spread) -> f64| Curve {
            name: name.into(),
            points: round_trips(pings, of),
        };
        let shares_of_pings = vec![
            rounds("arrived", |r| r.arrived.map(percent)),
            rounds("answered", |r| r.answered.map(percent)),
        ];
        figures.extend([
            (
                "pings",
                shares("Pings by round", "pings sent, %", shares_of_pings),
            ),
            (
                "round-trips",
                figure(
                    "Round trips of pings, by round",
                    "round trip, ms",
                    vec![
                        trips("median", |spread| spread.p50),
                        trips("p99", |spread| spread.p99),
                    ],
                ),
            ),
            (
                "lost",
                losses(
                    "Pings and answers lost, by reason",
                    "frames since the sample before",
                    "none lost",
                    by_reason(report, |s| &s.lost, |_| 1.0),
                ),
            ),
        ]);
    }
    figures
}

/// Returns a curve for each reason of loss, as a share of `whole`.
fn by_reason(
    report: &Report,
    lost: fn(&Sample) -> &BTreeMap<&'static str, u64>,
    whole: fn(&Sample) -> f64,
) -> Vec<Curve> {
    let samples = report.samples.iter();
    let reasons: BTreeSet<_> = samples.clone().flat_map(|s| lost(s).keys()).collect();
    let curve = |reason: &'static str| Curve {
        name: reason.into(),
        points: samples
            .clone()
            .map(|sample| {
                let n = lost(sample).get(reason).copied().unwrap_or_default() as f64;
                let whole = whole(sample);
                (sample.at, (whole > 0.0).then(|| n / whole))
            })
            .collect(),
    };
    reasons.into_iter().map(|&reason| curve(reason)).collect()
}

fn round_trips(pings: &Pings, of: fn(&Spread) -> f64) -> Vec<(f64, Option<f64>)> {
    let rounds = pings.by_round.iter();
    rounds
        .map(|round| (round.at, round.round_trip_ms.as_ref().map(of)))
        .collect()
}

fn percent(share: f64) -> f64 {
    share * 100.0
}

#[cfg(test)]
mod tests;
