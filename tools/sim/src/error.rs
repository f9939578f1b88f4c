//! Errors of the simulator.

use std::path::PathBuf;

/// An error in a scenario or its files, or while a result is written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// An input file has a mistake.
    #[error("{}:{line}: {wrong}", file.display())]
    Input {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The mistake, and what to write instead.
        wrong: String,
    },
    /// The small variant was asked for, but the scenario has no `[small]` table.
    #[error("{}: there is no [small] table: add one, or leave out --small", file.display())]
    NoSmall {
        /// The file.
        file: PathBuf,
    },
    /// A size of a topology is out of bounds.
    #[error("topology: {0}")]
    Topology(String),
    /// An output path cannot be used.
    #[error("{option} {}: {wrong}", path.display())]
    Output {
        /// The command-line option.
        option: &'static str,
        /// The path.
        path: PathBuf,
        /// The mistake, and what to do instead.
        wrong: String,
    },
    /// A plot cannot be drawn.
    #[error("cannot draw {}: {reason}", path.display())]
    Plot {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
}
