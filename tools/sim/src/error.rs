//! What can be wrong with a scenario.

use std::path::PathBuf;

/// What can be wrong with a scenario.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The scenario is no TOML, or not what a scenario is made of.
    #[error("the scenario cannot be read: {0}")]
    Scenario(Box<toml::de::Error>),
    /// A scenario asked for in small has no `[small]` table.
    #[error("the scenario has no [small] table")]
    NoSmall,
    /// A topology that cannot be.
    #[error("topology: {0}")]
    Topology(String),
    /// An event that cannot be.
    #[error("event {number} (`{name}`): {wrong}")]
    Event {
        /// Which one, from 1.
        number: usize,
        /// Its name.
        name: String,
        /// What is wrong with it.
        wrong: String,
    },
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
    /// An expectation that cannot be read.
    #[error("expect: `{name} = \"{found}\"`: write a comparison, like \">= 0.98\"")]
    Expectation {
        /// Of what.
        name: String,
        /// What stands there.
        found: String,
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
