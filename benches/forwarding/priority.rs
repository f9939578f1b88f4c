//! Real-time priority for the measurement of latency, which would otherwise depend on other programs.

use std::process::{Command, Stdio};

use crate::links::thread_id;

/// Gives the calling thread, and those that it starts, real-time priority until it is dropped.
pub struct Raised(());

impl Raised {
    /// Raises the priority; `None` if there is no `chrt` or it is not allowed, as without root.
    pub fn new() -> Option<Self> {
        chrt(&["--fifo", "--pid", "10"]).then_some(Self(()))
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        chrt(&["--other", "--pid", "0"]);
    }
}

/// Sets the scheduling of the calling thread, which the threads that it starts inherit.
fn chrt(arguments: &[&str]) -> bool {
    Command::new("chrt")
        .args(arguments)
        .arg(thread_id().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
