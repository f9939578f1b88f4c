//! Logs go to standard error; standard output is for what was asked.

use std::io::{self, IsTerminal};

use crate::cli::LogOptions;
use crate::failure::Failure;
use crate::log_filter;

impl LogOptions {
    /// Starts logging: what the flag says, or else `RUST_LOG`, or else `level`.
    pub(crate) fn start(&self, level: &str) -> Result<(), Failure> {
        self.start_without(level, None)
    }

    /// As [`Self::start`], but leaves out one target.
    pub(crate) fn start_without(&self, level: &str, target: Option<&str>) -> Result<(), Failure> {
        let filter = log_filter::filter(self.log.as_deref(), level, target)?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .init();
        Ok(())
    }
}
