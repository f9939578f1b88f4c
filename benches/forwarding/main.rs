//! The forwarding rate of workers compared with a relay that only copies bytes, also with large tables,
//! many peers, several workers and sparse traffic; and the latency.
//!
//! All connections are TCP over loopback with cubic. Half of them lead into the router, half out of it.
//! The router's thread is pinned to one core, generator and sink share another. Rows that are compared
//! are measured in alternation, round after round. The results are the medians of the rounds with their
//! quartiles: frames per second that reach the sink, and CPU time of the router's thread per frame. At
//! the end of every measurement each frame must be accounted for by the router's counters. For the
//! options, see
//!
//! ```text
//! cargo bench -p pinecone-benches --bench forwarding -- --help
//! ```
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used
)]

mod check;
mod document;
mod forwarder;
mod links;
mod load;
mod options;
mod plot;
mod priority;
mod report;
mod scenario;
mod traffic;
mod watchdog;

use std::process::ExitCode;

use clap::Parser as _;
use report::Section;

fn main() -> ExitCode {
    let options = options::Options::parse();
    let settings = options.settings();
    let conditions = document::conditions();
    println!("{conditions}");
    let mut sections = Vec::new();
    for scenario in options.chosen() {
        let section = scenario.run(&settings).unwrap_or_else(|error| Section {
            title: "Failed",
            failures: vec![format!("{error:#}")],
            ..Section::default()
        });
        println!("{}", document::section(&section));
        sections.push(section);
    }
    let mut failures: Vec<_> = sections.iter().flat_map(|s| s.failures.clone()).collect();
    if settings.write
        && let Err(error) = document::write(&options.docs, &conditions, &sections)
    {
        failures.push(format!("{error:#}"));
    }
    for failure in &failures {
        eprintln!("error: {failure}");
    }
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
