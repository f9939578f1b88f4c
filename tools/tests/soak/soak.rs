//! A soak test: whatever some peers do, the others keep their rate, order and frames; memory stays bounded; the daemon
//! does not crash; and every frame is accounted for.
//!
//! Runs for 20 s, or for `PINECONE_SOAK_SECONDS`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::alone;
use crate::daemon::{Start, key, wait_until};
use crate::ledger::Ledger;
use crate::misbehaviour::{Cast, Crowd};
use crate::neighbours::{Neighbour, RATE};

/// The limit on the daemon's memory at any time, in MiB: 30 at the start, 8 of receive buffers, 32 handed over between
/// two workers that are both behind, 6 for each of the three that are flooded and of the four neighbours if they are
/// not run for a while, 32 of keys and routes that visitors leave behind, and the overhead of the allocator.
const MEMORY: u64 = 192 << 20;
/// The limit on the growth of its memory from the second to the last quarter of the time.
const GROWTH: u64 = 32 << 20;
const WINDOW: Duration = Duration::from_secs(1);

#[test]
fn misbehaviour_does_not_affect_other_peers() {
    let _alone = alone();
    let seconds = std::env::var("PINECONE_SOAK_SECONDS").map_or(16, |s| s.parse().unwrap());
    let mut seeds: Vec<u8> = (0..=255).collect();
    seeds.sort_by_key(|seed| key(*seed).public_key());
    // The keys of peers that do not read are the lowest; that of the daemon is the next.
    let mut seeds = seeds.into_iter();
    let mut next = || seeds.next().unwrap();
    let (deaf, slow, daemon) = (key(next()), key(next()), next());
    let daemon = Start {
        seed: Some(daemon),
        arguments: &["--workers", "2", "--log", "warn"],
        ..Start::default()
    }
    .run();
    let mut some_key = || key(next());
    let mut pair = || Neighbour::pair(daemon.address(), [some_key(), some_key()]);
    let neighbours: Vec<_> = [pair(), pair()].into_iter().flatten().collect();

    wait_until("the neighbours to hear each other", || {
        let heard = neighbours.iter().map(|n| count(&n.counts().received));
        let least = heard.min().unwrap();
        (least > 100).then_some(()).ok_or(least)
    });
    let quiet_time = Duration::from_secs(if seconds < 60 { 3 } else { 30 });
    let before = rates(&neighbours, || std::thread::sleep(quiet_time));
    let idle = daemon.memory();

    let mut some_key = || key(next());
    let cast = Cast {
        deaf,
        slow,
        drip: some_key(),
        flood: some_key(),
        sink: some_key(),
        victim: neighbours[0].key,
    };
    let (flood, sink, drip) = (
        cast.flood.public_key(),
        cast.sink.public_key(),
        cast.drip.public_key(),
    );
    let crowd = Crowd::start(daemon.address(), cast);
    let mut curve = Vec::new();
    let during = rates(&neighbours, || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(seconds) {
            std::thread::sleep(WINDOW);
            curve.push(daemon.memory().rss);
        }
    });
    crowd.stop();
    neighbours.iter().for_each(Neighbour::be_quiet);
    let (ledger, status) = Ledger::when_idle(&daemon);
    let peak = daemon.memory().peak;

    // Its counters agree with those of its peers.
    let peer = |key: &pinecone_wire::PublicKey, name: &str| {
        let key = key.to_string();
        let peers = status["peers"].as_array().unwrap();
        let peer = peers.iter().find(|peer| peer["key"] == key).unwrap();
        peer[name].as_u64().unwrap()
    };
    let shared = &crowd.shared;
    println!("{ledger}");
    let mib = |bytes: &u64| bytes >> 20;
    let steps = (curve.len() / 30).max(1);
    let points: Vec<_> = curve.iter().step_by(steps).map(mib).collect();
    println!(
        "memory in MiB: {} with neighbours alone, {} at the most, every {steps} s {points:?}",
        mib(&idle.rss),
        mib(&peak)
    );
    println!(
        "{} visits, {} let go, {} flooded of which {} came, {} byte by byte; log: {}",
        count(&shared.visits),
        count(&shared.let_go),
        count(&shared.flooded),
        count(&shared.sunk),
        count(&shared.dripped),
        daemon.log(),
    );
    for (neighbour, (before, during)) in neighbours.iter().zip(before.iter().zip(&during)) {
        let counts = neighbour.counts();
        println!(
            "neighbour: {before:.1} a second before, {during:.1} during ({:.4}); {} sent, {} came, \
             {} lost, {} of others",
            during / before,
            count(&counts.sent),
            count(&counts.received),
            count(&counts.lost),
            count(&counts.others),
        );
    }
    for neighbour in &neighbours {
        let counts = neighbour.counts();
        assert_eq!(
            peer(&neighbour.key, "rx_traffic_frames"),
            count(&counts.sent)
        );
        wait_until("the last frames to be read", || {
            let came = count(&counts.received) + count(&counts.others);
            (came == peer(&neighbour.key, "tx_traffic_frames"))
                .then_some(())
                .ok_or(came)
        });
    }
    assert_eq!(peer(&flood, "rx_traffic_frames"), count(&shared.flooded));
    assert_eq!(peer(&drip, "rx_traffic_frames"), count(&shared.dripped));
    wait_until("the sink to have read it all", || {
        let sunk = count(&shared.sunk);
        (sunk == peer(&sink, "tx_traffic_frames"))
            .then_some(())
            .ok_or(sunk)
    });

    // The load was as intended.
    assert!(count(&shared.visits) >= 20 * seconds, "hardly any visits");
    assert!(count(&shared.let_go) >= seconds / 10, "nobody was let go");
    assert!(count(&shared.dripped) > 0 && count(&shared.sunk) > 1000 * seconds);
    // No neighbour was affected.
    for (before, during) in before.iter().zip(&during) {
        assert!(
            *before >= 0.95 * RATE,
            "{before} a second with nobody else there"
        );
        assert!(*during >= 0.95 * before, "{during} a second of {before}");
    }
    assert!(peak <= MEMORY, "{peak} bytes of memory");
    let [early, late] = [1, 3].map(|quarter| {
        let of = curve.len() / 4;
        let mut points = curve[quarter * of..(quarter + 1) * of].to_vec();
        points.sort_unstable();
        points[of / 2]
    });
    assert!(late <= early + GROWTH, "from {early} to {late} bytes");

    crowd.leave();
    neighbours.into_iter().for_each(Neighbour::leave);
    let (end, log) = daemon.end(Signal::TERM);
    assert!(end.success(), "{end}: {log}");
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

/// Returns the frames per second that each neighbour received while `during` ran.
fn rates(neighbours: &[Neighbour], during: impl FnOnce()) -> Vec<f64> {
    let now = || -> Vec<u64> {
        let came = neighbours.iter().map(|n| count(&n.counts().received));
        came.collect()
    };
    let (start, before) = (Instant::now(), now());
    during();
    let time = start.elapsed().as_secs_f64();
    let came = now().into_iter().zip(before);
    came.map(|(after, before)| (after - before) as f64 / time)
        .collect()
}
