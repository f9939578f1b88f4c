//! The memory use of a daemon: at the start, for each idle peering, and for a peer that does not read.
//! The limits are generous compared with the measured values.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use pinecone_wire::SecretKey;
use pinecone_wire::frame::KEEPALIVE;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::alone;
use crate::daemon::{Daemon, Start, key, wait_at_most, wait_until};
use crate::misbehaviour::{drain, filled};
use crate::raw_peer::RawPeer;

const AT_START: u64 = 30 << 20;
const IDLE_PEERING: u64 = 64 << 10;
/// The queue of 4 MiB, the part of it that is being sent, and their bookkeeping.
const STALLED_PEER: u64 = 6 << 20;
const IDLE: u32 = 2000;
const STALLED: u8 = 8;

/// Keeps all peers alive and reading while `during` runs.
fn kept<T>(peers: &[RawPeer], during: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                for mut stream in peers.iter().map(|peer| &peer.stream) {
                    stream.write_all(&KEEPALIVE).expect("still a peer");
                    drain(stream);
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        let done = during();
        over.store(true, Relaxed);
        done
    })
}

fn two_workers(seed: u8) -> Daemon {
    Start {
        seed: Some(seed),
        arguments: &["--workers", "2", "--log", "warn"],
        ..Start::default()
    }
    .run()
}

/// Returns the sum of a status field over all peerings.
fn sum(daemon: &Daemon, name: &str) -> u64 {
    let status = daemon.status();
    let peers = status["peers"].as_array().unwrap();
    peers.iter().map(|peer| peer[name].as_u64().unwrap()).sum()
}

#[test]
fn the_start_and_idle_peerings() {
    let _alone = alone();
    let limit = getrlimit(Resource::Nofile);
    let more = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, more).unwrap();
    let daemon = two_workers(1);
    daemon.status();
    let start = daemon.memory().rss;
    println!("at the start: {} KiB", start >> 10);
    assert!(start <= AT_START, "{start} bytes");

    let peers: Vec<_> = (0..IDLE)
        .map(|number| {
            let mut seed = [0x33; 32];
            seed[..4].copy_from_slice(&number.to_be_bytes());
            RawPeer::announced(daemon.address(), SecretKey::from_seed(&seed))
        })
        .collect();
    let idle = kept(&peers, || {
        wait_at_most(Duration::from_secs(60), "all to be peers", || {
            let status = daemon.status();
            let peers = status["peers"].as_array().unwrap();
            let known = peers.iter().filter(|peer| peer["root"].is_string()).count();
            (known == IDLE as usize).then_some(()).ok_or(known)
        });
        // Waits until nothing changes: all peers have learned of the last root.
        let mut last = sum(&daemon, "tx_protocol_bytes");
        wait_until("announcements to come to rest", || {
            std::thread::sleep(Duration::from_secs(1));
            let before = std::mem::replace(&mut last, sum(&daemon, "tx_protocol_bytes"));
            let keepalives = u64::from(IDLE) * KEEPALIVE.len() as u64;
            (last - before <= keepalives)
                .then_some(())
                .ok_or(last - before)
        });
        daemon.memory().rss
    });
    let each = idle.saturating_sub(start) / u64::from(IDLE);
    println!(
        "with {IDLE} idle peerings: {} KiB, {each} bytes each",
        idle >> 10
    );
    assert!(each <= IDLE_PEERING, "{each} bytes for an idle peering");
}

#[test]
fn stalled_peers() {
    let _alone = alone();
    // The smaller the frames, the more the bookkeeping.
    for size in [1200, 64] {
        assert_stalled_peers_are_bounded(size);
    }
}

fn assert_stalled_peers_are_bounded(size: usize) {
    let daemon = two_workers(1);
    let [mut flood, sink] = [2, 3].map(|seed| RawPeer::announced(daemon.address(), key(seed)));
    let from = flood.key.public_key();
    let stalled: Vec<_> = (10..10 + STALLED)
        .map(|seed| RawPeer::announced(daemon.address(), key(seed)))
        .collect();
    wait_until("all to be peers", || {
        let known = daemon.status()["peers"]
            .to_string()
            .matches("\"root\":\"")
            .count();
        (known == 2 + usize::from(STALLED))
            .then_some(())
            .ok_or(known)
    });
    for size in [1200, 64] {
        // The buffers that exist anyway are used first.
        let frame = filled(from, sink.key.public_key(), size);
        for _ in 0..200 {
            flood.send(&frame.repeat((256 << 10) / frame.len()));
            drain(&sink.stream);
        }
    }
    let before = daemon.memory().rss;
    let frames: Vec<_> = stalled
        .iter()
        .flat_map(|peer| filled(from, peer.key.public_key(), size))
        .collect();
    let mut most = 0;
    wait_until("their queues to be full", || {
        flood.send(&frames.repeat((1 << 20) / frames.len()));
        let memory = daemon.memory().rss;
        let queued = sum(&daemon, "queued_bytes");
        most = memory.max(most);
        (queued >= u64::from(STALLED) * (4_000 << 10))
            .then_some(())
            .ok_or(queued)
    });
    most = most.max(daemon.memory().rss);
    let each = most.saturating_sub(before) / u64::from(STALLED);
    println!(
        "payloads of {size}: {} KiB before, {} KiB with {STALLED} full queues, {} KiB each",
        before >> 10,
        most >> 10,
        each >> 10
    );
    assert!(each <= STALLED_PEER, "{each} bytes for a stalled peer");
    // The peers are dropped.
    wait_until("them to be closed", || {
        let left = daemon.status()["peers"].as_array().unwrap().len();
        let _ = flood.stream.write_all(&KEEPALIVE);
        let _ = (&sink.stream).write_all(&KEEPALIVE);
        drain(&sink.stream);
        (left <= 2).then_some(()).ok_or(left)
    });
    println!("{} KiB when they are gone", daemon.memory().rss >> 10);
}
