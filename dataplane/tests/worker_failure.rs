//! Workers that cannot go on, because a system call that they wait in is forbidden, or because they
//! panic.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[macro_use]
mod rig;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use pinecone_dataplane::{
    CloseReason, EngineChoice, LinkType, PortId, PortOptions, Report, WorkerError,
};
use pinecone_wire::PublicKey;
use rig::{Rig, key, payload, read_frame, traffic};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

const KEY: PublicKey = key(0x77);
/// A payload that makes the worker that receives it fail.
const BAIT: &[u8] = b"bait";

/// Makes waiting fail with ENOMEM for the calling thread alone.
fn forbid_waiting() {
    let calls = [
        libc::SYS_io_uring_enter,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
    ];
    let filter = SeccompFilter::new(
        calls
            .into_iter()
            .map(|call| (call, Vec::new()))
            .collect::<BTreeMap<_, _>>(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOMEM as u32),
        TargetArch::try_from(std::env::consts::ARCH).unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
}

/// Returns a rig whose workers call `fail` when they receive the bait. Filters run on the worker's own thread.
fn rig(engine: EngineChoice, workers: usize, fail: fn()) -> Rig {
    let rig = Rig::new(engine, workers);
    rig.filter(move |_, frame| {
        if frame.ends_with(BAIT) {
            fail();
        }
        true
    });
    rig
}

fn bait() -> Vec<u8> {
    traffic(key(0x66), 7, BAIT)
}

/// Returns the failure that is reported next, and the ports that close because of it.
fn failure(rig: &Rig, ports: usize) -> (WorkerError, Vec<u32>) {
    let error = loop {
        if let Report::WorkerFailed(error) = rig.report() {
            break error;
        }
    };
    let mut closed: Vec<_> = (0..ports)
        .map(|_| {
            let (port, reason) = rig.report_within(Duration::from_secs(20)).unwrap();
            assert_eq!(reason, CloseReason::Worker(error.clone()));
            port.0
        })
        .collect();
    closed.sort_unstable();
    (error, closed)
}

fn call(engine: EngineChoice) -> &'static str {
    match engine {
        EngineChoice::Uring => "io_uring_enter",
        _ => "epoll_wait",
    }
}

fn a_failed_worker_closes_its_ports_and_says_why(engine: EngineChoice) {
    let mut rig = rig(engine, 1, forbid_waiting);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    a.write_all(&bait()).unwrap();
    let (error, closed) = failure(&rig, 2);
    let expected = WorkerError::System {
        worker: 0,
        call: call(engine),
        error: libc::ENOMEM,
    };
    assert_eq!((error, closed), (expected.clone(), vec![1, 2]));
    // The peers notice at once.
    for peer in [&mut a, &mut b] {
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
    // No worker is left to take another port, or a frame.
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let options = PortOptions {
        link: LinkType::Pipe,
        keepalives: false,
    };
    rig.plane().add_port(PortId(3), ours.into(), options);
    let closed = rig.report_within(Duration::from_secs(20));
    assert_eq!(closed, Some((PortId(3), CloseReason::Worker(expected))));
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    assert!(!rig.plane().inject(traffic(KEY, 7, b""), None));
    assert_eq!(rig.plane().worker_stats()[0].ports, 0);
}

fn the_other_workers_go_on_and_rest(engine: EngineChoice) {
    let mut rig = rig(engine, 2, forbid_waiting);
    // Ports are assigned to the workers alternately.
    let (mut a, _b) = (rig.port(1), rig.port(2));
    let (_c, mut d) = (rig.port(3), rig.port(4));
    rig.route(KEY, 1, 7);
    a.write_all(&bait()).unwrap();
    // Frames for a port of the worker that fails.
    for i in 0..2000 {
        d.write_all(&traffic(KEY, 7, &payload(i, 5000))).unwrap();
    }
    let (_, closed) = failure(&rig, 2);
    assert_eq!(closed, [1, 3]);
    rig.wait_for(|r| r.counters(4).rx_traffic_frames == 2000);
    // New ports go to the worker that is left.
    let mut e = rig.port(5);
    rig.route(key(0x78), 5, 9);
    let frame = traffic(key(0x78), 9, b"there");
    d.write_all(&frame).unwrap();
    assert_eq!(read_frame(&mut e), frame);
    // A worker that kept offering blocks would not sleep for longer than 200 us.
    rig.wait_for(|r| {
        let iterations = |r: &Rig| r.plane().worker_stats()[1].iterations;
        let before = iterations(r);
        std::thread::sleep(Duration::from_millis(200));
        iterations(r) == before
    });
}

fn a_worker_that_panics_has_failed(engine: EngineChoice) {
    let mut rig = Rig::new(engine, 1);
    rig.panic_on_delivery();
    let mut a = rig.port(1);
    a.write_all(&traffic(rig.own_key(), 7, b"")).unwrap();
    let (error, closed) = failure(&rig, 1);
    let expected = WorkerError::Panicked {
        worker: 0,
        message: "on purpose".into(),
    };
    assert_eq!((error, closed), (expected, vec![1]));
    assert_eq!(a.read(&mut [0]).unwrap_or(0), 0);
    // The frames of the failed iteration are in no counter.
    std::mem::forget(rig);
}

with_every_engine! {
    a_failed_worker_closes_its_ports_and_says_why
    the_other_workers_go_on_and_rest
    a_worker_that_panics_has_failed
}
