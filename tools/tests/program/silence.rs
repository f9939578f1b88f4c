//! Stopped peers: they are dropped in time, and leave nothing behind.

use std::time::Duration;

use pinecone_wire::frame::KEEPALIVE;
use rustix::process::Signal;

use crate::daemon::{Daemon, Start, key, wait_at_most, wait_until};
use crate::raw_peer::RawPeer;

/// Returns the sockets in `/proc/net/tcp` whose line is `wanted` and that are in FIN-WAIT-1 or FIN-WAIT-2.
pub(crate) fn closing_sockets(table: &str, wanted: impl Fn(&str) -> bool) -> usize {
    let lines = table.lines().skip(1).filter(|line| wanted(line));
    let states = lines.filter_map(|line| line.split_whitespace().nth(3));
    states.filter(|state| ["04", "05"].contains(state)).count()
}

/// Returns the daemon's sockets in FIN-WAIT.
fn waiting_for_fin(daemon: &Daemon) -> usize {
    let port: u16 = daemon
        .address()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let local = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    closing_sockets(&table, |line| {
        line.split_whitespace().nth(1) == Some(local.as_str())
    })
}

fn a_stopped_peer_is_dropped(engine: &str) {
    let arguments = ["--engine", engine];
    let server = Start {
        arguments: &arguments,
        ..Start::default()
    }
    .run();
    // Longer than a revolution of the timer wheel.
    std::thread::sleep(Duration::from_secs(8));
    let client = server.start_peer();
    // The second time, the only peer has connected again.
    for idle in [4, 1] {
        wait_until("the peering", || server.peer(&client.key).ok_or("none"));
        std::thread::sleep(Duration::from_secs(idle));
        assert!(server.peer(&client.key).is_some(), "it was alive");
        client.signal(Signal::STOP);
        wait_at_most(Duration::from_secs(8), "the end of the peering", || {
            server.peer(&client.key).map_or(Ok(()), Err)
        });
        assert_eq!(waiting_for_fin(&server), 0);
        std::thread::sleep(Duration::from_secs(8));
        client.signal(Signal::CONT);
    }
    let dead = server.counter("peerings_dead");
    assert_eq!(dead, 2, "{}", server.log());
}

#[test]
fn a_stopped_peer_is_dropped_with_io_uring() {
    a_stopped_peer_is_dropped("auto");
}

#[test]
fn a_stopped_peer_is_dropped_with_epoll() {
    a_stopped_peer_is_dropped("epoll");
}

/// A daemon that is stopped and continued finds its peers' keepalives in their sockets.
fn a_stopped_daemon_keeps_its_peers(engine: &str) {
    let arguments = ["--engine", engine];
    let daemon = Start {
        arguments: &arguments,
        ..Start::default()
    }
    .run();
    let mut peer = RawPeer::announced(daemon.address(), key(1));
    let peer_key = peer.key.public_key();
    for _ in 0..2 {
        peer.send(&KEEPALIVE);
        let received = || {
            let port = daemon.peer(&peer_key).ok_or("none")?;
            let frames = port["rx_protocol_frames"].as_u64().ok_or("no counter")?;
            Ok::<_, &str>(frames)
        };
        wait_until("the peering", received);
        let (before, dead) = (received().unwrap(), daemon.counter("peerings_dead"));
        daemon.signal(Signal::STOP);
        peer.send(&KEEPALIVE);
        // Longer than a peer may be silent.
        std::thread::sleep(Duration::from_millis(5500));
        daemon.signal(Signal::CONT);
        wait_until("the keepalive", || match received() {
            Ok(frames) if frames > before => Ok(()),
            other => Err(format!("{other:?}: {}", daemon.log())),
        });
        assert_eq!(daemon.counter("peerings_dead"), dead, "{}", daemon.log());
    }
}

#[test]
fn a_stopped_daemon_keeps_its_peers_with_io_uring() {
    a_stopped_daemon_keeps_its_peers("auto");
}

#[test]
fn a_stopped_daemon_keeps_its_peers_with_epoll() {
    a_stopped_daemon_keeps_its_peers("epoll");
}
