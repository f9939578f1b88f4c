//! The options of `pinecone bench`.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pinecone_transports::{PeerUri, Scheme};
use serde::Serialize;

use super::frames::{MAX_SIZE, MIN_SIZE};
use crate::addresses;
use crate::cli::values::{seconds, whole};
use crate::failure::Failure;
use crate::logging::LogOptions;
use crate::output::print;

/// Parses the address of a node that is measured by plain TCP.
fn plain(text: &str) -> Result<PeerUri, String> {
    let peer: PeerUri = text.parse().map_err(|error| format!("{error}"))?;
    match peer.scheme() == Scheme::Tcp && peer.to_string() == text.trim() {
        true => Ok(peer),
        false => Err("the bench speaks plain TCP: write host:port".to_owned()),
    }
}

/// Options of `pinecone bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    /// Node to send through, `host:port`; or two nodes: senders join the first, sinks the second.
    #[arg(
        long,
        value_name = "ADDR[,ADDR]",
        value_delimiter = ',',
        value_parser = plain,
        required = true
    )]
    pub(super) through: Vec<PeerUri>,
    /// Bytes of payload in each frame.
    #[arg(short, long, value_name = "BYTES", default_value_t = 1200,
          value_parser = whole::<u32>(MIN_SIZE as u64, MAX_SIZE as u64))]
    pub(super) size: u32,
    /// Number of flows (pairs of source and destination) of all senders together.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = whole::<u32>(1, 1024))]
    pub(super) flows: u32,
    /// Number of senders and of sinks. Each is a peer of the node and has a thread.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u32>(1, 64))]
    pub(super) pairs: u32,
    /// Frames per second of all flows together, or `max`: as fast as the node reads.
    #[arg(long, value_name = "max|N", default_value = "max")]
    pub(super) rate: Rate,
    /// Check every frame, or only count frames that wait in a full socket.
    #[arg(long, value_enum, default_value_t = Check::All)]
    pub(super) check: Check,
    /// Time to send for.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(super) seconds: Duration,
    /// Print nothing but one JSON object at the end.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) log: LogOptions,
}

/// The frames that sinks check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Check {
    /// All frames.
    All,
    /// The frames of each read. Those that wait behind them are counted by their bytes.
    Sampled,
}

/// Frames per second, or `None` for as many as possible.
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
            .ok_or_else(|| "expected `max`, or frames per second from 1 to 1000000000".to_owned())
    }
}

impl BenchOptions {
    /// Checks the rules that the types of the options cannot express.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.through.len() > 2 {
            return Err(Failure::usage(
                "--through: expected one address, or two: that of the senders and that of the sinks",
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
            .try_for_each(|address| addresses::resolve(address, "--through"))
    }

    /// Prints text unless JSON was asked for.
    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { print(text) }
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
