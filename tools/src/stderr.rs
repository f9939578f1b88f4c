//! Standard error, written by a thread of its own.
//!
//! Standard error may be full (a disk), closed (a pipe) or stalled (a log reader that has stopped, a
//! terminal after Ctrl-S). The rest of the program must neither fail nor wait because of that. Lines
//! wait in a bounded queue, and those that do not fit or cannot be written are counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Bytes of lines that may wait.
const CAPACITY: usize = 1 << 20;
/// How long the program's end may wait for standard error.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Writes a line, without waiting for it.
pub(crate) fn say(line: &str) {
    let line = format!("{line}\n");
    match lines() {
        Some(lines) => lines.push(line.as_bytes()),
        // No thread: nobody may be there to read it either.
        None => drop(io::stderr().write_all(line.as_bytes())),
    }
}

/// Waits until everything is written, but not for long.
pub(crate) fn flush() {
    if let Some(lines) = lines() {
        lines.flush(END_LIMIT);
    }
}

/// The process's standard error. Nothing if the system refuses a thread.
pub(crate) fn lines() -> Option<&'static Lines> {
    static LINES: OnceLock<Option<Lines>> = OnceLock::new();
    LINES.get_or_init(|| Lines::start(Raw).ok()).as_ref()
}

/// A queue of lines, and the thread that writes them.
#[derive(Clone, Debug)]
pub(crate) struct Lines(Arc<Shared>);

impl Lines {
    fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("pinecone-stderr".to_owned())
            .spawn(move || thread.write_to(output))?;
        Ok(Self(shared))
    }

    /// Adds a line, with its end, or counts it as lost if too many wait.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        // After an overflow, half of the queue must be free: lines are lost in a few long gaps, not
        // in many short ones.
        let capacity = if queue.overflowed {
            CAPACITY / 2
        } else {
            CAPACITY
        };
        queue.overflowed = queue.bytes + line.len() > capacity;
        if queue.overflowed {
            queue.lose(1);
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        self.0.changed.notify_all();
    }

    /// Lines that were never written, so far.
    pub(crate) fn lost(&self) -> u64 {
        self.0.lock().lost
    }

    /// Waits until nothing waits to be written, or for `limit`.
    fn flush(&self, limit: Duration) {
        let queue = self.0.lock();
        let waiting = |queue: &mut Queue| queue.writing || !queue.lines.is_empty();
        // What was not written by then is lost.
        drop(self.0.changed.wait_timeout_while(queue, limit, waiting));
    }
}

/// For `tracing-subscriber`, which writes a line by one call.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether the last line did not fit.
    overflowed: bool,
    /// Whether the thread has taken something that is not yet written.
    writing: bool,
    lost: u64,
    /// Of those, how many no line has told of.
    untold: u64,
}

impl Queue {
    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        self.untold += lines;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes lines as they come, for ever.
    fn write_to(&self, mut output: impl Write) {
        // Whether the last line was written in part.
        let mut torn = false;
        // Whether the last attempt failed. Then only a new line is a reason to try again.
        let mut failed = false;
        loop {
            let (line, untold) = self.next(failed);
            let mut text = Vec::new();
            if torn {
                text.push(b'\n');
            }
            if untold > 0 {
                text.extend(format!("pinecone: {untold} log lines could not be written\n").bytes());
            }
            text.extend(line.as_deref().unwrap_or_default());
            let written = write_whole(&mut output, &text);
            failed = written < text.len();
            if written > 0 {
                torn = text.get(written - 1) != Some(&b'\n');
            }
            let mut queue = self.lock();
            queue.writing = false;
            if failed {
                queue.untold += untold;
                queue.lose(line.map_or(0, |_| 1));
            }
            self.changed.notify_all();
        }
    }

    /// Waits for a line, or for lost ones that can be told of.
    fn next(&self, failed: bool) -> (Option<Vec<u8>>, u64) {
        let nothing = |queue: &mut Queue| queue.lines.is_empty() && (failed || queue.untold == 0);
        let queue = self.changed.wait_while(self.lock(), nothing);
        let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
        let line = queue.lines.pop_front();
        queue.bytes -= line.as_ref().map_or(0, Vec::len);
        queue.writing = true;
        // What still waits was logged before the loss.
        let untold = match queue.bytes > CAPACITY / 2 {
            true => 0,
            false => std::mem::take(&mut queue.untold),
        };
        (line, untold)
    }
}

/// Writes what can be written, and returns how much it was.
fn write_whole(output: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match output.write(rest) {
            Ok(0) => break,
            Ok(len) => written += len,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    written
}

/// File descriptor 2, without the standard library's lock, which a panic elsewhere may want.
struct Raw;

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        let fd = stderr.as_fd();
        loop {
            match rustix::io::write(fd, bytes) {
                // Another process that shares it may have made it non-blocking.
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None)?;
                }
                result => return Ok(result?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Tells of each attempt to write, and does with it what the test says.
    struct Output {
        attempts: Sender<String>,
        results: Receiver<io::Result<usize>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let _ = self.attempts.send(text);
            let gone = |_| Err(io::ErrorKind::BrokenPipe.into());
            self.results.recv().unwrap_or_else(gone)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Test {
        lines: Lines,
        attempts: Receiver<String>,
        results: Sender<io::Result<usize>>,
    }

    impl Test {
        fn start() -> Self {
            let (attempts, attempted) = channel();
            let (results, result) = channel();
            let output = Output {
                attempts,
                results: result,
            };
            Self {
                lines: Lines::start(output).unwrap(),
                attempts: attempted,
                results,
            }
        }

        fn expect(&self, text: &str, result: io::Result<usize>) {
            assert_eq!(self.attempts.recv_timeout(PATIENCE).unwrap(), text);
            self.results.send(result).unwrap();
        }
    }

    fn full() -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    #[test]
    fn failed_lines_are_counted_and_told_of_when_writing_works_again() {
        let test = Test::start();
        test.lines.push(b"one\n");
        test.expect("one\n", full());
        test.lines.push(b"two\n");
        let note = "pinecone: 1 log lines could not be written\n";
        test.expect(&format!("{note}two\n"), full());
        test.lines.push(b"three\n");
        let note = "pinecone: 2 log lines could not be written\n";
        let whole = format!("{note}three\n");
        test.expect(&whole, Ok(whole.len()));
        test.lines.push(b"four\n");
        // Written in part: the rest of the line is lost, and the next one starts a new line.
        test.expect("four\n", Ok(2));
        test.expect("ur\n", full());
        test.lines.push(b"five\n");
        let note = "\npinecone: 1 log lines could not be written\n";
        let whole = format!("{note}five\n");
        test.expect(&whole, Ok(whole.len()));
        test.lines.flush(PATIENCE);
        assert_eq!(test.lines.lost(), 3);
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_no_time() {
        let test = Test::start();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let text = String::from_utf8(line.clone()).unwrap();
        test.lines.push(&line);
        assert_eq!(test.attempts.recv_timeout(PATIENCE).unwrap(), text);
        // The thread is in its write: all of these wait, or are lost.
        let (fit, lost) = (CAPACITY as u64 / 1024, 100);
        for _ in 0..fit + lost {
            test.lines.push(&line);
        }
        assert_eq!(test.lines.lost(), lost);
        test.lines.flush(Duration::from_millis(1));

        test.results.send(Ok(line.len())).unwrap();
        let mut notes = Vec::new();
        for _ in 0..fit {
            let written = test.attempts.recv_timeout(PATIENCE).unwrap();
            if let Some(note) = written.strip_suffix(&text).filter(|note| !note.is_empty()) {
                notes.push(note.to_owned());
            }
            test.results.send(Ok(written.len())).unwrap();
        }
        test.lines.flush(PATIENCE);
        assert_eq!(notes, ["pinecone: 100 log lines could not be written\n"]);
        test.lines.push(b"next\n");
        test.expect("next\n", Ok(5));
    }

    #[test]
    fn losses_are_told_of_although_no_line_follows() {
        let test = Test::start();
        test.lines.push(b"first\n");
        assert_eq!(test.attempts.recv_timeout(PATIENCE).unwrap(), "first\n");
        test.lines.push(&vec![b'x'; CAPACITY + 1]);
        test.results.send(Ok(6)).unwrap();
        let note = "pinecone: 1 log lines could not be written\n";
        test.expect(note, Ok(note.len()));
    }
}
