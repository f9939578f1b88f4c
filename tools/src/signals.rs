//! Signal handling.

use std::time::{Duration, Instant};

use pinecone::Node;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// A signal within this time of the first one counts as the same: service managers and shells sometimes
/// signal a process twice, alone and as a member of a group.
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

    /// Waits for the next signal and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits for the next signal that does not count as the same as the one at `first`.
    pub(crate) async fn next_after(&mut self, first: Instant) -> &'static str {
        loop {
            let name = self.next().await;
            if first.elapsed() >= SAME {
                return name;
            }
        }
    }

    /// Returns the result of `future`, or a failure if a signal arrives first.
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

/// Returns the failure of a command that was stopped by a signal.
pub(crate) fn stopped_by(signal: &str) -> Failure {
    Failure::runtime(format!("stopped by {signal}"))
}

/// SIGHUP, and signals that other daemons handle. They would end the process by default.
#[derive(Debug)]
pub(crate) struct OtherSignals {
    hangup: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl OtherSignals {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            user_1: listen(SignalKind::user_defined1())?,
            user_2: listen(SignalKind::user_defined2())?,
        })
    }

    /// Reads the files of the node again at each SIGHUP, and logs the other signals. Never returns.
    pub(crate) async fn handle(&mut self, node: &Node, has_files: bool) {
        loop {
            let signal = tokio::select! {
                _ = self.hangup.recv() => {
                    hang_up(node, has_files).await;
                    continue;
                }
                _ = self.user_1.recv() => "SIGUSR1",
                _ = self.user_2.recv() => "SIGUSR2",
            };
            tracing::info!(signal, "signal ignored");
        }
    }
}

async fn hang_up(node: &Node, has_files: bool) {
    let signal = "SIGHUP";
    if !has_files {
        tracing::info!(signal, "signal ignored: there is nothing to reload");
        return;
    }
    tracing::info!(signal, "reading the files of TLS again");
    let node = node.clone();
    // The node has logged the error.
    let _ = tokio::task::spawn_blocking(move || node.reload_tls()).await;
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|e| Failure::runtime(format!("cannot handle signals: {e}")))
}
