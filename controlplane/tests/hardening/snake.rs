//! Bootstraps: which are accepted, and when the node sends its own.

use std::time::Duration;

use pinecone_controlplane::{Config, Now};
use pinecone_wire::{Extensions, Frame, PublicKey, SignedBody, Watermark, frame};

use crate::bench::{
    Bench, ROOT, UNIX_MS, bootstrap, broadcast, made_up, three_peers, three_peers_offering,
    unsigned_body,
};

#[test]
fn a_flood_of_made_up_keys_does_not_displace_other_routes() {
    let config = Config {
        max_routes: 10_000,
        max_routes_per_peer: 9_000,
        max_remembered_sequences: 5_000,
        ..Config::default()
    };
    let (mut bench, [_, honest, flooder]) = three_peers(config);
    let own_routes = |bench: &Bench| bench.node.peers()[1].routes;
    let honest_keys: Vec<_> = (0..2_000).map(|n| made_up(1_000_000 + n)).collect();
    for round in 0..5 {
        let sequence = bench.now.unix_ms;
        // All keys of the flood are new.
        for n in 0..20_000 {
            let body = unsigned_body(sequence, ROOT, 1);
            bench.frame(flooder, &bootstrap(made_up(round * 20_000 + n), &body));
        }
        for key in &honest_keys {
            bench.frame(honest, &bootstrap(*key, &unsigned_body(sequence, ROOT, 1)));
        }
        assert_eq!(own_routes(&bench), 2_000, "round {round}");
        assert!(bench.node.status().routes <= 10_000);
        assert_eq!(bench.routes_in_fib(), bench.node.status().routes);
        bench.sent.clear();
        bench.events.clear();
        // Too short for the honest routes to expire.
        bench.wait(Duration::from_secs(5));
    }
    let counters = bench.node.counters();
    assert!(counters.routes_refused >= 60_000, "{counters}");
    assert!(counters.routes_evicted >= 1_000, "{counters}");
    assert!(bench.closed.is_empty());
}

#[test]
fn a_bootstrap_is_accepted_once_even_if_its_route_has_expired() {
    let (mut bench, [_, port, other]) = three_peers(Config::default());
    let key = made_up(1);
    let first = bootstrap(key, &unsigned_body(UNIX_MS, ROOT, 1));
    bench.frame(port, &first);
    assert_eq!(bench.node.status().routes, 1);
    bench.frame(other, &first);
    assert_eq!(bench.node.counters().bootstraps_stale, 1);
    bench.wait(Duration::from_millis(9_999));
    assert_eq!(bench.node.status().routes, 1);
    bench.wait(Duration::from_millis(1));
    assert_eq!(bench.node.status().routes, 0, "exactly at 10 s");
    assert_eq!(bench.routes_in_fib(), 0);
    bench.frame(other, &first);
    assert_eq!(bench.node.counters().bootstraps_stale, 2);
    // The next bootstrap of that node is accepted.
    bench.frame(port, &bootstrap(key, &unsigned_body(UNIX_MS + 1, ROOT, 1)));
    assert_eq!(bench.node.status().routes, 1);
    // A node whose clock was set back gets through once its last sequence is forgotten, however often it was refused.
    let earlier = bootstrap(key, &unsigned_body(UNIX_MS - 3_600_000, ROOT, 1));
    for _ in 0..69 {
        bench.frame(port, &earlier);
        bench.wait(Duration::from_secs(1));
    }
    assert_eq!(bench.node.counters().bootstraps_stale, 2 + 69);
    bench.wait(Duration::from_secs(1));
    bench.frame(port, &earlier);
    assert_eq!(bench.node.status().routes, 1);
}

#[test]
fn sequences_far_ahead_are_refused_and_those_behind_are_not() {
    let (mut bench, [_, port, _]) = three_peers(Config::default());
    let day = 86_400_000;
    // Most clocks agree with the node's.
    for n in 10..14 {
        let body = unsigned_body(UNIX_MS, ROOT, 1);
        bench.frame(port, &broadcast(1, made_up(n), &body));
    }
    bench.frame(port, &bootstrap(made_up(1), &unsigned_body(1, ROOT, 1)));
    bench.frame(
        port,
        &bootstrap(made_up(2), &unsigned_body(UNIX_MS + day, ROOT, 1)),
    );
    assert_eq!(bench.node.status().routes, 2);
    bench.frame(
        port,
        &bootstrap(made_up(3), &unsigned_body(UNIX_MS + day + 1, ROOT, 1)),
    );
    assert_eq!(bench.node.status().routes, 2);
    assert_eq!(bench.node.counters().bootstraps_future, 1);
    // A machine without a battery-backed clock starts in 1970 and must not refuse everybody.
    bench.now.unix_ms = 0;
    bench.frame(
        port,
        &bootstrap(made_up(4), &unsigned_body(UNIX_MS, ROOT, 1)),
    );
    assert_eq!(bench.node.status().routes, 3);
}

#[test]
fn own_sequences_never_decrease() {
    let (mut bench, [_, port, _]) = three_peers(Config::default());
    let mut sequences = Vec::new();
    let mut note = |bench: &mut Bench| {
        for (_, frame) in bench.take_sent(2) {
            let Ok((_, Frame::Bootstrap { payload, .. })) = Frame::parse(&frame) else {
                panic!("no bootstrap");
            };
            sequences.push(SignedBody::decode(payload).unwrap().0.sequence);
        }
    };
    bench.wait(Duration::from_secs(12));
    note(&mut bench);
    // The clock is set back by an hour.
    for second in 13..30 {
        bench.now = Now {
            monotonic: Duration::from_secs(second),
            unix_ms: UNIX_MS - 3_600_000,
        };
        bench.node.tick(bench.now);
        bench.drain();
    }
    note(&mut bench);
    // A bootstrap may be sent twice.
    sequences.dedup();
    assert!(sequences.len() >= 5, "{sequences:?}");
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    assert!(bench.node.peers().iter().any(|peer| peer.port == port));
}

#[test]
fn a_bootstrap_is_forwarded_in_canonical_form_with_header_and_watermark() {
    let (mut bench, [root, port, _]) = three_peers_offering(Config::default(), Extensions::NONE);
    let key = made_up(1);
    let body = unsigned_body(UNIX_MS, ROOT, 1);
    let mut padded = body.encode();
    padded.extend_from_slice(b"left over");
    let mut frame = Vec::new();
    frame::push_bootstrap(&mut frame, (7, 9), &key, &Watermark::START, &padded).unwrap();
    bench.frame(port, &frame);
    // It ends here, as the best key above it that the node knows is its own.
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(bench.node.counters().bootstraps_ended, 1);
    assert_eq!(bench.node.status().descending, Some(key));
    // A bootstrap of a key above the node's is sent to the peer with the next key above it.
    let mut above = [0x90; 32];
    above[0] = 0xc0;
    let above = PublicKey(above);
    let mut frame = Vec::new();
    frame::push_bootstrap(&mut frame, (7, 9), &above, &Watermark::START, &padded).unwrap();
    bench.frame(port, &frame);
    let mut expected = Vec::new();
    let watermark = Watermark {
        key: ROOT,
        sequence: 0,
    };
    frame::push_bootstrap(&mut expected, (7, 9), &above, &watermark, &body.encode()).unwrap();
    assert_eq!(bench.take_sent(2), [(root, expected)]);
    // It is not forwarded to the port that it came from.
    bench.wait(Duration::from_millis(10));
    let body = unsigned_body(UNIX_MS + 10, ROOT, 1);
    bench.frame(root, &bootstrap(above, &body));
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(bench.node.counters().bootstraps_backwards, 1);
    // It is not forwarded if its watermark would get worse.
    let low = Watermark {
        key: PublicKey([0xc1; 32]),
        sequence: 0,
    };
    let mut frame = Vec::new();
    let body = unsigned_body(UNIX_MS + 11, ROOT, 1);
    frame::push_bootstrap(&mut frame, (0, 0), &above, &low, &body.encode()).unwrap();
    bench.frame(port, &frame);
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(bench.node.counters().bootstraps_watermark, 1);
}

/// After a change, three bootstraps are sent within three seconds, then one every five.
#[test]
fn bootstraps_are_sent_sooner_after_a_change() {
    let (mut bench, [_, a, _]) = three_peers(Config::default());
    let seconds_of_bootstraps = |bench: &mut Bench, seconds: u64| {
        let mut found = Vec::new();
        for second in 1..=seconds {
            bench.wait(Duration::from_secs(1));
            if !bench.take_sent(2).is_empty() {
                found.push(second);
            }
        }
        found
    };
    assert_eq!(seconds_of_bootstraps(&mut bench, 20), [1, 2, 4, 9, 14, 19]);
    // The descending node changes.
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &bootstrap(made_up(1), &body));
    bench.take_sent(2);
    assert_eq!(seconds_of_bootstraps(&mut bench, 9), [1, 2, 4, 9]);
}
