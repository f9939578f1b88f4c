//! A daemon that may not have io_uring.

use std::collections::BTreeMap;
use std::process::Output;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use tempfile::TempDir;

use crate::daemon::{Daemon, Start, run};

const WHY: &str = "io_uring cannot be set up: Operation not permitted";

/// Runs `start` where `io_uring_setup` fails with EPERM, for itself and for the processes that it
/// starts.
fn without_io_uring<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> T {
    let filtered = move || {
        let filter = SeccompFilter::new(
            BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EPERM as u32),
            TargetArch::try_from(std::env::consts::ARCH).unwrap(),
        );
        let program: BpfProgram = filter.unwrap().try_into().unwrap();
        apply_filter(&program).unwrap();
        start()
    };
    std::thread::spawn(filtered).join().unwrap()
}

#[test]
fn a_daemon_goes_without_and_says_so() {
    let left = Daemon::start();
    let connect = vec![left.address().to_owned()];
    let middle = without_io_uring(|| {
        Start {
            connect,
            ..Start::default()
        }
        .run()
    });
    let right = middle.start_peer();
    let engine = middle.status()["engine"].clone();
    assert_eq!(engine["name"], "epoll");
    assert!(engine["reason"].as_str().unwrap().contains(WHY), "{engine}");
    assert_eq!(middle.log().matches(WHY).count(), 1, "{}", middle.log());
    // Ways lead through it, and to it.
    left.wait_for_ping(&right.key);
    right.wait_for_ping(&left.key);
    right.wait_for_ping(&middle.key);
    assert!(left.peer(&right.key).is_none(), "there is no other way");
}

#[test]
fn uring_or_nothing_is_one_line_and_exit_code_1() {
    let home = TempDir::new().unwrap();
    let (
        Output {
            status,
            stdout,
            stderr,
        },
        _home,
    ) = without_io_uring(|| {
        let arguments = "run --listen 127.0.0.1:0 --log error --engine uring";
        let arguments: Vec<_> = arguments.split(' ').collect();
        (run(home.path(), &arguments), home)
    });
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stdout.is_empty());
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(WHY), "{stderr}");
    assert!(stderr.contains("engines auto and epoll"), "{stderr}");
}

#[test]
fn epoll_when_asked_for() {
    let daemon = Start {
        arguments: &["--engine", "epoll"],
        ..Start::default()
    }
    .run();
    assert_eq!(daemon.status()["engine"]["name"], "epoll");
    let peer = daemon.start_peer();
    peer.wait_for_ping(&daemon.key);
}
