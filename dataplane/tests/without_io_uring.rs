//! Data planes where io_uring is forbidden: epoll instead, or one clear error.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod rig;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use pinecone_dataplane::{
    DataPlane, DataPlaneError, DataPlaneOptions, Delivery, EngineChoice, PortId,
};
use pinecone_fib::FibWriter;
use pinecone_wire::TrafficLayout;
use rig::{Rig, key, payload, read_frame, traffic};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// Makes `io_uring_setup` fail with this error, for this thread and those that it starts.
fn forbid_io_uring(error: i32) {
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(error as u32),
        TargetArch::try_from(std::env::consts::ARCH).unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
}

#[test]
fn auto_takes_epoll_says_so_and_forwards() {
    // The errors of a container that forbids it, and of an old kernel that does not have it.
    let errors = [
        (libc::EPERM, "Operation not permitted"),
        (libc::ENOSYS, "Function not implemented"),
    ];
    for (error, words) in errors {
        let test = move || {
            forbid_io_uring(error);
            let mut rig = Rig::new(EngineChoice::Auto, 2);
            let info = rig.plane().info();
            assert_eq!(info.name, "epoll");
            let why = format!("io_uring cannot be set up: {words}");
            assert!(info.description.contains(&why), "{info:?}");
            assert_eq!(info.cores.len(), 2);
            let (mut a, mut b) = (rig.port(1), rig.port(2));
            rig.route(key(0x77), 2, 7);
            for i in 0..50 {
                let frame = traffic(key(0x77), 7, &payload(i, 1000 * i));
                a.write_all(&frame).unwrap();
                assert_eq!(read_frame(&mut b), frame);
            }
            let counters = rig.counters(1);
            assert_eq!(
                (counters.rx_traffic_frames, counters.total_dropped()),
                (50, 0)
            );
            rig.port(3)
                .write_all(&traffic(rig.own_key(), 3, b"for us"))
                .unwrap();
            rig.wait_for(|r| !r.delivered().is_empty());
            assert_eq!(rig.delivered()[0].0, PortId(3));
        };
        std::thread::spawn(test).join().unwrap();
    }
}

#[test]
fn uring_or_nothing_is_nothing() {
    struct Nobody;
    impl Delivery for Nobody {
        fn deliver(&self, _: PortId, _: &[u8], _: &TrafficLayout) -> bool {
            false
        }
    }
    let test = || {
        forbid_io_uring(libc::EPERM);
        let options = DataPlaneOptions {
            engine: EngineChoice::Uring,
            ..DataPlaneOptions::default()
        };
        let (_writer, fib) = FibWriter::new(key(0x55));
        DataPlane::start(options, fib, Arc::new(Nobody)).map(|_| ())
    };
    match std::thread::spawn(test).join().unwrap() {
        Err(DataPlaneError::Uring { source }) => {
            assert_eq!(source.raw_os_error(), Some(libc::EPERM));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn epoll_when_asked_for() {
    let rig = Rig::new(EngineChoice::Epoll, 1);
    let info = rig.plane().info();
    assert_eq!(info.name, "epoll");
    assert!(info.description.starts_with("asked for"), "{info:?}");
}
