//! Logs go to standard error; standard output is for what was asked.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::cli::LogOptions;
use crate::failure::Failure;

impl LogOptions {
    /// Starts logging: what the flag says, or else `RUST_LOG`, or else `level`.
    pub(crate) fn start(&self, level: &str) -> Result<(), Failure> {
        let from_environment = || std::env::var("RUST_LOG").ok().filter(|v| !v.is_empty());
        let filter = self
            .log
            .clone()
            .or_else(from_environment)
            .unwrap_or_else(|| level.to_owned());
        let filter = EnvFilter::try_new(&filter).map_err(|e| {
            Failure::usage(format!(
                "{filter:?} is no log level or filter ({e}): try error, warn, info, debug or trace"
            ))
        })?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .init();
        Ok(())
    }
}
