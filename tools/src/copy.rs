//! `pinecone send` and `pinecone recv`: standard input to standard output through the overlay.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pinecone::{Node, PublicKey, SendError};
use tokio::sync::mpsc;

use crate::cli::MomentaryNode;
use crate::failure::Failure;
use crate::momentary::{self, JOIN_LIMIT, Role};
use crate::output::counted;
use crate::signals::{Signals, stopped_by};
use crate::stderr::say;
use crate::transfer::{self, Kind, OVERHEAD, Receiver, Segment, Sender, State};

/// Pieces queued between the thread of a standard stream and the protocol.
const QUEUED_PIECES: usize = 64;
/// Payloads handled before they are answered.
const BATCH: usize = 16;
/// Time for the last payloads of a stream to leave the node before it closes.
const PARTING: Duration = Duration::from_millis(100);
/// Number of times that an abort is sent, as it may be lost.
const ABORTS: usize = 2;
/// Time limit for writing the data that has arrived after a signal.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);
/// Number of ended streams that are known, so that late retransmissions do not reopen them.
const MAX_ENDED: usize = 64;

/// Sends standard input to `key`. Returns when the receiver has confirmed everything.
pub(crate) async fn send(key: PublicKey, options: MomentaryNode, size: u32) -> Result<(), Failure> {
    options.log.start("warn")?;
    let mut signals = Signals::new()?;
    let key_file = options.key_file.as_deref();
    let join = momentary::join(&options.connect, key_file, Role::Asks, JOIN_LIMIT);
    let joined = signals.unless(join).await?;
    let node = &joined.node;
    let clock = Instant::now();
    let mut sender = Sender::new(clock.elapsed(), rand::random(), size as usize);
    let result = tokio::select! {
        result = send_input(node, &clock, &mut sender, key, size as usize) => result,
        name = signals.next() => Err(stopped_by(name)),
    };
    if result.is_err() && sender.state() == State::Open {
        abort(node, &key, &sender.abort()).await;
    }
    tokio::time::sleep(PARTING).await;
    node.close().await;
    result
}

/// Writes what arrives to standard output. Returns when the first stream has ended or, with `keep`,
/// after a signal or a failure.
pub(crate) async fn recv(options: MomentaryNode, keep: bool) -> Result<(), Failure> {
    options.log.start("warn")?;
    let mut signals = Signals::new()?;
    let key_file = options.key_file.as_deref();
    let join = momentary::join(&options.connect, key_file, Role::Answers, JOIN_LIMIT);
    let joined = signals.unless(join).await?;
    let node = &joined.node;
    say(&format!("receiving as {}", node.public_key()));
    let mut output = Output::start();
    let mut stopped = false;
    let mut current = None;
    let result = tokio::select! {
        result = receive(node, &mut output, &mut current, keep) => result,
        name = signals.next() => {
            stopped = true;
            match keep {
                true => Ok(()),
                false => Err(stopped_by(name)),
            }
        }
    };
    if let Some((from, receiver)) = current
        && receiver.state() == State::Open
        && !receiver.is_complete()
    {
        abort(node, &from, &receiver.abort()).await;
        tokio::time::sleep(PARTING).await;
    }
    let written = match stopped {
        // The reader of standard output may have stopped for good.
        true => tokio::time::timeout(OUTPUT_LIMIT, output.finish())
            .await
            .unwrap_or_else(|_| {
                Err(Failure::runtime(
                    "cannot write standard output: its reader has stopped",
                ))
            }),
        false => signals.unless(output.finish()).await,
    };
    node.close().await;
    result.and(written)
}

async fn send_input(
    node: &Node,
    clock: &Instant,
    sender: &mut Sender,
    key: PublicKey,
    size: usize,
) -> Result<(), Failure> {
    let mut input = read_input(size);
    let mut total = 0;
    loop {
        while let Some(payload) = sender.poll(clock.elapsed()) {
            transmit(node, &key, &payload).await?;
        }
        match sender.state() {
            State::Open => {}
            State::Done => break,
            State::Failed(failure) => return Err(Failure::runtime(explain(failure, &key))),
        }
        tokio::select! {
            received = next(node) => {
                let (from, payload) = received?;
                take(sender, clock, &key, from, &payload);
                for _ in 1..BATCH {
                    let Some((from, payload)) = waiting(node) else { break };
                    take(sender, clock, &key, from, &payload);
                }
            }
            bytes = input.recv(), if sender.wants_data() => match bytes.transpose() {
                Ok(Some(bytes)) => {
                    total += bytes.len();
                    sender.push(bytes, false);
                }
                Ok(None) => sender.push(Vec::new(), true),
                Err(e) => {
                    return Err(Failure::runtime(format!("cannot read standard input: {e}")));
                }
            },
            () = until(clock, sender.deadline()) => {}
        }
    }
    let seconds = clock.elapsed().as_secs_f64();
    say(&format!(
        "sent {} in {seconds:.3} s ({:.1} MiB/s), {} sent again",
        counted(total as u64, "byte"),
        total as f64 / seconds / f64::from(1 << 20),
        counted(sender.repeats(), "piece")
    ));
    Ok(())
}

fn take(sender: &mut Sender, clock: &Instant, key: &PublicKey, from: PublicKey, payload: &[u8]) {
    if from == *key
        && let Some(segment) = Segment::decode(payload)
    {
        sender.handle(clock.elapsed(), &segment);
    }
}

async fn receive(
    node: &Node,
    output: &mut Output,
    current: &mut Option<(PublicKey, Receiver)>,
    keep: bool,
) -> Result<(), Failure> {
    let clock = Instant::now();
    let mut ended: Vec<(PublicKey, u64)> = Vec::new();
    loop {
        let mut blocked = false;
        if let Some((from, receiver)) = current {
            while receiver.has_data() && !blocked {
                match output.room()? {
                    None => blocked = true,
                    Some(room) => room.send(receiver.read().unwrap_or_default()),
                }
            }
            while let Some(payload) = receiver.poll(clock.elapsed()) {
                transmit(node, from, &payload).await?;
            }
            let result = match receiver.state() {
                State::Open => None,
                // Some data is still to be written.
                State::Done if blocked => None,
                State::Done => Some(Ok(())),
                State::Failed(failure) => Some(Err(incomplete(failure, from, receiver))),
            };
            match result {
                None => {}
                Some(result) if !keep => return result,
                Some(result) => {
                    if let Err(failure) = result {
                        say(&format!("pinecone: {failure}"));
                    }
                    if ended.len() == MAX_ENDED {
                        ended.remove(0);
                    }
                    ended.push((*from, receiver.stream()));
                    *current = None;
                }
            }
        }
        let deadline = current.as_ref().and_then(|(_, r)| r.deadline());
        tokio::select! {
            received = next(node) => {
                let (from, payload) = received?;
                hear(node, &clock, current, &ended, from, &payload).await?;
                for _ in 1..BATCH {
                    let Some((from, payload)) = waiting(node) else { break };
                    hear(node, &clock, current, &ended, from, &payload).await?;
                }
            }
            () = output.wait_for_room(), if blocked => {}
            () = output.pieces.closed() => output.room().map(drop)?,
            () = until(&clock, deadline) => {}
        }
    }
}

/// Handles a payload: it belongs to the current stream, opens a new one, or is refused.
async fn hear(
    node: &Node,
    clock: &Instant,
    current: &mut Option<(PublicKey, Receiver)>,
    ended: &[(PublicKey, u64)],
    from: PublicKey,
    payload: &[u8],
) -> Result<(), Failure> {
    let Some(segment) = Segment::decode(payload) else {
        return Ok(());
    };
    if matches!(segment.kind, Kind::Ack(_) | Kind::Busy) || ended.contains(&(from, segment.stream))
    {
        return Ok(());
    }
    let now = clock.elapsed();
    match current {
        None if matches!(segment.kind, Kind::Close | Kind::Abort) => {}
        None => {
            let (_, receiver) = current.insert((from, Receiver::new(now, segment.stream)));
            receiver.handle(now, &segment);
        }
        Some((key, receiver)) if *key == from && receiver.stream() == segment.stream => {
            receiver.handle(now, &segment);
        }
        Some(_) if matches!(segment.kind, Kind::Close | Kind::Abort) => {}
        Some(_) => {
            let busy = Segment {
                stream: segment.stream,
                kind: Kind::Busy,
            };
            transmit(node, &from, &busy.encode()).await?;
        }
    }
    Ok(())
}

async fn transmit(node: &Node, key: &PublicKey, payload: &[u8]) -> Result<(), Failure> {
    loop {
        match node.send_to(payload, key) {
            Ok(()) => return Ok(()),
            Err(SendError::Full) => node.send_ready(key).await.map_err(Failure::runtime)?,
            Err(SendError::TooLong { max, .. }) => {
                return Err(Failure::usage(format!(
                    "at most {} bytes fit a frame from here: choose a smaller --size",
                    max.saturating_sub(OVERHEAD)
                )));
            }
            Err(error) => return Err(Failure::runtime(error)),
        }
    }
}

/// Tells the other side that this one has given up. A failure to do so is not reported: the reason
/// for giving up is.
async fn abort(node: &Node, key: &PublicKey, payload: &[u8]) {
    for _ in 0..ABORTS {
        let _ = transmit(node, key, payload).await;
    }
}

/// Returns the next payload. Fails if the node has closed.
async fn next(node: &Node) -> Result<(PublicKey, Bytes), Failure> {
    let (payload, from) = node.recv_from().await.map_err(Failure::runtime)?;
    Ok((from, payload))
}

/// Returns the next payload if it is already there.
fn waiting(node: &Node) -> Option<(PublicKey, Bytes)> {
    let received = node.try_recv().ok()?;
    Some((received.source, received.payload))
}

async fn until(clock: &Instant, deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until((*clock + deadline).into()).await,
        None => std::future::pending().await,
    }
}

fn explain(failure: transfer::Failure, key: &PublicKey) -> String {
    match failure {
        transfer::Failure::Silence => format!(
            "nothing heard from {key} for {} s: is `pinecone recv` or `send` running there?",
            transfer::SILENCE.as_secs()
        ),
        transfer::Failure::Busy => {
            format!("{key} is receiving another stream: try again when it has ended")
        }
        transfer::Failure::Aborted => format!("{key} has given up: see what it reports"),
    }
}

fn incomplete(failure: transfer::Failure, key: &PublicKey, receiver: &Receiver) -> Failure {
    let bytes = counted(receiver.bytes_read(), "byte");
    let why = explain(failure, key);
    Failure::runtime(format!(
        "the stream is incomplete, {bytes} were received: {why}"
    ))
}

/// Reads standard input on a thread of its own, as a read may block for ever. The channel ends with
/// the input.
fn read_input(size: usize) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (pieces, receiver) = mpsc::channel(QUEUED_PIECES);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut bytes = vec![0; size];
            let piece = match stdin.read(&mut bytes) {
                Ok(0) => return,
                Ok(len) => {
                    bytes.truncate(len);
                    Ok(bytes)
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
            let failed = piece.is_err();
            if pieces.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Standard output, written by a thread of its own.
#[derive(Debug)]
struct Output {
    pieces: mpsc::Sender<Vec<u8>>,
    /// Taken when [`Self::room`] has reported it.
    result: Option<tokio::sync::oneshot::Receiver<io::Result<()>>>,
}

impl Output {
    fn start() -> Self {
        let (pieces, receiver) = mpsc::channel(QUEUED_PIECES);
        let (report, result) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut receiver = receiver;
            // Fails only when the program is ending. Sent before the channel of pieces closes.
            let _ = report.send(write_output(&mut receiver));
        });
        Self {
            pieces,
            result: Some(result),
        }
    }

    /// Returns room for a piece, if there is any.
    fn room(&mut self) -> Result<Option<mpsc::Permit<'_, Vec<u8>>>, Failure> {
        match self.pieces.try_reserve() {
            Ok(permit) => Ok(Some(permit)),
            Err(mpsc::error::TrySendError::Full(())) => Ok(None),
            Err(mpsc::error::TrySendError::Closed(())) => {
                let result = self.result.take();
                Err(unwritable(result.and_then(|mut r| r.try_recv().ok())))
            }
        }
    }

    /// Waits until [`Self::room`] may have room or a failure.
    async fn wait_for_room(&self) {
        let _ = self.pieces.reserve().await;
    }

    /// Waits until everything is written. A failure that [`Self::room`] has reported is not repeated.
    async fn finish(self) -> Result<(), Failure> {
        drop(self.pieces);
        let Some(result) = self.result else {
            return Ok(());
        };
        match result.await {
            Ok(Ok(())) => Ok(()),
            other => Err(unwritable(other.ok())),
        }
    }
}

fn unwritable(result: Option<io::Result<()>>) -> Failure {
    let why = match result {
        Some(Err(e)) => e.to_string(),
        _ => "it was closed".to_owned(),
    };
    Failure::runtime(format!("cannot write standard output: {why}"))
}

fn write_output(pieces: &mut mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    while let Some(bytes) = pieces.blocking_recv() {
        stdout.write_all(&bytes)?;
        // Show each piece as soon as it arrives.
        if pieces.is_empty() {
            stdout.flush()?;
        }
    }
    stdout.flush()
}
