//! How close the workers come to a relay that does nothing but copy bytes.
//!
//! Eight connections in, eight out, over loopback TCP. The router's one thread is pinned to one
//! core, generator and sink share another. Rows are interleaved and repeated; what is reported is
//! the median of frames a second as they reach the sink, and of the router thread's CPU time a
//! frame. Run it with
//!
//! ```text
//! cargo bench -p pinecone-benches --bench forwarding -- [--rounds N] [--sizes LIST] [--routes N] [--runs]
//! ```
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used
)]

mod load;
mod relay;
mod router;

use std::time::Duration;

use load::{Load, Sample};
use pinecone_dataplane::EngineChoice;

/// What is measured in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Relay,
    Epoll,
    Uring,
}

struct Options {
    rounds: usize,
    sizes: Vec<usize>,
    routes: usize,
    runs: bool,
    seconds: f64,
}

fn main() {
    let options = options();
    println!(
        "{} routes, {}, {} rounds of {} s",
        options.routes,
        if options.runs {
            "runs: a flow for each egress"
        } else {
            "a random egress for every frame"
        },
        options.rounds,
        options.seconds
    );
    println!(
        "{:>8} {:>8} {:>12} {:>8} {:>12} {:>8} {:>8}",
        "payload", "what", "frames/s", "share", "us/frame", "ratio", "lost"
    );
    for &size in &options.sizes {
        let mut samples = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..options.rounds {
            let kinds = [Kind::Relay, Kind::Epoll, Kind::Uring];
            for (kind, samples) in kinds.into_iter().zip(&mut samples) {
                samples.push(measure(kind, size, &options));
            }
        }
        let [relay, epoll, uring] = samples.map(|s| Median::of(&s));
        for (name, row) in [("relay", &relay), ("epoll", &epoll), ("io_uring", &uring)] {
            println!(
                "{size:>8} {name:>8} {:>12.0} {:>8.2} {:>12.3} {:>8.2} {:>7.2}%",
                row.rate,
                row.rate / relay.rate,
                row.cpu * 1e6,
                row.cpu / relay.cpu,
                row.lost * 100.0
            );
        }
    }
}

fn measure(kind: Kind, size: usize, options: &Options) -> Sample {
    let load = Load::new(size, options.routes, options.runs);
    let time = Duration::from_secs_f64(options.seconds);
    match kind {
        Kind::Relay => {
            let router = relay::Relay::start(load.router_ends(), 0);
            load.run(time, router.thread())
        }
        Kind::Epoll => {
            let engine = EngineChoice::Epoll;
            let router = router::Router::start(engine, load.router_ends(), load.keys(), 0);
            load.run(time, router.thread())
        }
        Kind::Uring => {
            let engine = EngineChoice::Uring;
            let router = router::Router::start(engine, load.router_ends(), load.keys(), 0);
            load.run(time, router.thread())
        }
    }
}

struct Median {
    rate: f64,
    cpu: f64,
    lost: f64,
}

impl Median {
    fn of(samples: &[Sample]) -> Self {
        let median = |f: fn(&Sample) -> f64| {
            let mut values: Vec<_> = samples.iter().map(f).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            rate: median(|s| s.rate),
            cpu: median(|s| s.cpu_per_frame),
            lost: median(|s| s.lost),
        }
    }
}

fn options() -> Options {
    let mut options = Options {
        rounds: 7,
        sizes: vec![64, 512, 1200, 8192, 60_000],
        routes: 100_000,
        runs: false,
        seconds: 1.0,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--rounds" => options.rounds = value().parse().expect("a number"),
            "--sizes" => {
                options.sizes = value()
                    .split(',')
                    .map(|s| s.parse().expect("a number"))
                    .collect()
            }
            "--routes" => options.routes = value().parse().expect("a number"),
            "--seconds" => options.seconds = value().parse().expect("a number"),
            "--runs" => options.runs = true,
            // `cargo test --benches` and `cargo bench -- --test` only want to see it work.
            "--test" => {
                (
                    options.rounds,
                    options.sizes,
                    options.routes,
                    options.seconds,
                ) = (1, vec![1200], 1000, 0.05)
            }
            _ => {}
        }
    }
    if cfg!(debug_assertions) {
        (
            options.rounds,
            options.sizes,
            options.routes,
            options.seconds,
        ) = (1, vec![1200], 1000, 0.05);
    }
    options
}
