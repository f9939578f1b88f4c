//! Timers of peerings that open on a worker that has been idle.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::{Daemon, Start, wait_at_most};

/// Longer than the 6.4 s that the worker's timer wheel spans.
const IDLE: Duration = Duration::from_secs(8);
/// Longer than the 3 s after which a keepalive is due.
const QUIET: Duration = Duration::from_secs(4);

fn start(engine: &str) -> Daemon {
    Start {
        arguments: &["--engine", engine],
        ..Start::default()
    }
    .run()
}

/// A stopped peer is dropped 5 s after its last byte.
fn is_noticed(daemon: &Daemon, peer: &Daemon) {
    let id = Pid::from_raw(peer.process_id() as i32).unwrap();
    kill_process(id, Signal::STOP).unwrap();
    wait_at_most(Duration::from_secs(12), "a stopped peer to go", || {
        daemon.peer(&peer.key).map_or(Ok(()), Err)
    });
    kill_process(id, Signal::KILL).unwrap();
}

fn a_peer_after_an_idle_time_is_timed(engine: &str) {
    let daemon = start(engine);
    for _ in 0..2 {
        // The test is about time: the worker must sleep this long without a port.
        std::thread::sleep(IDLE);
        let peer = daemon.start_peer();
        daemon.wait_for_ping(&peer.key);
        // Only keepalives keep the peering up.
        std::thread::sleep(QUIET);
        assert!(daemon.peer(&peer.key).is_some());
        is_noticed(&daemon, &peer);
    }
}

#[test]
fn a_peer_after_an_idle_time_is_timed_by_either_engine() {
    std::thread::scope(|scope| {
        scope.spawn(|| a_peer_after_an_idle_time_is_timed("epoll"));
        scope.spawn(|| a_peer_after_an_idle_time_is_timed("auto"));
    });
}
