//! The command line.

use std::path::PathBuf;

use clap::Parser;
use clap::error::ErrorKind;

use crate::failure::Failure;

const AFTER_HELP: &str = "\
Examples:
  pinecone-sim tools/scenarios/root-killed.toml --plots plots
  pinecone-sim tools/scenarios/merge.toml --small --seed 7 --json merge.json --quiet

Exit codes:
  0  all expectations of the scenario hold
  1  the run ended, and an expectation failed
  2  nothing was run: the command line, the scenario or an output path is wrong
  3  the run ended, and a result could not be written

docs/simulation.md describes scenarios and measures.";

/// Simulate a network of Pinecone nodes in virtual time.
///
/// Runs the control plane and the forwarding tables of a real node many times in one process, and
/// prints a table of measures. The same scenario with the same seed prints the same bytes.
#[derive(Debug, Parser)]
#[command(name = "pinecone-sim", version, after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// Scenario to run, a TOML file.
    pub(crate) scenario: PathBuf,
    /// Run the small variant, in which the values of the [small] table replace the others.
    #[arg(long)]
    pub(crate) small: bool,
    /// Seed to use instead of the scenario's.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Write all measures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw all measures as SVG files in this directory, which is created if its parent exists.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) plots: Option<PathBuf>,
    /// Print no table. Expectations that fail are printed to standard error.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Parses the command line. Returns nothing if help or the version was asked for, and printed.
pub(crate) fn parse() -> Result<Option<Options>, Failure> {
    let error = match Options::try_parse() {
        Ok(options) => return Ok(Some(options)),
        Err(error) => error,
    };
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return match error.print() {
            Ok(()) => Ok(None),
            Err(error) => Err(Failure::Output(vec![format!("cannot print: {error}")])),
        };
    }
    let text = error.to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or(&text);
    let text = text.split("\n\nFor more information").next();
    let text = text.unwrap_or_default().trim_start_matches("error: ");
    // Clap puts tips on lines of their own.
    let text = text.replace("\n\n  tip: ", "; ");
    let message = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Failure::Input(format!(
        "{message} (see pinecone-sim --help)"
    )))
}
