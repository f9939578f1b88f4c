//! A check that the traffic counters of the daemon add up.

use std::fmt;

use serde_json::Value;

use crate::daemon::{Daemon, wait_until};

/// Sums of the counters of all peerings and workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) received: u64,
    pub(crate) forwarded: u64,
    pub(crate) delivered: u64,
    pub(crate) queued: u64,
    /// Drops of traffic frames, by reason.
    pub(crate) dropped: Vec<(String, u64)>,
}

impl Ledger {
    /// Computes the sums that docs/operations.md describes.
    pub(crate) fn of(status: &Value) -> Self {
        let mut ledger = Self {
            received: 0,
            forwarded: 0,
            delivered: 0,
            queued: 0,
            dropped: Vec::new(),
        };
        let number = |from: &Value, name: &str| {
            let value = from[name].as_u64();
            value.unwrap_or_else(|| panic!("{name}: {from}"))
        };
        for peer in status["peers"].as_array().unwrap() {
            ledger.received += number(peer, "rx_traffic_frames");
            ledger.forwarded += number(peer, "tx_traffic_frames");
            ledger.delivered += number(peer, "delivered_frames");
            ledger.queued += number(peer, "queued_frames");
            ledger.add_drops(&peer["drops"]);
        }
        for worker in status["workers"].as_array().unwrap() {
            let stats = &worker["stats"];
            ledger.received += number(stats, "closed_rx_traffic_frames");
            ledger.received += number(stats, "local_frames");
            ledger.forwarded += number(stats, "closed_tx_traffic_frames");
            ledger.delivered += number(stats, "closed_delivered_frames");
            ledger.delivered += number(stats, "local_delivered_frames");
            ledger.add_drops(stats);
        }
        ledger.dropped.sort();
        ledger
    }

    /// Waits until no frame is in flight, and asserts that every frame is accounted for.
    pub(crate) fn when_idle(daemon: &Daemon) -> (Self, Value) {
        wait_until("the counters to add up", || {
            let status = daemon.status();
            let ledger = Self::of(&status);
            match ledger.queued == 0 && ledger.missing() == 0 {
                true => Ok((ledger, status)),
                false => Err(format!("{ledger}: {} missing", ledger.missing())),
            }
        })
    }

    /// Returns the number of received frames that are not accounted for.
    pub(crate) fn missing(&self) -> i64 {
        let dropped: u64 = self.dropped.iter().map(|(_, frames)| frames).sum();
        let known = self.forwarded + self.delivered + self.queued + dropped;
        self.received as i64 - known as i64
    }

    fn add_drops(&mut self, from: &Value) {
        const REASONS: [&str; 11] = [
            "no_route",
            "backwards",
            "watermark",
            "hop_limit",
            "too_long",
            "filter",
            "queue_full",
            "queue_delay",
            "handoff_full",
            "delivery_full",
            "port_closed",
        ];
        for reason in REASONS {
            let Some(frames) = from[reason].as_u64().filter(|n| *n > 0) else {
                continue;
            };
            match self.dropped.iter_mut().find(|(name, _)| name == reason) {
                Some((_, sum)) => *sum += frames,
                None => self.dropped.push((reason.to_owned(), frames)),
            }
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} received = {} forwarded + {} delivered + {} queued",
            self.received, self.forwarded, self.delivered, self.queued
        )?;
        for (reason, frames) in &self.dropped {
            write!(f, " + {frames} {reason}")?;
        }
        Ok(())
    }
}
