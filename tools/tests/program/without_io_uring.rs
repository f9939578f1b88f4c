//! A daemon that may not use io_uring, or loses it while it runs.

use pinecone_testing::{Need, skip};
use std::collections::BTreeMap;
use std::process::{Command, Output};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use tempfile::TempDir;

use crate::daemon::{Start, key, run, wait_until};
use crate::raw_peer::RawPeer;

const WHY: &str = "io_uring cannot be set up: Operation not permitted";

/// Runs `start` with `io_uring_setup` failing with EPERM, for itself and for the processes that it
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
fn a_daemon_falls_back_to_epoll_and_reports_it() {
    falls_back(&[], "127.0.0.1:0");
}

#[test]
fn a_daemon_that_relays_falls_back_as_well() {
    falls_back(&["--relay-tcp"], "127.0.0.1:0");
}

#[test]
fn a_daemon_with_websockets_falls_back_as_well() {
    falls_back(&[], "ws://127.0.0.1:0");
}

#[test]
fn a_daemon_with_tls_falls_back_as_well() {
    falls_back(&[], "tls://127.0.0.1:0");
}

fn falls_back(arguments: &'static [&'static str], listen: &'static str) {
    let left = Start {
        listen: Some(listen),
        ..Start::default()
    }
    .run();
    let connect = vec![left.address().to_owned()];
    let middle = without_io_uring(move || {
        Start {
            connect,
            arguments,
            listen: Some(listen),
            ..Start::default()
        }
        .run()
    });
    let right = middle.start_peer();
    let engine = middle.status()["engine"].clone();
    assert_eq!(engine["name"], "epoll");
    assert!(engine["reason"].as_str().unwrap().contains(WHY), "{engine}");
    assert_eq!(middle.log().matches(WHY).count(), 1, "{}", middle.log());
    // Routes lead through it and to it.
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

/// Makes `io_uring_enter` fail where a worker submits this many requests or more, which it does only
/// with several peers.
fn forbid_large_batches(requests: u64) {
    // Workers name their ring by its registered number; the runtime thread does not.
    const REGISTERED_RING: u64 = 1 << 4;
    let condition = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).unwrap()
    };
    let rule = SeccompRule::new(vec![
        condition(3, SeccompCmpOp::MaskedEq(REGISTERED_RING), REGISTERED_RING),
        condition(1, SeccompCmpOp::Ge, requests),
    ]);
    let rule = rule.unwrap();
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_io_uring_enter, vec![rule])]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOMEM as u32),
        TargetArch::try_from(std::env::consts::ARCH).unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
}

#[test]
fn a_worker_that_fails_is_one_line_and_exit_code_1() {
    let mut seeds: Vec<u8> = (1..=16).collect();
    seeds.sort_by_key(|&seed| key(seed).public_key());
    let lowest = seeds.remove(0);
    let start = move || {
        forbid_large_batches(6);
        Start {
            seed: Some(lowest),
            arguments: &["--log", "error"],
            ..Start::default()
        }
        .run()
    };
    let mut daemon = std::thread::spawn(start).join().unwrap();
    if daemon.status()["engine"]["name"] != "io_uring" {
        skip(Need::IoUring, "the daemon has chosen epoll");
        return;
    }
    // On a slow machine its own frames to the first of them may already be too many at once.
    let mut peers: Vec<_> = (seeds.iter())
        .map_while(|&seed| RawPeer::try_connect(daemon.address(), key(seed)).ok())
        .collect();
    // Each new sequence of a root is forwarded to all of them at once.
    let (mut sequence, root) = (0, peers.last_mut().unwrap());
    wait_until("the end of the daemon", || {
        sequence += 1;
        let announcement = crate::raw_peer::chain(&[&root.key], sequence);
        // Fails once it has exited.
        let _ = std::io::Write::write_all(&mut root.stream, &announcement);
        if daemon.is_running() {
            Err("runs")
        } else {
            Ok(())
        }
    });
    let (status, log) = daemon.wait_for_end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.contains("worker 0 failed: io_uring_enter: Cannot allocate memory"),
        "{log}"
    );
    for peer in &mut peers {
        peer.wait_closed();
    }
}

#[test]
fn the_limit_on_locked_memory_is_named() {
    let home = TempDir::new().unwrap();
    // The limit applies only to processes that may not lock memory at will.
    let start = |limit: &str, arguments: &[&str]| {
        Command::new("prlimit")
            .args([&format!("--memlock={limit}"), "setpriv"])
            .args(["--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"])
            .arg(env!("CARGO_BIN_EXE_pinecone"))
            .args(arguments)
            .env("XDG_STATE_HOME", home.path().join("state"))
            .env("XDG_RUNTIME_DIR", home.path())
            .env_remove("RUST_LOG")
            .output()
    };
    match start("unlimited", &["--version"]) {
        Ok(output) if output.status.success() => {}
        other => {
            skip(Need::Privileges, format!("{other:?}"));
            return;
        }
    }
    let arguments = [
        "run",
        "--listen",
        "127.0.0.1:0",
        "--engine",
        "uring",
        "--log",
        "error",
    ];
    let Output { status, stderr, .. } = start("65536", &arguments).unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let words = "the limit on locked memory is 64 KiB, raise it";
    assert!(stderr.contains(words), "{stderr}");
}
