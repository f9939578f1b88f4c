//! Steady load below saturation, at which no frame is lost.

use std::time::Duration;

use anyhow::Result;

use super::row::{Row, interleave};
use crate::forwarder::{Kind, Tables};
use crate::load::Offer;
use crate::options::Settings;
use crate::report::{RowFigures, Section, Table, count, micros};
use crate::traffic::{Spread, Traffic};

const SIZE: usize = 1200;
const SHARE: f64 = 0.9;

pub(super) fn steady(settings: &Settings) -> Result<Section> {
    let mut section = Section {
        title: "90 % of capacity",
        ..Section::default()
    };
    let tables = Tables::new(settings.peers, settings.routes, settings.fill);
    let mut table = Table::new(&[
        "",
        "capacity, frames/s",
        "offered",
        "forwarded",
        "CPU us/frame",
        "frames",
        "lost",
    ]);
    for kind in [Kind::Epoll, Kind::Uring] {
        let row = [Row {
            kind,
            tables: &tables,
            peers: settings.peers,
            traffic: Traffic {
                size: SIZE,
                flows: settings.flows(settings.routes),
                spread: Spread::Random,
                fill: settings.fill,
            },
        }];
        let samples = interleave(&row, settings.rounds, settings.offer())?;
        let capacity = RowFigures(&samples[0]).rate().median;
        let offered = capacity * SHARE;
        let sample = row[0].measure(Offer {
            time: Duration::from_secs_f64(settings.steady_seconds),
            rate: Some(offered),
            ..settings.offer()
        })?;
        if sample.lost > 0 {
            section.failures.push(format!(
                "{kind}: at {SHARE} of its capacity {} of {} frames were lost: {}",
                sample.lost, sample.sent, sample.reasons
            ));
        }
        if sample.rate < 0.97 * offered {
            section.failures.push(format!(
                "{kind}: {} frames/s were offered, and the router took {} of them",
                count(offered),
                count(sample.rate)
            ));
        }
        table.row([
            kind.to_string(),
            count(capacity),
            count(offered),
            count(sample.rate),
            micros(sample.cpu),
            sample.sent.to_string(),
            sample.lost.to_string(),
        ]);
    }
    section.text = format!(
        "{SIZE} bytes, {} connections in and out, a random egress for every frame. Capacity is the rate \
         that reached the sink at full speed, as the median of {} rounds. Nine tenths of it are then \
         offered for {} s. Lost frames are those that the sink missed, which the router's counters \
         confirm.\n\n{}",
        settings.peers,
        settings.rounds,
        settings.steady_seconds,
        table.text()
    );
    Ok(section)
}
