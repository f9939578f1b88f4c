//! Bounds of queues and buffers, with real workers and peers that do not read, or that all write at
//! once.

mod rig;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pinecone_dataplane::{DropReason, EngineChoice};
use pinecone_wire::frame::KEEPALIVE;
use rig::{Rig, key, payload, read_frame, traffic};

#[test]
fn all_ports_together_are_bounded() {
    let mut rig = Rig::with(EngineChoice::Uring, 1, |options| {
        options.queue_bytes = 1 << 20;
        options.port_queue_bytes = 768 << 10;
    });
    let mut a = rig.port(1);
    let _stuck: Vec<_> = (2..6).map(|port| rig.port(port)).collect();
    (2..6).for_each(|port| rig.route(key(0x70 + port as u8), port, 7));
    let frames = 600;
    for i in 0..frames {
        for port in 2..6 {
            a.write_all(&traffic(key(0x70 + port), 7, &payload(i, 4000)))
                .unwrap();
        }
    }
    rig.wait_for(|r| r.counters(1).rx_traffic_frames == 4 * frames as u64);
    let queued = |rig: &Rig| {
        (2..6)
            .map(|p| rig.counters(p).queued_bytes)
            .collect::<Vec<_>>()
    };
    let now = queued(&rig);
    assert!(now.iter().sum::<u64>() <= 1 << 20, "{now:?}");
    // The first port has no more than its own bound, and each later one had some room.
    assert!(now.iter().all(|&bytes| bytes <= 768 << 10), "{now:?}");
    assert!((2..6).any(|p| rig.counters(p).dropped(DropReason::QueueFull) > 0));
}

#[test]
fn frames_that_wait_too_long_are_dropped_if_asked_for() {
    let mut rig = Rig::with(EngineChoice::Uring, 1, |options| {
        options.port_queue_bytes = 64 << 20;
        options.queue_delay = Some(Duration::from_millis(5));
    });
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(key(0x77), 2, 7);
    let frames = 4000;
    let reader = std::thread::spawn(move || {
        let mut last = None;
        loop {
            let number = rig::number(&read_frame(&mut b));
            assert!(last.is_none_or(|l| l < number));
            last = Some(number);
            if number == frames {
                return b;
            }
            // A peer that takes one frame each millisecond: the queue would last for seconds.
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    for i in 0..frames {
        a.write_all(&traffic(key(0x77), 7, &payload(i, 8000)))
            .unwrap();
    }
    let late = |rig: &Rig| rig.counters(2).dropped(DropReason::QueueDelay);
    rig.wait_for(|r| late(r) > 0);
    a.write_all(&traffic(key(0x77), 7, &payload(frames, 8000)))
        .unwrap();
    let _b = reader.join().unwrap();
    rig.wait_until_balanced();
    assert_eq!(rig.counters(2).dropped(DropReason::QueueFull), 0);
}

#[test]
fn scarce_receive_buffers_go_round() {
    const PORTS: u32 = 200;
    let mut rig = Rig::with(EngineChoice::Uring, 1, |options| {
        options.receive_buffers = 2
    });
    let mut first = rig.port(1);
    let mut others: Vec<_> = (2..2 + PORTS).map(|port| rig.port(port)).collect();
    // The filter holds up the worker until all of them have sent something.
    let (entered, gate) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
    let closed = gate.lock().unwrap();
    rig.filter({
        let (entered, gate) = (Arc::clone(&entered), Arc::clone(&gate));
        move |_, _| {
            entered.store(true, Ordering::Relaxed);
            drop(gate.lock());
            true
        }
    });
    first.write_all(&traffic(key(0x77), 7, b"x")).unwrap();
    rig.wait_for(|_| entered.load(Ordering::Relaxed));
    for other in &mut others {
        other.write_all(&KEEPALIVE).unwrap();
    }
    drop(closed);
    rig.wait_for(|r| (2..2 + PORTS).all(|port| r.counters(port).rx_protocol_frames == 1));
    // Sockets are armed one after another. Arming all of them for every free buffer would fail some
    // 10,000 times here, and with ten thousand ports for so long that their peers count as dead.
    let failed = rig.plane().worker_stats()[0].out_of_buffers;
    assert!((1..4 * u64::from(PORTS)).contains(&failed), "{failed}");
}

/// A worker that was held up does not take its peers for silent, although it has too few buffers to read from all of
/// them at once.
#[test]
fn peers_whose_bytes_have_not_been_read_are_not_silent() {
    const PORTS: u32 = 60;
    let mut rig = Rig::with(EngineChoice::Uring, 1, |options| {
        options.receive_buffers = 2;
    });
    let mut first = rig.port(1);
    let mut others: Vec<_> = (2..2 + PORTS)
        .map(|port| rig.port_with(port, true))
        .collect();
    // This takes longer than a peer may be silent.
    rig.filter(|_, _| {
        std::thread::sleep(Duration::from_millis(5500));
        true
    });
    first.write_all(&traffic(key(0x77), 7, b"x")).unwrap();
    for other in &mut others {
        other.write_all(&KEEPALIVE).unwrap();
    }
    rig.wait_for(|r| (2..2 + PORTS).all(|port| r.counters(port).rx_protocol_frames == 1));
}

/// A sender chooses the keys that distinguish flows, but not the ingress port.
#[test]
fn an_honest_flow_keeps_its_share_against_ten_thousand_invented_sources() {
    // With two workers, frames are handed over.
    for (engine, workers) in [
        (EngineChoice::Uring, 1),
        (EngineChoice::Epoll, 1),
        (EngineChoice::Uring, 2),
    ] {
        let mut rig = Rig::with(engine, workers, |options| {
            options.port_queue_bytes = 1 << 20
        });
        let (honest, many, mut out) = (rig.port(1), rig.port(2), rig.port(3));
        rig.route(key(0x77), 3, 7);
        let stop = Arc::new(AtomicBool::new(false));
        let writers = [(honest, 1), (many, 10_000u32)].map(|(mut stream, sources)| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                for number in (0..sources).cycle() {
                    let marked = payload(sources as usize, 2000);
                    let mut frame = traffic(key(0x77), 7, &marked);
                    // The source key follows the destination key.
                    let at = frame.windows(32).position(|w| w == [0x11; 32]).unwrap();
                    let source = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    frame[at..at + 8].copy_from_slice(&source.to_be_bytes());
                    if stop.load(Ordering::Relaxed) || stream.write_all(&frame).is_err() {
                        return;
                    }
                }
            })
        });
        rig.wait_for(|r| r.counters(3).dropped(DropReason::QueueFull) > 2000);
        let (mut from_one, mut frames) = (0, 0);
        while frames < 4000 {
            let is_honest = rig::number(&read_frame(&mut out)) == 1;
            frames += 1;
            // The frames that the socket took before the queue was full do not count.
            from_one += usize::from(frames > 1000 && is_honest);
            if frames % 8 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        stop.store(true, Ordering::Relaxed);
        drop(out);
        for writer in writers {
            writer.join().unwrap();
        }
        let share = f64::from(from_one as u32) / 3000.0;
        assert!(
            (0.45..0.55).contains(&share),
            "{engine} with {workers}: {share}"
        );
    }
}
