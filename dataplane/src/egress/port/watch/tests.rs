use super::*;

/// A socket. By default it is full and has no bytes to read.
#[derive(Clone, Copy, Default)]
struct Peer {
    progress: Option<u64>,
    readiness: Readiness,
}

const READABLE: Peer = Peer {
    progress: None,
    readiness: Readiness {
        readable: true,
        writable: false,
    },
};

const WRITABLE: Peer = Peer {
    progress: None,
    readiness: Readiness {
        readable: false,
        writable: true,
    },
};

impl Socket for Peer {
    fn progress(&self) -> Option<u64> {
        self.progress
    }

    fn readiness(&self) -> Readiness {
        self.readiness
    }
}

/// Runs the timers of a port with a partial frame of this length.
fn run(
    watch: &mut Watch,
    (now, looked_at): (u64, u64),
    partial: usize,
    peer: Peer,
) -> Result<Due, CloseReason> {
    let at = Now {
        now,
        looked_at,
        partial,
        is_idle: true,
    };
    watch.run(&at, &peer)
}

/// Returns the result for a next check at `next`, with a keepalive to send or without.
fn due(next: u64, keepalive: bool) -> Result<Due, CloseReason> {
    Ok(Due {
        keepalive,
        next: Some(next),
    })
}

#[test]
fn a_write_ends_the_peering_without_progress_only() {
    let mut watch = Watch::new(true, 0);
    watch.drain_begins(0);
    let mut look = |now, progress| {
        watch.received(false, now);
        let peer = Peer {
            progress: Some(progress),
            ..Peer::default()
        };
        run(&mut watch, (now, now), 0, peer)
    };
    // A byte in four seconds, for half a minute.
    for second in 1..30 {
        assert!(look(second * 1000, second / 4).is_ok(), "{second}");
    }
    // The last progress was at 28 s.
    assert!(look(32_999, 7).is_ok());
    assert_eq!(look(34_000, 7), Err(CloseReason::WriteTimeout));
}

/// A worker that was stopped finds its peers' bytes in their sockets, or has not polled them yet.
#[test]
fn a_peer_is_not_judged_by_what_has_not_been_read() {
    let mut watch = Watch::new(true, 0);
    let silent = Peer::default();
    // The worker has polled at 0, and is late. That does not delay the keepalive.
    assert_eq!(run(&mut watch, (9000, 0), 0, silent), due(9001, true));
    assert_eq!(run(&mut watch, (9001, 9000), 0, READABLE), due(9002, false));
    // A frame begins at 9002, and the worker is stopped again.
    watch.received(false, 9002);
    assert_eq!(
        run(&mut watch, (9003, 9002), 20, READABLE),
        due(12_000, false)
    );
    watch.last_rx = 15_000;
    assert_eq!(
        run(&mut watch, (15_000, 9003), 20, silent),
        due(15_001, true)
    );
    assert_eq!(
        run(&mut watch, (15_001, 15_000), 20, READABLE),
        due(15_002, false)
    );
    let ended = run(&mut watch, (15_002, 15_001), 20, silent);
    assert_eq!(ended, Err(CloseReason::SlowFrame));
    let ended = run(&mut watch, (20_000, 20_000), 0, silent);
    assert_eq!(ended, Err(CloseReason::Dead));
}

/// A worker that was stopped since the write began does not know whether the peer has taken bytes.
#[test]
fn a_write_is_not_judged_by_the_first_look() {
    let stuck = Peer::default();
    let mut watch = Watch::new(false, 0);
    watch.drain_begins(0);
    assert!(run(&mut watch, (60_000, 60_000), 0, stuck).is_ok());
    assert!(run(&mut watch, (64_999, 64_999), 0, stuck).is_ok());
    let ended = run(&mut watch, (65_000, 65_000), 0, stuck);
    assert_eq!(ended, Err(CloseReason::WriteTimeout));
    // The worker is stopped between two checks: there is room again, or it has not polled yet.
    let mut watch = Watch::new(false, 0);
    watch.drain_begins(0);
    assert!(run(&mut watch, (1000, 1000), 0, stuck).is_ok());
    assert_eq!(run(&mut watch, (9000, 1000), 0, stuck), due(9001, false));
    assert_eq!(run(&mut watch, (9001, 9000), 0, WRITABLE), due(9002, false));
    let ended = run(&mut watch, (9002, 9001), 0, stuck);
    assert_eq!(ended, Err(CloseReason::WriteTimeout));
}
