//! The command line: what to measure, and how thoroughly.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use pinecone_benches::is_smoke_run;

use crate::load::Offer;
use crate::traffic::Fill;

/// Measures a router's thread against a relay that only copies bytes
#[derive(Parser)]
#[command(name = "forwarding")]
pub struct Options {
    /// Scenarios to measure [default: table]
    #[arg(value_enum)]
    pub scenarios: Vec<Scenario>,
    /// Number of rounds, of which the median is taken
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of one measurement
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds of the steady load
    #[arg(long)]
    steady_seconds: Option<f64>,
    /// Payload sizes in bytes
    #[arg(long, value_delimiter = ',')]
    sizes: Option<Vec<usize>>,
    /// Routes in the table
    #[arg(long)]
    routes: Option<usize>,
    /// Number of routes that are destinations [default: all]
    #[arg(long)]
    flows: Option<usize>,
    /// Number of connections in, and of connections out
    #[arg(long)]
    peers: Option<usize>,
    /// Number all frames and check each one that comes out. A wrong frame is a failure
    #[arg(long)]
    verify: bool,
    /// Measure one short round only, to see that it works
    #[arg(long)]
    quick: bool,
    /// Rewrite the forwarding section of docs/performance.md and its plots. Only with `all`
    #[arg(long)]
    write: bool,
    /// Directory of the documentation, for `--write`
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))]
    pub docs: PathBuf,
    /// Measure as little as possible, as `cargo test --benches` does
    #[arg(long)]
    test: bool,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Check every frame of every row: content, order, watermark and egress
    Verify,
    /// Results by payload size, with a random egress for every frame
    Table,
    /// Results by payload size, in bursts of 32 frames of one flow
    Runs,
    /// A million routes compared with a thousand
    Routes,
    /// A relay that splices compared with one that copies
    Splice,
    /// Results by number of destinations
    Flows,
    /// Results by number of peers
    Peers,
    /// Two workers, with frames that stay with a worker or change it
    Workers,
    /// Single small frames from and to many peers
    Sparse,
    /// One-way latency at low load
    Latency,
    /// 90 % of capacity for a while, without losses
    Steady,
    /// Every scenario
    All,
}

/// The extent of the measurements.
#[derive(Clone, Debug)]
pub struct Settings {
    pub rounds: usize,
    pub seconds: f64,
    pub steady_seconds: f64,
    pub sizes: Vec<usize>,
    pub routes: usize,
    pub many_routes: usize,
    pub flows: Option<usize>,
    pub peers: usize,
    /// The most peers of the scenario `peers`, and the number for `sparse`.
    pub many_peers: usize,
    pub fill: Fill,
    pub write: bool,
}

impl Options {
    /// Returns the settings that the options give.
    pub fn settings(&self) -> Settings {
        let full = Settings {
            rounds: 7,
            seconds: 0.5,
            steady_seconds: 60.0,
            sizes: vec![64, 512, 1200, 8192, 60_000],
            routes: 100_000,
            many_routes: 1_000_000,
            flows: None,
            peers: 8,
            many_peers: 128,
            fill: Fill::Replayed,
            write: self.write,
        };
        let mut settings = if self.is_test() {
            Settings {
                rounds: 1,
                seconds: 0.05,
                steady_seconds: 0.1,
                sizes: vec![1200],
                routes: 1000,
                many_routes: 2000,
                many_peers: 32,
                ..full
            }
        } else if self.quick {
            Settings {
                rounds: 1,
                seconds: 0.15,
                steady_seconds: 2.0,
                sizes: vec![64, 1200, 60_000],
                ..full
            }
        } else {
            full
        };
        let Settings {
            rounds,
            seconds,
            steady_seconds,
            sizes,
            routes,
            peers,
            ..
        } = &mut settings;
        *rounds = self.rounds.unwrap_or(*rounds).max(1);
        *seconds = self.seconds.unwrap_or(*seconds);
        *steady_seconds = self.steady_seconds.unwrap_or(*steady_seconds);
        *sizes = self.sizes.clone().unwrap_or(std::mem::take(sizes));
        *peers = self.peers.unwrap_or(*peers).max(1);
        // Each connection out then has a route at either worker.
        *routes = self.routes.unwrap_or(*routes).max(4 * *peers);
        settings.flows = self.flows;
        if self.verify {
            settings.fill = Fill::Checked;
        }
        settings
    }

    /// Returns the scenarios to run, in this order.
    pub fn chosen(&self) -> Vec<Scenario> {
        let all = &Scenario::value_variants()[..Scenario::All as usize];
        match &self.scenarios[..] {
            [] if self.is_test() => all.to_vec(),
            [] => vec![Scenario::Table],
            some if some.contains(&Scenario::All) => all.to_vec(),
            some => some.to_vec(),
        }
    }

    fn is_test(&self) -> bool {
        self.test || is_smoke_run() || cfg!(debug_assertions)
    }
}

impl Settings {
    /// Returns the load of a measurement at full speed.
    pub fn offer(&self) -> Offer {
        Offer {
            warm_up: Duration::from_secs_f64(0.2_f64.min(self.seconds)),
            time: Duration::from_secs_f64(self.seconds),
            rate: None,
            pinned: true,
        }
    }

    /// Returns the number of destinations among `routes` routes.
    pub fn flows(&self, routes: usize) -> usize {
        self.flows.unwrap_or(routes).clamp(1, routes)
    }
}
