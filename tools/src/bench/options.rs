//! What a run is asked for.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::frames::{MAX_SIZE, MIN_SIZE};
use crate::addresses;
use crate::cli::{self, LogOptions};
use crate::failure::Failure;

/// Options of `pinecone bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    /// The node to send through, `host:port`; or two: senders at the first, sinks at the second.
    #[arg(
        long,
        value_name = "ADDR[,ADDR]",
        value_delimiter = ',',
        required = true
    )]
    pub(super) through: Vec<String>,
    /// Bytes of payload in a frame.
    #[arg(short, long, value_name = "BYTES", default_value_t = 1200,
          value_parser = clap::value_parser!(u32).range(MIN_SIZE as i64..=MAX_SIZE as i64))]
    pub(super) size: u32,
    /// Flows (pairs of source and destination) over all senders, sent in turn.
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) flows: u32,
    /// Senders, and as many sinks: each a peer of the node, each with a thread.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) pairs: u32,
    /// Frames a second over all flows, or `max`: as fast as the node reads.
    #[arg(long, value_name = "max|N", default_value = "max")]
    pub(super) rate: Rate,
    /// Look at every frame that comes, or count those that pile up without reading them.
    #[arg(long, value_enum, default_value_t = Check::All)]
    pub(super) check: Check,
    /// How long to send.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = cli::seconds)]
    pub(super) seconds: Duration,
    /// One JSON object at the end, and nothing else.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) log: LogOptions,
}

/// What sinks look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Check {
    /// Every frame.
    All,
    /// What is read in one go, and none of what waits behind it.
    Sampled,
}

/// Frames a second; none: as many as possible.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate(pub(super) Option<f64>);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self(None));
        }
        text.parse()
            .ok()
            .filter(|rate| (1.0..=1e9).contains(rate))
            .map(|rate| Self(Some(rate)))
            .ok_or_else(|| "max, or frames a second from 1 to 1000000000 are wanted".to_owned())
    }
}

impl BenchOptions {
    /// What the types cannot.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.through.len() > 2 {
            return Err(Failure::usage(
                "--through: one address, or two: the senders' and the sinks'",
            ));
        }
        if self.flows < self.pairs {
            return Err(Failure::usage(format!(
                "--flows {} with --pairs {}: every sender needs a flow",
                self.flows, self.pairs
            )));
        }
        self.through
            .iter()
            .try_for_each(|address| addresses::check_peer(address, "--through"))
    }

    /// For people only.
    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        if self.json {
            Ok(())
        } else {
            super::print(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        assert_eq!("max".parse(), Ok(Rate(None)));
        assert_eq!("2000".parse(), Ok(Rate(Some(2000.0))));
        for wrong in ["", "0", "-1", "inf", "NaN", "1e10", "fast"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong:?}");
        }
    }
}
