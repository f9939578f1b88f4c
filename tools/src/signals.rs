//! What the program does on signals.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// A signal that comes so soon after the first one says the same: service managers and shells
/// signal a process twice at times, as itself and as one of a group.
const SAME: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The name of the next one that does not belong to one that came at `first`.
    pub(crate) async fn next_after(&mut self, first: Instant) -> &'static str {
        loop {
            let name = self.next().await;
            if first.elapsed() >= SAME {
                return name;
            }
        }
    }

    /// What `future` brings, unless a signal comes before.
    pub(crate) async fn unless<T>(
        &mut self,
        future: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            result = future => result,
            name = self.next() => Err(stopped_by(name)),
        }
    }
}

/// A command that did not come to its end.
pub(crate) fn stopped_by(signal: &str) -> Failure {
    Failure::runtime(format!("stopped by {signal}"))
}

/// Signals that would end the process by default, and that mean something to other daemons.
#[derive(Debug)]
pub(crate) struct Ignored {
    hangup: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Ignored {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            user_1: listen(SignalKind::user_defined1())?,
            user_2: listen(SignalKind::user_defined2())?,
        })
    }

    /// Logs each of them, for ever.
    pub(crate) async fn log(&mut self) {
        loop {
            let signal = tokio::select! {
                _ = self.hangup.recv() => {
                    tracing::info!(signal = "SIGHUP", "there is nothing to reload");
                    continue;
                }
                _ = self.user_1.recv() => "SIGUSR1",
                _ = self.user_2.recv() => "SIGUSR2",
            };
            tracing::info!(signal, "signal ignored");
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|e| Failure::runtime(format!("cannot listen to signals: {e}")))
}
