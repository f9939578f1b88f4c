//! The log, which is written to standard error. Standard output is for results.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use clap::Args;
use pinecone::LogLimit;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::prelude::*;

use crate::failure::Failure;
use crate::log_filter;
use crate::stderr;

/// The options of the log.
#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// Log level: error, warn, info, debug, trace or off; or a filter in the syntax of RUST_LOG.
    /// [default: RUST_LOG, else info for a node and warnings or errors for other commands]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
}

static LIMIT: OnceLock<LogLimit> = OnceLock::new();

impl LogOptions {
    /// Starts logging with the filter of the flag, else of `RUST_LOG`, else `level`.
    pub(crate) fn start(&self, level: &str) -> Result<(), Failure> {
        self.start_without(level, None)
    }

    /// Like [`Self::start`], but omits one target.
    pub(crate) fn start_without(&self, level: &str, target: Option<&str>) -> Result<(), Failure> {
        let filter = log_filter::filter(self.log.as_deref(), level, target)?;
        let failed = |e| Failure::runtime(format!("cannot start the log: {e}"));
        let limit = LogLimit::start().map_err(failed)?;
        let limit = LIMIT.get_or_init(|| limit).clone();
        // The number of omitted lines is logged with any filter.
        let filter = match format!("{}=warn", LogLimit::TARGET).parse() {
            Ok(directive) => filter.add_directive(directive),
            Err(_) => filter,
        };
        let lines = tracing_subscriber::fmt::layer()
            .log_internal_errors(false)
            .with_writer(writer)
            .with_ansi(io::stderr().is_terminal())
            .with_filter(filter.and(limit));
        tracing_subscriber::registry().with(lines).init();
        Ok(())
    }
}

/// Writes panics to the log. The standard library would write to standard error itself, which may block for ever.
pub(crate) fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        let backtrace = Backtrace::capture();
        let trace = match backtrace.status() {
            BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        stderr::say(&format!("thread {name} {panic}{trace}"));
        stderr::flush();
    }));
}

/// Reports the number of omitted lines, and waits a moment until everything is written.
pub(crate) fn end() {
    if let Some(limit) = LIMIT.get() {
        limit.report();
    }
    stderr::flush();
}

/// Returns the numbers of lines that are missing from the log, by reason.
pub(crate) fn counters() -> BTreeMap<String, u64> {
    let lost = stderr::lines().map_or(0, stderr::Lines::lost);
    let left_out = LIMIT.get().map_or(0, LogLimit::left_out);
    BTreeMap::from([
        ("log_lines_left_out".to_owned(), left_out),
        ("log_lines_lost".to_owned(), lost),
    ])
}

fn writer() -> Box<dyn Write> {
    match stderr::lines() {
        Some(lines) => Box::new(lines.clone()),
        None => Box::new(io::sink()),
    }
}
