//! Handshakes where io_uring is forbidden.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{Means, Server, key, transports};
use pinecone_transports::{Backend, Limits, Runtime};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// Makes `io_uring_setup` fail with EPERM, for this thread and those that it starts.
fn forbid_io_uring() {
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        TargetArch::try_from(std::env::consts::ARCH).unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
}

#[test]
fn the_detected_backend_is_tokio_and_shakes_hands() {
    let test = || {
        forbid_io_uring();
        assert!(Runtime::new(Backend::TokioUring).is_err());
        assert_eq!(Backend::detect(), Backend::Tokio);
        let runtime = Runtime::detect().unwrap();
        assert_eq!(runtime.backend(), Backend::Tokio);
        runtime.block_on(async {
            for relay_tcp in [false, true] {
                let backend = runtime.backend();
                let means = Means { backend, relay_tcp };
                let mut server = Server::start(means, Limits::default());
                let client = transports(means, &key(2), Limits::default());
                let ours = client.dial(&server.peer_uri()).await.unwrap();
                let theirs = server.established.recv().await.unwrap();
                assert_eq!(ours.key, key(1).public_key());
                assert_eq!(theirs.key, key(2).public_key());
            }
        });
    };
    std::thread::spawn(test).join().unwrap();
}
