//! What the program prints as its result.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::fstat;

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

/// Whether standard error goes to the same place, such as a terminal: what is said on both is then
/// read twice.
pub(crate) fn is_also_stderr() -> bool {
    let place = |fd: BorrowedFd<'_>| fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino));
    let place_of_stdout = place(io::stdout().as_fd());
    place_of_stdout.is_some() && place_of_stdout == place(io::stderr().as_fd())
}

/// Returns the number with the noun, in the plural unless it is one.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(counted(0, "failure"), "0 failures");
        assert_eq!(counted(1, "failure"), "1 failure");
        assert_eq!(counted(2, "failure"), "2 failures");
    }
}
