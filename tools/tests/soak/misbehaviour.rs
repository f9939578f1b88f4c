//! Peers that misbehave repeatedly until they are stopped.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pinecone_wire::frame::KEEPALIVE;
use pinecone_wire::{FrameType, HANDSHAKE_LEN, PublicKey, SecretKey, Split, handshake, split};
use rustix::net::RecvFlags;
use socket2::SockRef;

use crate::daemon::{PATIENCE, wait_until};
use crate::raw_peer::chain;
use crate::traffic::traffic;

/// The misbehaving peers.
pub(crate) struct Crowd {
    pub(crate) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Counts of what they did.
#[derive(Default)]
pub(crate) struct Shared {
    over: AtomicBool,
    /// Number of threads that have stopped misbehaving.
    stopped: AtomicU64,
    /// The flood has ended, and its sink may leave.
    all_over: AtomicBool,
    /// Number of short connections.
    pub(crate) visits: AtomicU64,
    /// Number of times that peers that do not read were dropped.
    pub(crate) let_go: AtomicU64,
    /// Whole frames written, by the flood and byte by byte.
    pub(crate) flooded: AtomicU64,
    pub(crate) dripped: AtomicU64,
    /// Number of frames that the sink of the flood read.
    pub(crate) sunk: AtomicU64,
}

/// The participants. The keys of those that do not read must be below the daemon's. Otherwise frames for them are
/// delivered to the neighbours while they are away.
pub(crate) struct Cast {
    pub(crate) deaf: SecretKey,
    pub(crate) slow: SecretKey,
    pub(crate) drip: SecretKey,
    pub(crate) flood: SecretKey,
    pub(crate) sink: SecretKey,
    /// The destinations of the visitors and of the peer that sends byte by byte.
    pub(crate) victim: PublicKey,
}

impl Crowd {
    pub(crate) fn start(address: &str, cast: Cast) -> Self {
        let mut crowd = Self {
            shared: Arc::default(),
            threads: Vec::new(),
        };
        let Cast {
            deaf,
            slow,
            drip,
            flood,
            sink,
            victim,
        } = cast;
        let flooded = [sink.public_key(), deaf.public_key(), slow.public_key()];
        crowd.add(address, move |a, s| sink_of_flood(a, &sink, s));
        crowd.add(address, move |a, s| never_reads(a, &deaf, s));
        crowd.add(address, move |a, s| reads_a_byte_a_second(a, &slow, s));
        crowd.add(address, move |a, s| {
            sends_a_byte_at_a_time(a, &drip, victim, s)
        });
        for thread in 0..2 {
            crowd.add(address, move |a, s| comes_and_goes(a, thread, victim, s));
        }
        crowd.add(address, move |a, s| floods(a, &flood, flooded, s));
        crowd
    }

    fn add(&mut self, address: &str, body: impl FnOnce(&str, &Shared) + Send + 'static) {
        let (address, shared) = (address.to_owned(), Arc::clone(&self.shared));
        self.threads
            .push(std::thread::spawn(move || body(&address, &shared)));
    }

    /// Stops the misbehaviour. The flood, its sink and the peer that sends byte by byte stay connected.
    pub(crate) fn stop(&self) {
        self.shared.over.store(true, Relaxed);
        // All but the sink of the flood.
        let others = self.threads.len() as u64 - 1;
        wait_until("everybody to stop", || {
            let stopped = self.shared.stopped.load(Relaxed);
            (stopped == others).then_some(()).ok_or(stopped)
        });
    }

    /// Disconnects all. Fails if a peer was dropped that should not have been.
    pub(crate) fn leave(self) {
        self.shared.over.store(true, Relaxed);
        self.shared.all_over.store(true, Relaxed);
        for thread in self.threads {
            thread.join().expect("nobody was closed without reason");
        }
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.over.load(Relaxed)
    }

    fn stop(&self) {
        self.stopped.fetch_add(1, Relaxed);
    }

    /// Stays connected until all leave.
    fn stay(&self, stream: &mut TcpStream) {
        self.stop();
        while !self.all_over.load(Relaxed) {
            stream.write_all(&KEEPALIVE).expect("still a peer");
            drain(stream);
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Connects and performs the handshake.
fn visit(address: &str, key: &SecretKey) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&handshake::encode(key))?;
    stream.read_exact(&mut [0; HANDSHAKE_LEN])?;
    Ok(stream)
}

fn announced(address: &str, key: &SecretKey) -> io::Result<TcpStream> {
    let mut stream = visit(address, key)?;
    stream.write_all(&chain(&[key], 1))?;
    Ok(stream)
}

/// Reads and discards what has arrived. Returns whether the peering is up.
pub(crate) fn drain(stream: &TcpStream) -> bool {
    let mut bytes = [0; 65536];
    loop {
        match rustix::net::recv(stream, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return false,
            Ok(_) => {}
            Err(e) => return e == rustix::io::Errno::AGAIN,
        }
    }
}

pub(crate) fn filled(from: PublicKey, to: PublicKey, size: usize) -> Vec<u8> {
    traffic(from, to, &vec![0x5a; size])
}

/// Sends keepalives, so that only not reading can end the peering.
fn never_reads(address: &str, key: &SecretKey, shared: &Shared) {
    while shared.goes_on() {
        let Ok(mut stream) = announced(address, key) else {
            continue;
        };
        while shared.goes_on() {
            if stream.write_all(&KEEPALIVE).is_err() {
                shared.let_go.fetch_add(1, Relaxed);
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    shared.stop();
}

fn reads_a_byte_a_second(address: &str, key: &SecretKey, shared: &Shared) {
    while shared.goes_on() {
        let Ok(mut stream) = announced(address, key) else {
            continue;
        };
        while shared.goes_on() {
            let read = stream.read(&mut [0; 1]);
            if !matches!(read, Ok(1)) || stream.write_all(&KEEPALIVE).is_err() {
                shared.let_go.fetch_add(1, Relaxed);
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    shared.stop();
}

/// Sends byte by byte. This is valid, so the peering must never be closed.
fn sends_a_byte_at_a_time(address: &str, key: &SecretKey, to: PublicKey, shared: &Shared) {
    let mut stream = announced(address, key).unwrap();
    let frame = filled(key.public_key(), to, 100);
    while shared.goes_on() {
        for byte in &frame {
            stream.write_all(&[*byte]).expect("still a peer");
            std::thread::sleep(Duration::from_micros(50));
        }
        shared.dripped.fetch_add(1, Relaxed);
        assert!(drain(&stream), "the daemon closed the peering");
    }
    shared.stay(&mut stream);
}

/// Connects as fast as possible. Half of the keys are reused; some are above all others, so
/// that the root changes with them.
fn comes_and_goes(address: &str, thread: u64, to: PublicKey, shared: &Shared) {
    for number in 0u64.. {
        if !shared.goes_on() {
            break;
        }
        let mut seed = [thread as u8; 32];
        seed[..8]
            .copy_from_slice(&if number % 2 == 0 { number } else { number % 64 }.to_be_bytes());
        let key = SecretKey::from_seed(&seed);
        // Fails if the daemon has already refused the connection.
        let _ = one_visit(address, &key, to, number);
        shared.visits.fetch_add(1, Relaxed);
    }
    shared.stop();
}

fn one_visit(address: &str, key: &SecretKey, to: PublicKey, number: u64) -> io::Result<()> {
    match number % 8 {
        0 => {
            // Half a handshake.
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(&handshake::encode(key)[..50])?;
        }
        1 => drop(visit(address, key)?),
        _ => {
            let mut stream = announced(address, key)?;
            let frames = filled(key.public_key(), to, 600).repeat(5);
            match number % 8 {
                2 => stream.write_all(&frames)?,
                // Ends in the middle of a frame or of its header.
                3 => stream.write_all(&frames[..frames.len() - 300])?,
                4 => stream.write_all(&frames[..frames.len() - 723 + 5])?,
                5 => {
                    stream.write_all(&frames)?;
                    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                }
                6 => {
                    // Not a frame, so the peering is closed.
                    stream.write_all(&frames)?;
                    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
                    while stream.read(&mut [0; 4096])? > 0 {}
                }
                _ => {
                    // Disconnects while frames for it are in flight.
                    stream.write_all(&filled(key.public_key(), key.public_key(), 600))?;
                    stream.write_all(&frames)?;
                    stream.read_exact(&mut [0; 10])?;
                }
            }
        }
    }
    Ok(())
}

/// Sends as fast as the daemon reads: mostly to a peer that reads, partly to peers that do not.
fn floods(address: &str, key: &SecretKey, to: [PublicKey; 3], shared: &Shared) {
    let mut stream = announced(address, key).unwrap();
    let [sink, deaf, slow] = to.map(|to| filled(key.public_key(), to, 1200));
    let round = [sink.repeat(14), deaf, slow].concat();
    let bytes = round.repeat(12);
    while shared.goes_on() {
        stream.write_all(&bytes).expect("still a peer");
        shared.flooded.fetch_add(16 * 12, Relaxed);
        assert!(drain(&stream), "the daemon closed the peering");
    }
    shared.stay(&mut stream);
}

fn sink_of_flood(address: &str, key: &SecretKey, shared: &Shared) {
    let mut stream = announced(address, key).unwrap();
    let until = Duration::from_millis(200);
    stream.set_read_timeout(Some(until)).unwrap();
    let mut bytes = vec![0; 1 << 20];
    let (mut filled, mut keepalive) = (0, Instant::now());
    while !shared.all_over.load(Relaxed) {
        if keepalive.elapsed() > Duration::from_secs(1) {
            keepalive = Instant::now();
            stream.write_all(&KEEPALIVE).expect("still a peer");
        }
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => panic!("the daemon closed the peering"),
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => panic!("{e}"),
        }
        let (mut at, mut frames) = (0, 0);
        while let Split::Frame(header) = split(&bytes[at..filled]).expect("whole frames") {
            at += usize::from(header.len);
            frames += u64::from(header.kind == FrameType::Traffic);
        }
        bytes.copy_within(at..filled, 0);
        filled -= at;
        shared.sunk.fetch_add(frames, Relaxed);
    }
}
