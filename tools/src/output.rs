//! Standard output.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::fstat;

use crate::failure::Failure;

/// Time limit for writing an optional text.
const OFFER_LIMIT: Duration = Duration::from_secs(1);

/// Writes `text` to standard output if possible. Does not fail if it is closed, full or stalled.
pub(crate) fn offer(text: String) {
    let (written, done) = mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        // Fails if writing took too long.
        let _ = written.send(print(&text));
    });
    if thread.is_ok() {
        let _ = done.recv_timeout(OFFER_LIMIT);
    }
}

/// Writes `text` to standard output and flushes it.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|e| Failure::runtime(format!("cannot write to standard output: {e}")))
}

/// Reports whether standard output and standard error are the same file, such as a terminal. Text that is
/// written to both is then seen twice.
pub(crate) fn is_also_stderr() -> bool {
    let place = |fd: BorrowedFd<'_>| fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino));
    let place_of_stdout = place(io::stdout().as_fd());
    place_of_stdout.is_some() && place_of_stdout == place(io::stderr().as_fd())
}

/// Returns the number with the noun, which is plural unless the number is 1.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        assert_eq!(counted(0, "failure"), "0 failures");
        assert_eq!(counted(1, "failure"), "1 failure");
        assert_eq!(counted(2, "failure"), "2 failures");
    }
}
