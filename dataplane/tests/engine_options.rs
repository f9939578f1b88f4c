//! Options of engines: their effects, and the result if they are not available.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod rig;

use std::io::Write;
use std::time::{Duration, Instant};

use pinecone_dataplane::{CloseReason, DataPlaneOptions, EngineChoice, PortId, Report};
use pinecone_wire::frame::KEEPALIVE;
use rig::{Rig, key, payload, read_frame, traffic, usable_core};

const ENGINES: [EngineChoice; 2] = [EngineChoice::Uring, EngineChoice::Epoll];

fn sleeps(rig: &Rig) -> u64 {
    rig.plane().worker_stats().iter().map(|w| w.sleeps).sum()
}

#[test]
fn a_spinning_worker_notices_everything_without_sleeping() {
    for engine in ENGINES {
        let mut rig = Rig::with(engine, 2, |options| {
            options.busy_poll = Some(Duration::from_secs(600));
        });
        // Commands, bytes from peers, and frames from the other worker.
        let (mut a, mut b) = (rig.port(1), rig.port(2));
        rig.route(key(0x77), 2, 7);
        for i in 0..20 {
            let frame = traffic(key(0x77), 7, &payload(i, 100 * i));
            a.write_all(&frame).unwrap();
            assert_eq!(read_frame(&mut b), frame);
        }
        let handed_over = rig.plane().worker_stats()[0].handed_over;
        assert!(handed_over > 0, "{handed_over}");
        rig.plane().send(PortId(1), KEEPALIVE.to_vec());
        assert_eq!(read_frame(&mut a), KEEPALIVE);
        // Timers.
        let mut c = rig.port_with(3, true);
        assert_eq!(read_frame(&mut c), KEEPALIVE);
        assert_eq!(sleeps(&rig), 0, "{engine}");
    }
}

#[test]
fn sleepers_are_woken_by_message_and_by_eventfd() {
    for (baseline, how) in [(false, "messages between rings"), (true, "eventfds")] {
        let mut rig = Rig::with(EngineChoice::Uring, 2, |options| {
            options.baseline = baseline;
        });
        let description = rig.plane().info().description.clone();
        assert!(description.contains(how), "{description}");
        let (mut a, mut b) = (rig.port(1), rig.port(2));
        rig.route(key(0x77), 2, 7);
        rig.route(key(0x78), 1, 7);
        for i in 0..200 {
            // Frames in both directions, each to a worker with nothing else to do.
            let frame = traffic(key(0x77), 7, &payload(i, i));
            a.write_all(&frame).unwrap();
            assert_eq!(read_frame(&mut b), frame);
            let frame = traffic(key(0x78), 7, &payload(i, i));
            b.write_all(&frame).unwrap();
            assert_eq!(read_frame(&mut a), frame);
        }
        // A worker updates its counters after it has sent.
        rig.wait_for(|rig| {
            let stats = rig.plane().worker_stats();
            stats.iter().all(|worker| worker.handed_over == 200)
        });
        for worker in rig.plane().worker_stats() {
            assert!(worker.sleeps > 0, "{worker:?}");
        }
    }
}

#[test]
fn a_spinning_worker_sleeps_after_a_while() {
    for engine in ENGINES {
        let mut rig = Rig::with(engine, 1, |options| {
            options.busy_poll = Some(Duration::from_micros(200));
        });
        let (mut a, mut b) = (rig.port(1), rig.port(2));
        rig.route(key(0x77), 2, 7);
        let deadline = Instant::now() + Duration::from_secs(20);
        while sleeps(&rig) < 3 {
            assert!(Instant::now() < deadline, "{engine} never sleeps");
            let frame = traffic(key(0x77), 7, &payload(1, 100));
            a.write_all(&frame).unwrap();
            assert_eq!(read_frame(&mut b), frame);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn kernel_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("iou-sqp"))
        .count()
}

#[test]
fn workers_share_one_kernel_thread() {
    let core = usable_core();
    let mut rig = Rig::with(EngineChoice::Uring, 3, |options| {
        options.sqpoll = Some(core);
    });
    let description = &rig.plane().info().description;
    let wanted = format!("kernel thread on core {core}");
    assert!(description.contains(&wanted), "{description}");
    assert_eq!(kernel_threads(), 1);
    forwards(&mut rig);
    drop(rig);
    let deadline = Instant::now() + Duration::from_secs(20);
    while kernel_threads() > 0 {
        assert!(Instant::now() < deadline, "the kernel's thread stays");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn without_a_kernel_thread_workers_enter_the_kernel_and_say_so() {
    // No machine has this core.
    const CORE: usize = 1 << 20;
    for (engine, why) in [
        (EngineChoice::Uring, ": Invalid argument"),
        (EngineChoice::Epoll, ": only io_uring has it"),
    ] {
        let mut rig = Rig::with(engine, 2, |options| options.sqpoll = Some(CORE));
        let description = &rig.plane().info().description;
        let wanted = format!("no kernel thread on core {CORE}{why}");
        assert!(description.contains(&wanted), "{description}");
        forwards(&mut rig);
    }
}

/// Forwards from one port to another, which belong to different workers if there are several.
fn forwards(rig: &mut Rig) {
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(key(0x77), 2, 7);
    for i in 0..20 {
        let frame = traffic(key(0x77), 7, &payload(i, 3000 * i));
        a.write_all(&frame).unwrap();
        assert_eq!(read_frame(&mut b), frame);
    }
    assert_eq!(rig.total().total_dropped(), 0);
}

#[test]
fn drains_without_a_copy_arrive_unchanged() {
    // With all features, with those of old kernels, and with a kernel thread.
    let changes: [fn(&mut DataPlaneOptions); 3] = [
        |_| {},
        |options| options.baseline = true,
        |options| options.sqpoll = Some(usable_core()),
    ];
    for change in changes {
        let mut rig = Rig::with(EngineChoice::Uring, 1, |options| {
            options.zero_copy = Some(10_000);
            options.port_queue_bytes = 256 << 20;
            change(options);
        });
        let description = rig.plane().info().description.clone();
        let wanted = "drains of 10000 bytes and more without a copy";
        assert!(description.contains(wanted), "{description}");
        let (mut a, mut b) = (rig.tcp_port(1), rig.tcp_port(2));
        rig.route(key(0x77), 2, 7);
        // More than the sockets hold before the peer reads.
        const FRAMES: usize = 1500;
        let writer = std::thread::spawn(move || {
            for i in 0..FRAMES {
                let size = [20_000, 500, 9_000][i % 3];
                a.write_all(&traffic(key(0x77), 7, &payload(i, size)))
                    .unwrap();
            }
            a
        });
        let _a = writer.join().unwrap();
        rig.wait_for(|r| r.counters(1).rx_traffic_frames == FRAMES as u64);
        rig.plane().send(PortId(2), KEEPALIVE.to_vec());
        let mut keepalives = 0;
        for i in 0..FRAMES {
            let mut frame = read_frame(&mut b);
            if frame == KEEPALIVE {
                keepalives += 1;
                frame = read_frame(&mut b);
            }
            let size = [20_000, 500, 9_000][i % 3];
            assert_eq!(frame, traffic(key(0x77), 7, &payload(i, size)), "frame {i}");
        }
        if keepalives == 0 {
            assert_eq!(read_frame(&mut b), KEEPALIVE);
        }
        rig.wait_until_balanced();
        let (to, worker) = (rig.counters(2), &rig.plane().worker_stats()[0]);
        assert!(worker.zero_copy_sends > 0, "{worker:?}");
        assert_eq!(
            (to.tx_traffic_frames, to.tx_protocol_frames),
            (FRAMES as u64, 1)
        );
    }
}

#[test]
fn a_peer_that_never_reads_can_be_closed_while_the_kernel_reads_its_frames() {
    let mut rig = Rig::with(EngineChoice::Uring, 1, |options| {
        options.zero_copy = Some(1);
    });
    let (mut a, b) = (rig.tcp_port(1), rig.tcp_port(2));
    rig.route(key(0x77), 2, 7);
    while rig.counters(2).queued_bytes < 1 << 20 {
        a.write_all(&traffic(key(0x77), 7, &payload(0, 30_000)))
            .unwrap();
    }
    rig.plane()
        .remove_port(PortId(2), CloseReason::Requested("no more".into()));
    let Report::Closed { port, .. } = rig.report() else {
        panic!("something else is reported");
    };
    assert_eq!(port, PortId(2));
    // The slot belongs to another port now.
    let mut c = rig.tcp_port(3);
    rig.route(key(0x77), 3, 8);
    let frame = traffic(key(0x77), 8, &payload(1, 100));
    a.write_all(&frame).unwrap();
    loop {
        let got = read_frame(&mut c);
        if got == frame {
            break;
        }
        assert_eq!(rig::number(&got), 0, "what came before");
    }
    drop(b);
}

#[test]
fn epoll_copies_and_says_so() {
    let mut rig = Rig::with(EngineChoice::Epoll, 1, |options| {
        options.zero_copy = Some(1);
    });
    let description = rig.plane().info().description.clone();
    let wanted = "no sends without a copy: only io_uring has them";
    assert!(description.contains(wanted), "{description}");
    forwards(&mut rig);
}
