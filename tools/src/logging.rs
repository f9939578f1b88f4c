//! Logs go to standard error; standard output is for what was asked.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use pinecone::LogLimit;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::prelude::*;

use crate::cli::LogOptions;
use crate::failure::Failure;
use crate::log_filter;
use crate::stderr;

static LIMIT: OnceLock<LogLimit> = OnceLock::new();

impl LogOptions {
    /// Starts logging: what the flag says, or else `RUST_LOG`, or else `level`.
    pub(crate) fn start(&self, level: &str) -> Result<(), Failure> {
        self.start_without(level, None)
    }

    /// As [`Self::start`], but leaves out one target.
    pub(crate) fn start_without(&self, level: &str, target: Option<&str>) -> Result<(), Failure> {
        let filter = log_filter::filter(self.log.as_deref(), level, target)?;
        let failed = |e| Failure::runtime(format!("cannot start the log: {e}"));
        let limit = LogLimit::start().map_err(failed)?;
        let limit = LIMIT.get_or_init(|| limit).clone();
        // Whatever is logged, what was left out of it is said.
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

/// Lets a panic go where the log goes. The standard library would write to standard error itself,
/// which may never come back.
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

/// Reports what was left out, and waits for a moment until everything is written.
pub(crate) fn end() {
    if let Some(limit) = LIMIT.get() {
        limit.report();
    }
    stderr::flush();
}

/// Lines that are missing from the log, by reason.
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
