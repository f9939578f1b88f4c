//! Generator and sink: one thread each, sharing a core.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::epoll;

use crate::check::Checker;
use crate::forwarder::{Account, Forwarder};
use crate::links::{LOAD_CORE, cpu_of, epoll_of, pin, wait, wait_until};
use crate::traffic::{Feed, Fill, Traffic, frame};

/// How long a router may take to let go of what it has.
const SETTLE: Duration = Duration::from_secs(5);
/// How often a paced generator writes.
const TICK: Duration = Duration::from_micros(250);
/// How long a thread waits before it looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How long, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub warm_up: Duration,
    pub time: Duration,
    /// Frames a second in all; as many as go if there is none.
    pub rate: Option<f64>,
    /// Whether generator and sink keep to the load's core.
    pub pinned: bool,
}

/// What one run measured.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Frames a second that reached the sink.
    pub rate: f64,
    /// Seconds of CPU time of the router's threads for each of them.
    pub cpu: f64,
    /// Frames sent in the whole run, and how many of them the sink never saw.
    pub sent: u64,
    pub lost: u64,
    /// What the router says about those.
    pub reasons: String,
}

impl Sample {
    pub fn loss(&self) -> f64 {
        self.lost as f64 / self.sent.max(1) as f64
    }
}

/// Shared by the threads of a run.
#[derive(Default)]
struct Progress {
    no_more: AtomicBool,
    stop: AtomicBool,
    /// Bytes that reached the sink.
    bytes: AtomicU64,
    /// Frames, where they are checked.
    frames: AtomicU64,
    failure: Mutex<Option<anyhow::Error>>,
}

impl Progress {
    fn fail(&self, error: anyhow::Error) {
        let mut failure = self.failure.lock().expect("lock");
        failure.get_or_insert(error);
        self.no_more.store(true, Relaxed);
        self.stop.store(true, Relaxed);
    }
}

/// Sends `traffic` through `router`, and measures what reaches the sink and what that costs. The
/// accounts must balance at the end: each frame that was sent came out or is known to be dropped.
pub fn run(
    router: &dyn Forwarder,
    inputs: &[TcpStream],
    outputs: &[TcpStream],
    traffic: Traffic,
    offer: Offer,
) -> Result<Sample> {
    let peers = inputs.len();
    let checked = traffic.fill == Fill::Checked;
    let checker = checked.then(|| Checker::new(traffic, peers, router.routes()));
    let mut feeds: Vec<_> = (0..peers).map(|i| Feed::new(traffic, i, peers)).collect();
    let frame_len = frame(0, 0, traffic.size, traffic.fill).len() as u64;
    let progress = Progress::default();
    std::thread::scope(|scope| {
        let progress = &progress;
        let generator = scope.spawn(move || {
            if offer.pinned {
                pin(LOAD_CORE);
            }
            let result = match offer.rate {
                None => generate(inputs, &mut feeds, progress),
                Some(rate) => generate_at(rate, inputs, &mut feeds, progress),
            };
            if let Err(e) = result {
                progress.fail(e);
            }
            feeds.iter().map(|f| f.offered).sum::<u64>()
        });
        let sink = scope.spawn(move || {
            if offer.pinned {
                pin(LOAD_CORE);
            }
            if let Err(e) = drain(outputs, checker, progress) {
                progress.fail(e);
            }
        });
        let frames = || match checked {
            true => progress.frames.load(Relaxed),
            false => progress.bytes.load(Relaxed) / frame_len,
        };
        std::thread::sleep(offer.warm_up);
        let (start, before) = (Instant::now(), frames());
        let cpu_before = cpu_of(router.threads());
        let failed = || progress.stop.load(Relaxed);
        // On a busy machine a short run may need longer for its first frame.
        let limit = |frames| if frames == before { SETTLE } else { offer.time };
        while start.elapsed() < limit(frames()).max(offer.time) && !failed() {
            let left = offer.time.saturating_sub(start.elapsed());
            std::thread::sleep(left.clamp(Duration::from_millis(1), LOOK));
        }
        let (elapsed, arrived) = (start.elapsed(), frames() - before);
        let cpu = cpu_of(router.threads()) - cpu_before;

        progress.no_more.store(true, Relaxed);
        let sent = generator.join().expect("generator");
        let settled = wait_until(SETTLE, || {
            let bytes = progress.bytes.load(Relaxed);
            failed() || is_settled(router.account(), sent, bytes, frames())
        });
        progress.stop.store(true, Relaxed);
        sink.join().expect("sink");
        if let Some(error) = progress.failure.lock().expect("lock").take() {
            return Err(error);
        }
        let account = router.account();
        if let Some(account) = &account {
            account.balance(sent)?;
        }
        let came = frames();
        ensure!(
            settled,
            "of {sent} frames {came} came out, and the rest within {SETTLE:?} neither came nor was \
             dropped: {account:?}"
        );
        ensure!(arrived > 0, "no frame came out in {elapsed:?}");
        Ok(Sample {
            rate: arrived as f64 / elapsed.as_secs_f64(),
            cpu: cpu.as_secs_f64() / arrived as f64,
            sent,
            lost: sent - came,
            reasons: account.map(|a| a.reasons).unwrap_or_default(),
        })
    })
}

/// Waits until the router has counted what came out of it, and holds it to that.
pub fn settle(router: &dyn Forwarder, sent: u64) -> Result<()> {
    let balance = || router.account().map_or(Ok(()), |a| a.balance(sent));
    wait_until(SETTLE, || balance().is_ok());
    balance()
}

/// Whether all that was sent has come out or is accounted for.
fn is_settled(account: Option<Account>, sent: u64, bytes: u64, frames: u64) -> bool {
    match account {
        None => frames == sent,
        Some(account) => {
            account.balance(sent).is_ok()
                && account.forwarded_bytes == bytes
                && account.forwarded == frames
        }
    }
}

/// As fast as the router takes it.
fn generate(inputs: &[TcpStream], feeds: &mut [Feed], progress: &Progress) -> Result<()> {
    let epoll = epoll_of(inputs, epoll::EventFlags::OUT);
    let mut events = Vec::new();
    while !progress.no_more.load(Relaxed) {
        wait(&epoll, &mut events, LOOK);
        for event in &events {
            let i = event.data.u64() as usize;
            write_some(&inputs[i], &mut feeds[i], usize::MAX)?;
        }
    }
    finish(inputs, feeds)
}

/// So many frames a second in all, each connection in its turn.
fn generate_at(
    rate: f64,
    inputs: &[TcpStream],
    feeds: &mut [Feed],
    progress: &Progress,
) -> Result<()> {
    inputs
        .iter()
        .try_for_each(|socket| socket.set_nonblocking(true))?;
    let each = rate / inputs.len() as f64;
    let start = Instant::now();
    while !progress.no_more.load(Relaxed) {
        let now = start.elapsed();
        let due = (now.as_secs_f64() * each) as u64;
        for (input, feed) in inputs.iter().zip(&mut *feeds) {
            while feed.is_within_chunk() || feed.offered < due {
                let most = due.saturating_sub(feed.offered) as usize;
                if !write_some(input, feed, most)? {
                    break;
                }
            }
        }
        std::thread::sleep(TICK.saturating_sub(start.elapsed() - now));
    }
    finish(inputs, feeds)
}

/// False if the socket is full.
fn write_some(mut input: &TcpStream, feed: &mut Feed, most: usize) -> Result<bool> {
    match input.write(feed.pending(most)) {
        Ok(n) => feed.written(n),
        Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
        Err(e) => return Err(e).context("the generator cannot write"),
    }
    Ok(true)
}

/// Ends the frames that have begun.
fn finish(inputs: &[TcpStream], feeds: &mut [Feed]) -> Result<()> {
    let start = Instant::now();
    for (input, feed) in inputs.iter().zip(feeds) {
        while feed.is_within_chunk() {
            if !write_some(input, feed, 0)? {
                if start.elapsed() > SETTLE {
                    bail!("the router has taken nothing for {SETTLE:?}");
                }
                std::thread::sleep(TICK);
            }
        }
    }
    Ok(())
}

/// Takes everything that comes out, until told to stop.
fn drain(outputs: &[TcpStream], mut checker: Option<Checker>, progress: &Progress) -> Result<()> {
    let epoll = epoll_of(outputs, epoll::EventFlags::IN);
    let mut events = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    while !progress.stop.load(Relaxed) {
        wait(&epoll, &mut events, LOOK);
        for event in &events {
            let i = event.data.u64() as usize;
            let n = match (&outputs[i]).read(&mut buffer) {
                Ok(0) => bail!("the router has closed a connection"),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e).context("the sink cannot read"),
            };
            if let Some(checker) = &mut checker {
                checker.take(i, &buffer[..n])?;
                progress.frames.store(checker.frames, Relaxed);
            }
            progress.bytes.fetch_add(n as u64, Relaxed);
        }
    }
    ensure!(
        checker.is_none_or(|c| c.is_between_frames()),
        "the last frame that came out is not whole"
    );
    Ok(())
}
