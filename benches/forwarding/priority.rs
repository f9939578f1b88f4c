//! Threads that run before all others: for latencies, which other programs' turns would drown.

use std::process::{Command, Stdio};

use crate::links::thread_id;

/// Threads that are started while it lives go before all that are not of real time.
pub struct Raised(());

impl Raised {
    /// Nothing where that is not allowed, or there is no `chrt`: only root may.
    pub fn new() -> Option<Self> {
        chrt(&["--fifo", "--pid", "10"]).then_some(Self(()))
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        chrt(&["--other", "--pid", "0"]);
    }
}

/// Sets how the calling thread, and who is started by it, is scheduled.
fn chrt(arguments: &[&str]) -> bool {
    Command::new("chrt")
        .args(arguments)
        .arg(thread_id().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
