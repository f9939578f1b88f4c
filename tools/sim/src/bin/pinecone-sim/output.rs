//! The results of a run: a table, JSON and plots.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use pinecone_sim::topology::Topology;
use pinecone_sim::{Error, Report, Scenario, plot};

use crate::cli::Options;
use crate::failure::{Failure, describe};

/// Refuses output paths that could not be written after the run. Creates the JSON file and the
/// directory for plots.
pub(crate) fn check(options: &Options, scenario: &Scenario) -> Result<(), Error> {
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
            let hint = "create its directory, or give another path";
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
            let hint = "create the directory around it, or give another path";
            return refuse("--plots", path, format!("{error}: {hint}"));
        }
    }
    Ok(())
}

/// Writes all results that were asked for, even if some of them cannot be written.
pub(crate) fn write(options: &Options, report: &Report) -> Result<(), Failure> {
    let mut failed = Vec::new();
    if !options.quiet
        && let Err(error) = write_table(report)
    {
        failed.push(format!(
            "cannot write the table to standard output: {error}"
        ));
    }
    if let Some(path) = &options.json
        && let Err(error) = fs::write(path, report.json())
    {
        failed.push(format!("cannot write {}: {error}", path.display()));
    }
    if let Some(directory) = &options.plots
        && let Err(error) = plot::draw(report, directory)
    {
        failed.push(describe(&error));
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::Output(failed)),
    }
}

fn write_table(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(report.table().as_bytes())?;
    out.flush()
}
