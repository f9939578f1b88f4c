//! Results by payload size.

use anyhow::Result;

use super::comparison::Comparison;
use super::row::{Row, interleave};
use crate::check;
use crate::forwarder::{Kind, Tables};
use crate::load::{Offer, Sample};
use crate::options::Settings;
use crate::plot::{Line, Plot};
use crate::report::{RowFigures, Section, Spread as Figures, Table, micros, percent, ratio};
use crate::traffic::{Fill, Spread, Traffic};

const KINDS: [Kind; 4] = [Kind::Relay, Kind::Epoll, Kind::Uring, Kind::TokioUring];

/// Checks every frame of every row.
pub(super) fn verify(settings: &Settings) -> Result<Section> {
    check::self_test()?;
    let tables = Tables::new(settings.peers, settings.routes, Fill::Checked);
    let mut table = Table::new(&[
        "payload",
        "",
        "frames checked",
        "lost",
        "of these by reason",
    ]);
    let mut total = 0;
    let offer = Offer {
        time: settings.offer().time.mul_f64(0.5),
        ..settings.offer()
    };
    for &size in &settings.sizes {
        for spread in [Spread::Random, Spread::Bursts] {
            for kind in KINDS {
                let traffic = Traffic {
                    size,
                    flows: settings.flows(settings.routes),
                    spread,
                    fill: Fill::Checked,
                };
                let row = Row {
                    kind,
                    tables: &tables,
                    peers: settings.peers,
                    traffic,
                };
                let sample = row.measure(offer)?;
                total += sample.sent - sample.lost;
                let what = match spread {
                    Spread::Bursts => format!("{kind}, runs"),
                    _ => kind.to_string(),
                };
                table.row([
                    size.to_string(),
                    what,
                    (sample.sent - sample.lost).to_string(),
                    percent(sample.loss()),
                    sample.reasons,
                ]);
            }
        }
    }
    Ok(Section {
        title: "Every frame checked",
        text: format!(
            "{total} frames, each with a flow, a number and a payload made of both. A third of them \
             grow and a third shrink in the router. Every frame that came out had the right content, \
             keys and watermark, at the right egress, in the order of its flow. Every other frame is \
             in the router's counters.\n\n{}",
            table.text()
        ),
        ..Section::default()
    })
}

/// Measures frames that all have a random egress.
pub(super) fn random(settings: &Settings) -> Result<Section> {
    by_size(
        settings,
        Spread::Random,
        "A random egress for every frame",
        "sizes",
    )
}

/// Measures frames in bursts.
pub(super) fn runs(settings: &Settings) -> Result<Section> {
    by_size(
        settings,
        Spread::Bursts,
        "Eight heavy flows, in bursts of 32 frames",
        "runs",
    )
}

/// Measures a relay that splices.
pub(super) fn splice(settings: &Settings) -> Result<Section> {
    let kinds = [Kind::Relay, Kind::Splice];
    let (comparison, _) = compare(settings, &kinds, Spread::Random)?;
    Ok(Section {
        title: "Splice",
        text: format!(
            "The relay compared with one that moves whole streams by `splice` through a pipe, without \
             looking at them. This is an upper bound of the gain for frames of any size.\n\n{}",
            comparison.text()
        ),
        ..Section::default()
    })
}

fn by_size(
    settings: &Settings,
    spread: Spread,
    title: &'static str,
    name: &str,
) -> Result<Section> {
    let (comparison, lines) = compare(settings, &KINDS, spread)?;
    let plot = Plot {
        name: format!("forwarding-{name}"),
        title: title.to_owned(),
        x: "payload, bytes",
        y: "frames/s",
        log_y: true,
        lines,
    };
    Ok(Section {
        title,
        text: format!(
            "{} connections in and out, {} routes.\n\n{}",
            settings.peers,
            settings.routes,
            comparison.text()
        ),
        plots: vec![plot],
        ..Section::default()
    })
}

/// Measures all sizes and compares them with the first kind. Also returns the rates by size.
fn compare(settings: &Settings, kinds: &[Kind], spread: Spread) -> Result<(Comparison, Vec<Line>)> {
    let tables = Tables::new(settings.peers, settings.routes, settings.fill);
    let mut comparison = Comparison::new("payload");
    let line = |kind: &Kind| Line {
        name: kind.to_string(),
        points: Vec::new(),
    };
    let mut lines: Vec<_> = kinds.iter().map(line).collect();
    for &size in &settings.sizes {
        let row = |&kind| Row {
            kind,
            tables: &tables,
            peers: settings.peers,
            traffic: Traffic {
                size,
                flows: settings.flows(settings.routes),
                spread,
                fill: settings.fill,
            },
        };
        let rows: Vec<_> = kinds.iter().map(row).collect();
        let samples = interleave(&rows, settings.rounds, settings.offer())?;
        for ((kind, row), line) in kinds.iter().zip(&samples).zip(&mut lines) {
            comparison.add(size.to_string(), *kind, row, &samples[0]);
            let rate = RowFigures(row).rate().median;
            line.points.push((size as f64, rate));
        }
    }
    Ok((comparison, lines))
}

/// Measures the CPU time per frame with many routes and with few, each frame for another destination.
pub(super) fn routes(settings: &Settings) -> Result<Section> {
    let fill = match settings.fill {
        Fill::Replayed => Fill::Fresh,
        other => other,
    };
    let most = settings.many_routes;
    let mut counts = vec![1000, 100_000, most];
    counts.retain(|n| *n <= most);
    counts.dedup();
    let tables: Vec<_> = counts
        .iter()
        .map(|n| Tables::new(settings.peers, *n, fill))
        .collect();
    let mut table = Table::new(&[
        "payload",
        "CPU us/frame, 1000 routes",
        &format!("{most} routes"),
        "ratio",
    ]);
    let mut lines = Vec::new();
    for &size in &settings.sizes {
        let rows: Vec<_> = counts
            .iter()
            .zip(&tables)
            .map(|(&flows, tables)| Row {
                kind: Kind::Uring,
                tables,
                peers: settings.peers,
                traffic: Traffic {
                    size,
                    flows,
                    spread: Spread::Random,
                    fill,
                },
            })
            .collect();
        let samples: Vec<Vec<Sample>> = interleave(&rows, settings.rounds, settings.offer())?;
        let (few, many) = (&samples[0], &samples[samples.len() - 1]);
        let (few, many) = (RowFigures(few), RowFigures(many));
        let against: Figures = many.ratio(&few);
        table.row([
            size.to_string(),
            few.cpu().show(micros),
            many.cpu().show(micros),
            against.show(ratio),
        ]);
        let points = counts.iter().zip(&samples);
        lines.push(Line {
            name: format!("{size} bytes"),
            points: points
                .map(|(n, row)| (*n as f64, RowFigures(row).rate().median))
                .collect(),
        });
    }
    let plot = Plot {
        name: "forwarding-routes".into(),
        title: "Frames to random destinations, by size of the table".into(),
        x: "routes",
        y: "frames/s",
        log_y: true,
        lines,
    };
    Ok(Section {
        title: "A million routes",
        text: format!(
            "The io_uring engine. Every frame has a random destination among all routes of the \
             table.\n\n{}",
            table.text()
        ),
        plots: vec![plot],
        ..Section::default()
    })
}
