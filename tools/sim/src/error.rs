//! What can be wrong with a scenario.

use std::path::PathBuf;

/// What can be wrong with a scenario.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An input file says something that cannot be.
    #[error("{}:{line}: {wrong}", file.display())]
    Input {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The mistake, and what to write instead.
        wrong: String,
    },
    /// A scenario asked for in small has no `[small]` table.
    #[error("{}: there is no [small] table: add one, or leave out --small", file.display())]
    NoSmall {
        /// The file.
        file: PathBuf,
    },
    /// A topology with sizes that cannot be.
    #[error("topology: {0}")]
    Topology(String),
    /// An output path that cannot be used.
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
        /// Which one.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Whether a result of the run could not be written.
    #[must_use]
    pub const fn is_output_failure(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Plot { .. })
    }
}
