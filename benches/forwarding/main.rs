//! How close the workers come to a relay that does nothing but copy bytes, and what they do about
//! large tables, many peers, several workers, sparse traffic, and latency.
//!
//! Connections in and as many out, over loopback TCP, cubic on every socket. The router's thread
//! is pinned to one core, generator and sink share another. Rows are measured in turns and
//! repeated; what is reported is the median of the rounds with its quartiles: frames a second as
//! they reach the sink, and CPU time of the router's thread a frame. At the end of every run the
//! router's counters must add up, to the frame. See
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
