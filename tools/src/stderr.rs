//! Standard error, written by a thread of its own.
//!
//! Standard error may be full (a disk), closed (a pipe) or stalled (a stopped log reader, a terminal
//! after Ctrl-S). The rest of the program must neither fail nor wait for it. Lines wait in a bounded
//! queue; lines that do not fit or cannot be written are counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Bytes of lines that may be queued.
const CAPACITY: usize = 1 << 20;
/// Time limit for writing to standard error at the end of the program.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Queues a line to be written.
pub(crate) fn say(line: &str) {
    let line = format!("{line}\n");
    match lines() {
        Some(lines) => lines.push(line.as_bytes()),
        // There is no thread, so this may block.
        None => drop(io::stderr().write_all(line.as_bytes())),
    }
}

/// Waits briefly until everything is written.
pub(crate) fn flush() {
    if let Some(lines) = lines() {
        lines.flush(END_LIMIT);
    }
}

/// Returns the queue for standard error, or `None` if the system refuses a thread.
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

    /// Adds a line, including its newline. Counts it as lost if the queue is full.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        // After an overflow, half of the queue must be free, so that lines are lost in a few long gaps
        // instead of many short ones.
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

    /// Returns the number of lines that have been lost.
    pub(crate) fn lost(&self) -> u64 {
        self.0.lock().lost
    }

    /// Waits until the queue is empty, or for `limit`.
    fn flush(&self, limit: Duration) {
        let queue = self.0.lock();
        let waiting = |queue: &mut Queue| queue.writing || !queue.lines.is_empty();
        drop(self.0.changed.wait_timeout_while(queue, limit, waiting));
    }
}

/// Queues lines for `tracing-subscriber`, which writes each line with one call.
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
    /// True if the last line did not fit.
    overflowed: bool,
    /// True if the thread is writing a line.
    writing: bool,
    lost: u64,
    /// Lost lines that have not been reported yet.
    unreported: u64,
}

impl Queue {
    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        self.unreported += lines;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes lines. Never returns.
    fn write_to(&self, mut output: impl Write) {
        // Set if the last line was only partly written.
        let mut torn = false;
        // Set if the last write failed. Then only a new line triggers another.
        let mut failed = false;
        loop {
            let (line, unreported) = self.next(failed);
            let mut text = Vec::new();
            if torn {
                text.push(b'\n');
            }
            if unreported > 0 {
                text.extend(
                    format!("pinecone: {unreported} log lines could not be written\n").bytes(),
                );
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
                queue.unreported += unreported;
                queue.lose(line.map_or(0, |_| 1));
            }
            self.changed.notify_all();
        }
    }

    /// Waits for a line, or for lost lines that can be reported.
    fn next(&self, failed: bool) -> (Option<Vec<u8>>, u64) {
        let nothing =
            |queue: &mut Queue| queue.lines.is_empty() && (failed || queue.unreported == 0);
        let queue = self.changed.wait_while(self.lock(), nothing);
        let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
        let line = queue.lines.pop_front();
        queue.bytes -= line.as_ref().map_or(0, Vec::len);
        queue.writing = true;
        // The queued lines were logged before the loss.
        let unreported = match queue.bytes > CAPACITY / 2 {
            true => 0,
            false => std::mem::take(&mut queue.unreported),
        };
        (line, unreported)
    }
}

/// Writes as much as possible, and returns the number of bytes written.
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

/// File descriptor 2, without the lock of the standard library, which a panic elsewhere may need.
struct Raw;

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        let fd = stderr.as_fd();
        loop {
            match rustix::io::write(fd, bytes) {
                // Another process that shares it may have set it to non-blocking mode.
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

    /// Reports each write to the test, and returns the result that the test chooses.
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
    fn lost_lines_are_counted_and_reported_when_writing_works_again() {
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
        // After a partial write, the rest of the line is lost, and the next line starts with a newline.
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
        // The thread is blocked, so these are queued or lost.
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
    fn losses_are_reported_even_if_no_line_follows() {
        let test = Test::start();
        test.lines.push(b"first\n");
        assert_eq!(test.attempts.recv_timeout(PATIENCE).unwrap(), "first\n");
        test.lines.push(&vec![b'x'; CAPACITY + 1]);
        test.results.send(Ok(6)).unwrap();
        let note = "pinecone: 1 log lines could not be written\n";
        test.expect(note, Ok(note.len()));
    }
}
