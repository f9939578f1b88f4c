//! `pinecone-sim`: runs a scenario and says what came of it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use pinecone_sim::time::SECOND;
use pinecone_sim::topology::Topology;
use pinecone_sim::{Error, Scenario, plot, run};

/// Runs a network of real control planes and real tables in virtual time.
///
/// Prints a table of measures. Exits with 1 if an expectation of the scenario does not hold, with 2
/// if the scenario cannot be run. See docs/simulation.md.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The scenario: a TOML file.
    scenario: PathBuf,
    /// Run it in small: with what its [small] table says.
    #[arg(long)]
    small: bool,
    /// Another seed than the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Write all measures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw all measures into this directory, one SVG each. It is made if only it is missing.
    #[arg(long, value_name = "DIRECTORY")]
    plots: Option<PathBuf>,
    /// Print no table, only the expectations that fail.
    #[arg(short, long)]
    quiet: bool,
}

fn main() -> ExitCode {
    match simulate(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("pinecone-sim: {error:#}");
            // A result that cannot be written after the run is no mistake in the input.
            let written = error
                .downcast_ref::<Error>()
                .is_none_or(Error::is_output_failure);
            ExitCode::from(if written { 1 } else { 2 })
        }
    }
}

fn simulate(options: &Options) -> anyhow::Result<bool> {
    let mut scenario = Scenario::read(&options.scenario, options.small)?;
    scenario.seed = options.seed.unwrap_or(scenario.seed);
    check_output(options, &scenario)?;
    let began = Instant::now();
    // It shows only where standard error is a terminal.
    let bar = ProgressBar::new(scenario.duration);
    bar.set_style(ProgressStyle::with_template(
        "{msg} {wide_bar} {percent}% eta {eta}",
    )?);
    let report = run(&scenario, |progress| {
        bar.set_position((progress.at * SECOND as f64) as u64);
        bar.set_message(format!(
            "{:.0} s, {:.1}% reached",
            progress.at,
            progress.reach.unwrap_or(0.0) * 100.0
        ));
    })?;
    bar.finish_and_clear();
    match options.quiet {
        false => io::stdout()
            .write_all(report.table().as_bytes())
            .context("cannot write the table")?,
        true => report
            .expectations
            .iter()
            .filter(|expectation| !expectation.holds)
            .for_each(|expectation| eprintln!("{expectation}")),
    }
    if let Some(path) = &options.json {
        fs::write(path, report.json()).map_err(|source| Error::Write {
            path: path.clone(),
            source,
        })?;
    }
    if let Some(directory) = &options.plots {
        plot::draw(&report, directory)?;
    }
    eprintln!(
        "took {:.1} s, {} MiB at most",
        began.elapsed().as_secs_f64(),
        peak_memory().unwrap_or_default() >> 10
    );
    Ok(report.holds())
}

/// Refuses output paths that could not be written after the run.
fn check_output(options: &Options, scenario: &Scenario) -> Result<(), Error> {
    let topology = match &scenario.topology {
        Topology::File { path, .. } => Some(scenario.directory.join(path)),
        _ => None,
    };
    let refuse = |option, path: &Path, wrong: String| {
        Err(Error::Output {
            option,
            path: path.into(),
            wrong,
        })
    };
    if let Some(path) = &options.json {
        let same = |other: &Path| match (path.canonicalize(), other.canonicalize()) {
            (Ok(path), Ok(other)) => path == other,
            _ => false,
        };
        if same(&options.scenario) || topology.is_some_and(|file| same(&file)) {
            let wrong = "the scenario is read from there: give another path";
            return refuse("--json", path, wrong.into());
        }
        if path.is_dir() {
            let wrong = "it is a directory: give a file, or another path";
            return refuse("--json", path, wrong.into());
        }
        let opened = OpenOptions::new().append(true).create(true).open(path);
        if let Err(error) = opened {
            let hint = "make its directory, or give another path";
            return refuse("--json", path, format!("{error}: {hint}"));
        }
    }
    if let Some(path) = &options.plots
        && !path.is_dir()
    {
        if path.exists() {
            let wrong = "it is a file: give a directory, or another path";
            return refuse("--plots", path, wrong.into());
        }
        if let Err(error) = fs::create_dir(path) {
            let hint = "make the directory around it, or give another path";
            return refuse("--plots", path, format!("{error}: {hint}"));
        }
    }
    Ok(())
}

/// The most memory that this process ever had, in KiB.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
