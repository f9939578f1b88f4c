//! What to measure, and how thoroughly.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use pinecone_benches::is_smoke_run;

use crate::load::Offer;
use crate::traffic::Fill;

/// Frames through one router's thread, beside a relay that does nothing but copy bytes
#[derive(Parser)]
#[command(name = "forwarding")]
pub struct Options {
    /// What to measure: `table` if nothing is named
    #[arg(value_enum)]
    pub scenarios: Vec<Scenario>,
    /// Rounds, of each of which the median counts
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of one measurement
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds of the steady load
    #[arg(long)]
    steady_seconds: Option<f64>,
    /// Payloads in bytes
    #[arg(long, value_delimiter = ',')]
    sizes: Option<Vec<usize>>,
    /// Routes in the table
    #[arg(long)]
    routes: Option<usize>,
    /// How many of the routes are destinations: all, if not given
    #[arg(long)]
    flows: Option<usize>,
    /// Connections in, and as many out
    #[arg(long)]
    peers: Option<usize>,
    /// Number all frames and check each as it comes out: a wrong one fails the run
    #[arg(long)]
    verify: bool,
    /// One short round of everything, to see that it works
    #[arg(long)]
    quick: bool,
    /// Rewrite the forwarding part of docs/performance.md, and its plots. Only with `all`
    #[arg(long)]
    write: bool,
    /// Where `--write` finds the documentation
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))]
    pub docs: PathBuf,
    /// The smallest run that there is, as `cargo test --benches` makes it
    #[arg(long)]
    test: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// One part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Every frame of every row checked: content, order, watermark, way out
    Verify,
    /// All rows by payload, every frame to a random way out
    Table,
    /// The same in runs of 32 frames of a flow
    Runs,
    /// A million routes against a thousand
    Routes,
    /// Whether splicing could pay
    Splice,
    /// By number of destinations
    Flows,
    /// By number of peers
    Peers,
    /// Two workers: within one, and from one to the other
    Workers,
    /// Single small frames at many peers
    Sparse,
    /// One way through at low load
    Latency,
    /// 90 % of capacity for a while, of which nothing may be lost
    Steady,
    /// All of these
    All,
}

/// How thoroughly.
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
    /// What the peers' sweep goes up to, and the sparse traffic has.
    pub many_peers: usize,
    pub fill: Fill,
    pub write: bool,
}

impl Options {
    /// What the flags come to.
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
        // Each way out has one at either worker.
        *routes = self.routes.unwrap_or(*routes).max(4 * *peers);
        settings.flows = self.flows;
        if self.verify {
            settings.fill = Fill::Checked;
        }
        settings
    }

    /// The scenarios to run, in their order.
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
    /// One measurement at full speed.
    pub fn offer(&self) -> Offer {
        Offer {
            warm_up: Duration::from_secs_f64(0.2_f64.min(self.seconds)),
            time: Duration::from_secs_f64(self.seconds),
            rate: None,
            pinned: true,
        }
    }

    /// Destinations, of so many routes.
    pub fn flows(&self, routes: usize) -> usize {
        self.flows.unwrap_or(routes).clamp(1, routes)
    }
}
