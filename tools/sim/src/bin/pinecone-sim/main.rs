//! `pinecone-sim`: runs a scenario and reports its measures.

mod cli;
mod failure;
mod output;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use pinecone_sim::time::SECOND;
use pinecone_sim::{Report, Scenario, run};

use self::cli::Options;
use self::failure::Failure;

fn main() -> ExitCode {
    let code = match cli::parse().and_then(|options| options.map_or(Ok(true), simulate)) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(failure) => {
            failure
                .messages()
                .for_each(|message| say(&format!("pinecone-sim: {message}")));
            failure.code()
        }
    };
    ExitCode::from(code)
}

/// Runs the scenario, and reports whether all of its expectations hold.
fn simulate(options: Options) -> Result<bool, Failure> {
    let mut scenario = Scenario::read(&options.scenario, options.small).map_err(Failure::input)?;
    scenario.seed = options.seed.unwrap_or(scenario.seed);
    output::check(&options, &scenario).map_err(Failure::input)?;
    let began = Instant::now();
    let report = run_with_progress(&scenario)?;
    if options.quiet {
        report
            .expectations
            .iter()
            .filter(|expectation| !expectation.holds)
            .for_each(|expectation| say(&expectation.to_string()));
    }
    let written = output::write(&options, &report);
    say(&format!(
        "took {:.1} s, {} MiB at most",
        began.elapsed().as_secs_f64(),
        peak_memory().unwrap_or_default() >> 10
    ));
    written.map(|()| report.holds())
}

/// Runs the scenario. A progress bar shows how far it is if standard error is a terminal.
fn run_with_progress(scenario: &Scenario) -> Result<Report, Failure> {
    let bar = ProgressBar::new(scenario.duration);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}% eta {eta}") {
        bar.set_style(style);
    }
    let report = run(scenario, |progress| {
        bar.set_position((progress.at * SECOND as f64) as u64);
        bar.set_message(format!(
            "{:.0} s, {:.1}% reached",
            progress.at,
            progress.reach.unwrap_or(0.0) * 100.0
        ));
    });
    bar.finish_and_clear();
    report.map_err(Failure::input)
}

/// Writes a line to standard error. It may be closed or full, which must not end the program.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Returns the largest amount of memory that this process had so far, in KiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
