//! Generator and sink: one thread each, sharing a core.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pinecone_load::Pacer;
use rustix::event::epoll;

use crate::check::Checker;
use crate::forwarder::{Account, Forwarder};
use crate::links::{LOAD_CORE, cpu_of, epoll_of, pin, wait, wait_until};
use crate::traffic::{Feed, Fill, Traffic, frame};

/// Time within which a router must send what it has queued.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Interval between the writes of a paced generator.
const TICK: Duration = Duration::from_micros(250);
/// Interval at which a thread checks whether it must stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// The load of one measurement.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub warm_up: Duration,
    pub time: Duration,
    /// Frames per second in total; `None` for full speed.
    pub rate: Option<f64>,
    /// Set if generator and sink are pinned to their core.
    pub pinned: bool,
}

/// The results of one measurement.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Frames per second that reached the sink.
    pub rate: f64,
    /// CPU time of the router's threads for each of them, in seconds.
    pub cpu: f64,
    /// Frames sent.
    pub sent: u64,
    /// Frames that did not reach the sink.
    pub lost: u64,
    /// The router's counters of dropped frames, by reason.
    pub reasons: String,
}

impl Sample {
    pub fn loss(&self) -> f64 {
        self.lost as f64 / self.sent.max(1) as f64
    }
}

/// The state that the threads of a measurement share.
#[derive(Default)]
struct Progress {
    no_more: AtomicBool,
    stop: AtomicBool,
    /// Bytes that reached the sink.
    bytes: AtomicU64,
    /// Frames that were checked.
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

/// Sends `traffic` through `router`, and measures the rate at the sink and the CPU time. At the end, each frame that
/// was sent must have arrived or be counted as dropped.
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
        // On a busy machine a short measurement may need longer for its first frame.
        let limit = |frames| {
            if frames == before {
                DRAIN_LIMIT
            } else {
                offer.time
            }
        };
        while start.elapsed() < limit(frames()).max(offer.time) && !failed() {
            let left = offer.time.saturating_sub(start.elapsed());
            std::thread::sleep(left.clamp(Duration::from_millis(1), STOP_INTERVAL));
        }
        let (elapsed, arrived) = (start.elapsed(), frames() - before);
        let cpu = cpu_of(router.threads()) - cpu_before;

        progress.no_more.store(true, Relaxed);
        let sent = generator.join().expect("generator");
        let drained = wait_until(DRAIN_LIMIT, || {
            let bytes = progress.bytes.load(Relaxed);
            failed() || is_complete(router.account(), sent, bytes, frames())
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
            drained,
            "of {sent} frames {came} came out, and within {DRAIN_LIMIT:?} the others neither came out nor were \
             counted as dropped: {account:?}"
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

/// Waits until the router's counters balance, and fails if they do not.
pub fn await_balance(router: &dyn Forwarder, sent: u64) -> Result<()> {
    let balance = || router.account().map_or(Ok(()), |a| a.balance(sent));
    wait_until(DRAIN_LIMIT, || balance().is_ok());
    balance()
}

/// Reports whether each frame that was sent has arrived or is counted as dropped.
fn is_complete(account: Option<Account>, sent: u64, bytes: u64, frames: u64) -> bool {
    match account {
        None => frames == sent,
        Some(account) => {
            account.balance(sent).is_ok()
                && account.forwarded_bytes == bytes
                && account.forwarded == frames
        }
    }
}

/// Sends as fast as the router accepts.
fn generate(inputs: &[TcpStream], feeds: &mut [Feed], progress: &Progress) -> Result<()> {
    let epoll = epoll_of(inputs, epoll::EventFlags::OUT);
    let mut events = Vec::new();
    while !progress.no_more.load(Relaxed) {
        wait(&epoll, &mut events, STOP_INTERVAL);
        for event in &events {
            let i = event.data.u64() as usize;
            write_some(&inputs[i], &mut feeds[i], usize::MAX)?;
        }
    }
    finish(inputs, feeds)
}

/// Sends `rate` frames per second in total, with the same rate on each connection.
fn generate_at(
    rate: f64,
    inputs: &[TcpStream],
    feeds: &mut [Feed],
    progress: &Progress,
) -> Result<()> {
    inputs
        .iter()
        .try_for_each(|socket| socket.set_nonblocking(true))?;
    let each = Pacer::catching_up(rate / inputs.len() as f64);
    let mut pacers = vec![each; inputs.len()];
    let start = Instant::now();
    while !progress.no_more.load(Relaxed) {
        let now = start.elapsed();
        for ((input, feed), pacer) in inputs.iter().zip(&mut *feeds).zip(&mut pacers) {
            loop {
                let due = pacer.due(now);
                if due == 0 && !feed.is_within_chunk() {
                    break;
                }
                let before = feed.offered;
                let took = write_some(input, feed, due as usize)?;
                pacer.sent(feed.offered - before);
                if !took {
                    break;
                }
            }
        }
        std::thread::sleep(TICK.saturating_sub(start.elapsed() - now));
    }
    finish(inputs, feeds)
}

/// Writes as much as the socket takes. Returns false if it is full.
fn write_some(mut input: &TcpStream, feed: &mut Feed, most: usize) -> Result<bool> {
    match input.write(feed.pending(most)) {
        Ok(n) => feed.written(n),
        Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
        Err(e) => return Err(e).context("the generator cannot write"),
    }
    Ok(true)
}

/// Sends the rest of partial frames.
fn finish(inputs: &[TcpStream], feeds: &mut [Feed]) -> Result<()> {
    let start = Instant::now();
    for (input, feed) in inputs.iter().zip(feeds) {
        while feed.is_within_chunk() {
            if !write_some(input, feed, 0)? {
                if start.elapsed() > DRAIN_LIMIT {
                    bail!("the router has taken nothing for {DRAIN_LIMIT:?}");
                }
                std::thread::sleep(TICK);
            }
        }
    }
    Ok(())
}

/// Receives all frames that come out of the router, until told to stop.
fn drain(outputs: &[TcpStream], mut checker: Option<Checker>, progress: &Progress) -> Result<()> {
    let epoll = epoll_of(outputs, epoll::EventFlags::IN);
    let mut events = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    while !progress.stop.load(Relaxed) {
        wait(&epoll, &mut events, STOP_INTERVAL);
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
                progress.frames.store(checker.frames(), Relaxed);
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
