//! Another node with this node's key: its frames are distinguished from the node's own that come back.

use std::time::Duration;

use pinecone_controlplane::Config;
use pinecone_wire::announcement::{push_frame, root_payload, sign};
use pinecone_wire::frame::{HEADER_LEN, push_broadcast};
use pinecone_wire::{SecretKey, SignedBody};

use crate::bench::{Bench, UNIX_MS, bootstrap, root_announcement};

const OWN: u8 = 8;
const ROOT: u8 = 15;
const BOOTSTRAP: u8 = 2;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// Returns a node that follows a root.
fn bench() -> (Bench, pinecone_fib::PortId) {
    let mut bench = Bench::signed(Config::default());
    let root = key(ROOT);
    let port = bench.connect(root.public_key());
    bench.frame(port, &root_announcement(root.public_key(), Some(&root), 5));
    assert!(bench.closed.is_empty(), "{:?}", bench.closed);
    (bench, port)
}

fn body(signer: u8, sequence: u64) -> SignedBody {
    SignedBody::sign(&key(signer), sequence, key(ROOT).public_key(), 5)
}

/// Returns an announcement signed by these nodes, root first.
fn chain(signers: &[u8], sequence: u64) -> Vec<u8> {
    let mut payload = root_payload(&key(signers[0]).public_key(), sequence);
    let mut frame = Vec::new();
    for signer in signers {
        let signer = key(*signer);
        let signature = sign(&payload, &signer);
        frame.clear();
        push_frame(&mut frame, &payload, 1, &signer.public_key(), &signature).unwrap();
        payload = frame[HEADER_LEN + 2..].to_vec();
    }
    frame
}

#[test]
fn bootstraps_that_we_may_have_sent_do_not_count() {
    let (mut bench, port) = bench();
    let own = key(OWN).public_key();
    bench.wait(Duration::from_secs(7));
    let ours = bench.take_sent(BOOTSTRAP);
    assert!(!ours.is_empty());
    for (_, frame) in &ours {
        bench.frame(port, frame);
    }
    // Bootstraps from before a restart, and forged ones.
    bench.frame(port, &bootstrap(own, &body(OWN, UNIX_MS - 1)));
    bench.frame(port, &bootstrap(own, &body(3, UNIX_MS + 60_000)));
    let counters = bench.node.counters();
    assert_eq!(counters.bootstraps_own, ours.len() as u64 + 2);
    assert_eq!(counters.bootstraps_own_elsewhere, 0);
    // The rate of verifications is limited.
    bench.frame(port, &bootstrap(own, &body(OWN, UNIX_MS + 60_000)));
    assert_eq!(bench.node.counters().bootstraps_own_elsewhere, 0);
    for seen in 1..=3 {
        bench.wait(Duration::from_secs(seen));
        bench.frame(port, &bootstrap(own, &body(OWN, UNIX_MS + 60_000 + seen)));
        assert_eq!(bench.node.counters().bootstraps_own_elsewhere, seen);
    }
    bench.wait(Duration::from_secs(2));
    let mut broadcast = Vec::new();
    let signed = body(OWN, UNIX_MS + 90_000).encode();
    push_broadcast(&mut broadcast, (0, 5), &own, &signed).unwrap();
    bench.frame(port, &broadcast);
    assert_eq!(bench.node.counters().broadcasts_own_elsewhere, 1);
    assert!(bench.closed.is_empty());
}

/// A bootstrap counts even if its sequence is not ahead of the node's clock, as when the clocks of both nodes agree.
#[test]
fn a_bootstrap_between_two_of_ours_counts() {
    let (mut bench, port) = bench();
    let own = key(OWN).public_key();
    bench.wait(Duration::from_secs(30));
    let first = bench.take_sent(BOOTSTRAP);
    // In the first minute, frames from before a restart may still be in the network.
    bench.frame(port, &bootstrap(own, &body(OWN, UNIX_MS + 28_999)));
    assert_eq!(bench.node.counters().bootstraps_own_elsewhere, 0);
    bench.wait(Duration::from_secs(90));
    let ours = bench.take_sent(BOOTSTRAP);
    for (_, frame) in first.iter().chain(&ours) {
        bench.frame(port, frame);
    }
    assert_eq!(bench.node.counters().bootstraps_own_elsewhere, 0);
    bench.frame(port, &bootstrap(own, &body(OWN, UNIX_MS + 90_999)));
    assert_eq!(bench.node.counters().bootstraps_own_elsewhere, 1);
}

#[test]
fn only_announcements_ahead_of_ours_count() {
    let (mut bench, _) = bench();
    let peer = bench.connect(key(3).public_key());
    // Sequences that the node has announced, or may have announced before a restart.
    for sequence in [4, 5] {
        bench.frame(peer, &chain(&[ROOT, OWN, 3], sequence));
        assert_eq!(bench.node.counters().announcements_own_elsewhere, 0);
    }
    bench.frame(peer, &chain(&[ROOT, 2, 3], 6));
    assert_eq!(bench.node.counters().announcements_own_elsewhere, 0);
    bench.frame(peer, &chain(&[ROOT, OWN, 3], 7));
    assert_eq!(bench.node.counters().announcements_own_elsewhere, 1);
    assert!(bench.closed.is_empty(), "{:?}", bench.closed);
}

/// A restarted root keeps hearing its last sequence from before the restart. Only another node can bring a higher one.
#[test]
fn a_root_sequence_above_the_one_from_before_a_restart_counts() {
    let mut bench = Bench::signed(Config::default());
    let seen = |bench: &Bench| bench.node.counters().announcements_own_elsewhere;
    let first = bench.connect(key(2).public_key());
    bench.frame(first, &chain(&[OWN, 2], 40));
    bench.wait(Duration::from_secs(90));
    let second = bench.connect(key(3).public_key());
    bench.frame(second, &chain(&[OWN, 3], 40));
    assert_eq!(seen(&bench), 0);
    bench.frame(second, &chain(&[OWN, 3], 41));
    assert_eq!(seen(&bench), 1);
    bench.frame(first, &chain(&[OWN, 2], 41));
    assert_eq!(seen(&bench), 1);
}
