//! Two workers: the cost of frames whose ingress and egress belong to different workers.

use anyhow::{Context, Result, ensure};
use pinecone_dataplane::{DataPlaneOptions, EngineChoice};

use super::row::GRACE;
use crate::forwarder::{Forwarder, Placement, Plane, Tables};
use crate::links::Links;
use crate::load::{self, Offer, Sample};
use crate::options::Settings;
use crate::report::{RowFigures, Section, Table, count, micros, percent, ratio};
use crate::traffic::{Spread, Traffic};
use crate::watchdog;

const ROWS: [(&str, Placement, Spread); 3] = [
    (
        "same worker for both",
        Placement::Alternate,
        Spread::SameWorker,
    ),
    (
        "the other worker, both ways",
        Placement::Alternate,
        Spread::OtherWorker,
    ),
    ("one receives, one sends", Placement::Split, Spread::Random),
];

/// The load below saturation, as a share of the rate of frames that stay with their worker.
const CALM: f64 = 0.3;

pub(super) fn workers(settings: &Settings) -> Result<Section> {
    // An even number, so that each worker has half of them.
    let peers = settings.peers.next_multiple_of(2);
    let tables = Tables::new(peers, settings.routes, settings.fill);
    let mut table = Table::new(&[
        "payload",
        "offered",
        "egress at",
        "frames/s",
        "CPU us/frame, both workers",
        "against the same worker",
        "lost",
        "in one round, by reason",
    ]);
    let sizes = settings.sizes.iter().filter(|s| **s <= 8192);
    for &size in sizes {
        let mut capacity = None;
        for rate in ["all that goes", "paced"] {
            let paced = rate == "paced";
            let mut samples = ROWS.map(|_| Vec::new());
            for _ in 0..settings.rounds.min(5) {
                for ((_, placement, spread), samples) in ROWS.iter().zip(&mut samples) {
                    let traffic = Traffic {
                        size,
                        flows: settings.flows(settings.routes).max(2 * peers),
                        spread: *spread,
                        fill: settings.fill,
                    };
                    let offer = Offer {
                        rate: capacity.map(|rate: f64| rate * CALM),
                        pinned: false,
                        ..settings.offer()
                    };
                    samples.push(measure(&tables, *placement, peers, traffic, offer)?);
                }
            }
            for ((name, ..), row) in ROWS.iter().zip(&samples) {
                let reasons = row.iter().map(|s| s.reasons.as_str());
                let reasons = reasons.max_by_key(|r| r.len()).unwrap_or_default();
                let (row, same) = (RowFigures(row), RowFigures(&samples[0]));
                table.row([
                    size.to_string(),
                    rate.to_owned(),
                    (*name).to_owned(),
                    row.rate().show(count),
                    row.cpu().show(micros),
                    row.ratio(&same).show(ratio),
                    percent(row.lost().median),
                    reasons.to_owned(),
                ]);
            }
            if !paced {
                capacity = Some(RowFigures(&samples[0]).rate().median);
            }
        }
    }
    Ok(Section {
        title: "Two workers",
        text: format!(
            "The io_uring engine with a worker on each of two cores. Without further cores, generator \
             and sink share them, so frames/s cannot be compared with other tables. CPU time is that of \
             both workers' threads, for each frame that came out. The first measurement is at full \
             speed, where frames that are handed over and then dropped count too; the second one offers \
             {} of that rate. The bench checks that each frame changed its worker, or that none did.\n\n{}",
            percent(CALM),
            table.text()
        ),
        ..Section::default()
    })
}

fn measure(
    tables: &Tables,
    placement: Placement,
    peers: usize,
    traffic: Traffic,
    offer: Offer,
) -> Result<Sample> {
    let what = format!(
        "two workers, {placement:?}, {:?}, {} bytes",
        traffic.spread, traffic.size
    );
    let _watch = watchdog::watch(offer.warm_up + offer.time + GRACE, &what);
    let links = Links::new(peers);
    let options = DataPlaneOptions {
        engine: EngineChoice::Uring,
        ..DataPlaneOptions::default()
    };
    let plane = Plane::start(options, links.router, tables, placement)?;
    let sample = load::run(&plane, &links.inputs, &links.outputs, traffic, offer).context(what)?;
    let handed_over = plane.handed_over();
    let received = plane.account().map_or(0, |a| a.received);
    match traffic.spread {
        Spread::SameWorker => ensure!(
            handed_over == 0,
            "{handed_over} frames changed the worker instead of none"
        ),
        // Frames are dropped instead if the other worker is too far behind.
        _ => ensure!(
            handed_over > 0 && received - handed_over <= sample.lost,
            "{handed_over} of {received} frames changed the worker instead of all"
        ),
    }
    Ok(sample)
}
