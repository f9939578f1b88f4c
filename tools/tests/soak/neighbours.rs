//! Well-behaved peers: they send at a steady rate and check everything that they receive.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pinecone_wire::frame::KEEPALIVE;
use pinecone_wire::{FrameType, PublicKey, SecretKey, Split, TrafficLayout, split};

use crate::daemon::wait_until;
use crate::raw_peer::RawPeer;
use crate::traffic::traffic;

/// Frames per second that each sends.
pub(crate) const RATE: f64 = 500.0;
const SIZES: [usize; 7] = [64, 1200, 300, 8000, 1200, 64, 20_000];
const MARK: [u8; 8] = *b"soaksoak";

/// A neighbour. Its threads end with the stream.
pub(crate) struct Neighbour {
    pub(crate) key: PublicKey,
    stream: TcpStream,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

/// Counts of what it sent and received.
#[derive(Default)]
pub(crate) struct Counts {
    /// Traffic frames that were completely written.
    pub(crate) sent: AtomicU64,
    /// Frames of the other neighbour that arrived in order and undamaged.
    pub(crate) received: AtomicU64,
    /// Frames of the other neighbour that never arrived.
    pub(crate) lost: AtomicU64,
    /// Other frames that arrived.
    pub(crate) others: AtomicU64,
    quiet: AtomicBool,
    /// True if it has stopped sending.
    is_quiet: AtomicBool,
    over: AtomicBool,
}

impl Neighbour {
    /// Starts two neighbours that send to each other.
    pub(crate) fn pair(address: &str, keys: [SecretKey; 2]) -> [Self; 2] {
        let public = keys.each_ref().map(SecretKey::public_key);
        let [a, b] = keys.map(|key| RawPeer::announced(address, key));
        [Self::start(a, public[1]), Self::start(b, public[0])]
    }

    fn start(peer: RawPeer, other: PublicKey) -> Self {
        let key = peer.key.public_key();
        let counts = Arc::new(Counts::default());
        let (mut reads, mut writes) = (
            peer.stream.try_clone().unwrap(),
            peer.stream.try_clone().unwrap(),
        );
        let (reader, writer) = (Arc::clone(&counts), Arc::clone(&counts));
        let threads = vec![
            std::thread::spawn(move || read(&mut reads, key, other, &reader)),
            std::thread::spawn(move || write(&mut writes, key, other, &writer)),
        ];
        Self {
            key,
            stream: peer.stream,
            counts,
            threads,
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Stops sending traffic, but stays connected.
    pub(crate) fn be_quiet(&self) {
        self.counts.quiet.store(true, Relaxed);
        wait_until("a neighbour to be quiet", || {
            let is_quiet = self.counts.is_quiet.load(Relaxed);
            is_quiet.then_some(()).ok_or("it sends")
        });
    }

    /// Disconnects. Fails if anything went wrong.
    pub(crate) fn leave(self) {
        self.counts.over.store(true, Relaxed);
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        for thread in self.threads {
            thread.join().expect("a neighbour saw nothing wrong");
        }
    }
}

/// Returns a frame with its number and a payload that depends on it.
fn numbered(from: PublicKey, to: PublicKey, number: u64) -> Vec<u8> {
    traffic(from, to, &payload(number))
}

fn payload(number: u64) -> Vec<u8> {
    let size = SIZES[number as usize % SIZES.len()];
    let mut bytes = MARK.to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend((bytes.len()..size).map(|i| (i as u64 * 7 + number) as u8));
    bytes
}

fn write(stream: &mut TcpStream, from: PublicKey, to: PublicKey, counts: &Counts) {
    let start = Instant::now();
    let mut keepalive = Instant::now();
    for number in 0.. {
        // Frames that a busy machine was late with are sent now.
        let due = start + Duration::from_secs_f64(number as f64 / RATE);
        while counts.quiet.load(Relaxed) || Instant::now() < due {
            if counts.over.load(Relaxed) {
                return;
            }
            counts.is_quiet.store(counts.quiet.load(Relaxed), Relaxed);
            if keepalive.elapsed() > Duration::from_secs(1) {
                keepalive = Instant::now();
                if stream.write_all(&KEEPALIVE).is_err() {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let frame = numbered(from, to, number);
        if let Err(e) = stream.write_all(&frame) {
            assert!(counts.over.load(Relaxed), "the daemon closed: {e}");
            return;
        }
        counts.sent.fetch_add(1, Relaxed);
    }
}

fn read(stream: &mut TcpStream, own: PublicKey, other: PublicKey, counts: &Counts) {
    let mut bytes = vec![0; 512 << 10];
    let (mut filled, mut next) = (0, 0);
    loop {
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => {
                assert!(counts.over.load(Relaxed), "the daemon closed the peering");
                return;
            }
            Ok(n) => filled += n,
            // Nothing else is read while the neighbours are quiet.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(e) => {
                assert!(counts.over.load(Relaxed), "the peering ended: {e}");
                return;
            }
        }
        let mut at = 0;
        while let Split::Frame(header) = split(&bytes[at..filled]).expect("whole frames") {
            let frame = &bytes[at..at + usize::from(header.len)];
            at += frame.len();
            if header.kind == FrameType::Traffic {
                look_at(frame, own, other, &mut next, counts);
            }
        }
        bytes.copy_within(at..filled, 0);
        filled -= at;
    }
}

fn look_at(frame: &[u8], own: PublicKey, other: PublicKey, next: &mut u64, counts: &Counts) {
    let layout = TrafficLayout::parse(frame).expect("a well-formed frame");
    let (head, from) = (layout.payload(frame), layout.source_key(frame));
    if from != other {
        counts.others.fetch_add(1, Relaxed);
        return;
    }
    assert_eq!(layout.destination_key(frame), own);
    assert!(head.starts_with(&MARK), "the other neighbour's mark");
    let number = u64::from_be_bytes(*head[8..].first_chunk().unwrap());
    assert!(number >= *next, "frame {number} came behind {next}");
    assert!(head == payload(number), "frame {number} was changed");
    counts.lost.fetch_add(number - *next, Relaxed);
    *next = number + 1;
    counts.received.fetch_add(1, Relaxed);
}
