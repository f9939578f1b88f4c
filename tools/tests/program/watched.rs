//! A daemon whose healthy peering is watched while other peers misbehave.

use pinecone_wire::SecretKey;
use pinecone_wire::frame::HEADER_LEN;

use crate::daemon::{Daemon, PATIENCE, Start, key, wait_until};
use crate::raw_peer::RawPeer;

/// A daemon and a well-behaved peer of it.
pub(crate) struct Watched {
    pub(crate) daemon: Daemon,
    pub(crate) witness: Daemon,
}

impl Watched {
    pub(crate) fn start() -> Self {
        Self::of(Daemon::start())
    }

    pub(crate) fn of(daemon: Daemon) -> Self {
        let witness = daemon.start_peer();
        witness.wait_for_ping(&daemon.key);
        Self { daemon, witness }
    }

    /// Starts both with these keys.
    pub(crate) fn of_seeds(daemon: u8, witness: u8) -> Self {
        let start = Start {
            seed: Some(daemon),
            ..Start::default()
        };
        let daemon = start.run();
        let start = Start {
            seed: Some(witness),
            connect: vec![daemon.address().to_owned()],
            ..Start::default()
        };
        let witness = start.run();
        witness.wait_for_ping(&daemon.key);
        Self { daemon, witness }
    }

    pub(crate) fn address(&self) -> &str {
        self.daemon.address()
    }

    /// Returns a peer that has announced itself to the daemon.
    pub(crate) fn peer(&self, key: SecretKey) -> RawPeer {
        let peer = RawPeer::announced(self.address(), key);
        let public = peer.key.public_key();
        wait_until("the announcement to arrive", || {
            let known = self.daemon.peer(&public);
            known
                .filter(|peer| peer["root"].is_string())
                .ok_or("not yet")
        });
        peer
    }

    pub(crate) fn wait_for_counter(&self, name: &str, value: u64) {
        wait_until(name, || {
            let now = self.daemon.counter(name);
            if now >= value {
                Ok(())
            } else {
                Err(format!("{now} of {value}"))
            }
        });
    }

    /// Asserts that the daemon closes the peering and logs the reason.
    pub(crate) fn assert_closed(&self, peer: &mut RawPeer, reason: &str) {
        peer.wait_closed();
        let public = peer.key.public_key().to_string();
        wait_until("the reason in the log", || {
            let log = self.daemon.log();
            let said = log.lines().any(|line| {
                line.contains("peering down") && line.contains(&public) && line.contains(reason)
            });
            if said {
                Ok(())
            } else {
                Err(format!("{reason:?} is not in {log}"))
            }
        });
    }

    /// Asserts that both still run, and that their peering never ended and works.
    pub(crate) fn assert_unharmed(mut self) {
        assert!(self.daemon.is_running(), "{}", self.daemon.log());
        self.witness
            .ping(&self.daemon.key, PATIENCE)
            .expect("the other peering still works");
        let log = self.daemon.log();
        assert!(!log.contains("panicked"), "{log}");
        let witness = self.witness.key.to_string();
        let lost = log
            .lines()
            .find(|l| l.contains("peering down") && l.contains(&witness));
        assert_eq!(lost, None);
    }
}

pub(crate) fn header(kind: u8, len: u16) -> Vec<u8> {
    let mut frame = b"pine\0".to_vec();
    frame.extend([kind, 0, 0]);
    frame.extend(len.to_be_bytes());
    frame
}

pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = header(kind, (HEADER_LEN + body.len()) as u16);
    frame.extend(body);
    frame
}

/// Returns all seeds, that of the lowest key first.
pub(crate) fn seeds_by_key() -> [u8; 256] {
    let mut seeds = std::array::from_fn(|seed| seed as u8);
    seeds.sort_by_key(|seed| key(*seed).public_key());
    seeds
}
