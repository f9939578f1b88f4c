//! What the program prints as its result.

use std::io::{self, Write};
use std::sync::mpsc;
use std::time::Duration;

use crate::failure::Failure;

/// How long a text that is only offered may take.
const OFFER_LIMIT: Duration = Duration::from_secs(1);

/// Writes `text` to standard output if that is possible. A standard output that is closed, full or
/// stalled is no failure.
pub(crate) fn offer(text: String) {
    let (written, done) = mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        // Fails if it took too long.
        let _ = written.send(print(&text));
    });
    if thread.is_ok() {
        let _ = done.recv_timeout(OFFER_LIMIT);
    }
}

/// Writes `text` to standard output, at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|e| Failure::runtime(format!("cannot write the result: {e}")))
}
