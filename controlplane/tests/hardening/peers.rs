//! The conditions for being a peer.

use std::time::Duration;

use pinecone_controlplane::{CloseReason, Config, NewPeer, Refused};
use pinecone_fib::LinkType;
use pinecone_wire::{SecretKey, SignedBody, Watermark, frame};

use crate::bench::{Bench, PEER_A, UNIX_MS, bootstrap, broadcast, root_announcement, three_peers};

#[test]
fn nothing_is_accepted_from_a_peer_that_has_sent_no_announcement() {
    let mut bench = Bench::signed(Config::default());
    let victim = SecretKey::from_seed(&[3; 32]);
    let own = bench.node.public_key();
    let impostor = bench.connect(victim.public_key());
    let body = SignedBody::sign(&victim, UNIX_MS, own, 1);
    bench.frame(impostor, &bootstrap(victim.public_key(), &body));
    bench.frame(impostor, &broadcast(5, victim.public_key(), &body));
    assert_eq!(bench.node.status().routes, 0);
    assert_eq!(bench.node.counters().frames_unannounced, 2);
    bench.wait(Duration::from_secs(29));
    assert_eq!(bench.closed, []);
    bench.wait(Duration::from_secs(2));
    assert!(matches!(
        bench.closed[..],
        [(port, CloseReason::Unannounced { .. })] if port == impostor
    ));
    // A peer whose announcement has a bad signature is closed at once.
    let again = bench.connect(victim.public_key());
    let other = SecretKey::from_seed(&[4; 32]);
    let forged = root_announcement(victim.public_key(), Some(&other), 1);
    bench.frame(again, &forged);
    assert_eq!(bench.closed.len(), 2);
    assert_eq!(bench.node.counters().announcements_refused, 1);
    assert_eq!(bench.node.counters().peers_closed, 2);
    assert_eq!(bench.node.counters().peers_unannounced, 1);
}

#[test]
fn our_own_key_and_too_many_are_refused() {
    let mut bench = Bench::unsigned(Config {
        max_peers: 2,
        ..Config::default()
    });
    let link = LinkType::Remote;
    let own = bench.node.public_key();
    let refused = bench.node.connect(bench.now, NewPeer::new(own, link));
    assert_eq!(refused, Err(Refused::OwnKey));
    bench.connect(PEER_A);
    bench.connect(PEER_A);
    let refused = bench.node.connect(bench.now, NewPeer::new(PEER_A, link));
    assert_eq!(refused, Err(Refused::TooMany { limit: 2 }));
    let counters = bench.node.counters();
    assert_eq!((counters.peers_own_key, counters.peers_over_limit), (1, 1));
}

#[test]
fn malformed_frames_close_their_peering() {
    let (mut bench, [root, a, b]) = three_peers(Config::default());
    bench.frame(a, b"pine\0\x02\0\0\0\x0b\0");
    bench.frame(b, &{
        let mut out = Vec::new();
        frame::push_broadcast(&mut out, (0, 5), &PEER_A, &[0; 97]).unwrap();
        out
    });
    assert!(matches!(
        bench.closed[..],
        [(x, CloseReason::Frame(_)), (y, CloseReason::Broadcast(_))] if (x, y) == (a, b)
    ));
    // A malformed bootstrap is dropped, and so are frames on a closed port.
    let mut out = Vec::new();
    frame::push_bootstrap(&mut out, (0, 0), &PEER_A, &Watermark::START, &[0; 97]).unwrap();
    bench.frame(root, &out);
    bench.frame(a, b"garbage");
    assert_eq!(bench.closed.len(), 2);
    assert_eq!(bench.node.counters().bootstraps_malformed, 1);
    assert_eq!(bench.node.peers().len(), 1);
}
