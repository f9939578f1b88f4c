//! Notices of broken paths.

use std::time::Duration;

use pinecone_controlplane::{Config, Counters};
use pinecone_fib::PortId;
use pinecone_wire::{Extensions, Frame, PublicKey, SecretKey, SignedBody, Watermark};

use crate::bench::{
    Bench, PEER_B, ROOT, UNIX_MS, bootstrap, bootstrap_to, child_announcement, made_up,
    root_announcement, three_peers, three_peers_offering, unsigned_body,
};

/// Keys whose bootstraps take these ways: two from a to b, one from b to a, and one from b to the root.
const UP: PublicKey = PublicKey([0xa8; 32]);
const UP_TOO: PublicKey = PublicKey([0xa9; 32]);
const DOWN: PublicKey = PublicKey([0x98; 32]);
const ABOVE: PublicKey = PublicKey([0xc0; 32]);

#[test]
fn keys_whose_paths_used_a_lost_peering_are_notified() {
    let (mut bench, [_, a, b]) = with_paths(correcting());
    bench.node.closed(bench.now, b);
    bench.drain();
    let sequence = UNIX_MS;
    assert_eq!(
        bench.take_sent(2),
        [(a, notice(UP, sequence)), (a, notice(UP_TOO, sequence))]
    );
    assert_eq!(bench.node.counters().break_notices_sent, 2);
    // The routes that came from a stay. Only their next hop is gone.
    assert_eq!(bench.routes_in_fib(), 2);
}

#[test]
fn no_notice_is_sent_if_nothing_is_broken_or_notices_are_off() {
    let (mut bench, [_, _, b]) = with_paths(plain());
    bench.node.closed(bench.now, b);
    bench.drain();
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(bench.node.counters().break_notices_sent, 0);

    let (mut bench, [_, _, b]) = with_paths(correcting());
    let again = bench.connect(PEER_B);
    bench.frame(again, &child_announcement(ROOT, 1, PEER_B));
    bench.node.closed(bench.now, b);
    bench.drain();
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(bench.routes_in_fib(), 4);
    // No notice is sent to the lost peering about paths that came from it.
    let (mut bench, [_, _, b]) = three_peers(correcting());
    let own = PublicKey([0xb0 - 1; 32]);
    bench.frame(b, &bootstrap(own, &unsigned_body(UNIX_MS, ROOT, 1)));
    bench.take_sent(2);
    bench.node.closed(bench.now, b);
    bench.drain();
    assert!(bench.take_sent(2).iter().all(|(to, _)| *to != b));
}

/// A peer that does not offer to understand notices receives none, and none are accepted from it.
#[test]
fn peers_that_offer_nothing_receive_no_notices() {
    let (mut bench, [_, _, b]) = with_paths_among(correcting(), Extensions::NONE);
    bench.frame(b, &notice(ABOVE, UNIX_MS));
    assert_eq!(bench.node.counters().break_notices, 0);
    bench.node.closed(bench.now, b);
    bench.drain();
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(bench.node.counters().break_notices_sent, 0);
}

#[test]
fn a_notice_is_forwarded_to_where_bootstraps_came_from() {
    let (mut bench, [root, a, b]) = with_paths(correcting());
    // Notices about another bootstrap, from another port, about another key.
    for (port, key, sequence) in [
        (b, UP, UNIX_MS - 1),
        (root, UP, UNIX_MS),
        (a, UP, UNIX_MS),
        (b, DOWN, UNIX_MS),
        (b, made_up(1), UNIX_MS),
    ] {
        bench.frame(port, &notice(key, sequence));
        assert_eq!(bench.take_sent(2), []);
    }
    bench.frame(b, &notice(UP, UNIX_MS));
    assert_eq!(bench.take_sent(2), [(a, notice(UP, UNIX_MS))]);
    // A notice is forwarded once for each bootstrap, and removes no route.
    bench.frame(b, &notice(UP, UNIX_MS));
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(bench.routes_in_fib(), 4);
    let Counters {
        break_notices,
        break_notices_sent,
        bootstraps_stale,
        ..
    } = bench.node.counters();
    let counted = (break_notices, break_notices_sent, bootstraps_stale);
    assert_eq!(counted, (7, 1, 0));
    bench.frame(a, &bootstrap(UP, &unsigned_body(UNIX_MS + 1, ROOT, 1)));
    bench.take_sent(2);
    bench.frame(b, &notice(UP, UNIX_MS + 1));
    assert_eq!(bench.take_sent(2), [(a, notice(UP, UNIX_MS + 1))]);
}

#[test]
fn a_node_whose_path_is_broken_bootstraps_at_once_within_limits() {
    let (mut bench, [root, ..]) = three_peers(correcting());
    // Waits for the bootstraps after the start, and one more.
    bench.wait(Duration::from_secs(10));
    let last = |bench: &mut Bench| {
        let (to, frame) = bench.take_sent(2).pop()?;
        let Ok((_, Frame::Bootstrap { payload, .. })) = Frame::parse(&frame) else {
            return None;
        };
        let (body, _) = SignedBody::decode(payload).ok()?;
        Some((to, body.sequence))
    };
    let (next, sequence) = last(&mut bench).unwrap();
    let own = bench.node.public_key();
    bench.wait(Duration::from_secs(1));
    // Notices about another key, or about an earlier bootstrap, are ignored.
    bench.frame(next, &notice(made_up(1), sequence));
    bench.frame(next, &notice(own, sequence - 1));
    bench.wait(Duration::from_secs(1));
    assert_eq!(last(&mut bench), None);
    bench.frame(next, &notice(own, sequence));
    bench.wait(Duration::from_secs(1));
    let (_, mut sequence) = last(&mut bench).unwrap();
    assert_eq!(bench.node.counters().paths_renewed, 1);
    assert_eq!(bench.node.counters().bootstraps_own, 0);
    // The rate of heeded notices is limited.
    let before = bench.node.counters().bootstraps_sent;
    for _ in 0..600 {
        bench.frame(root, &notice(own, sequence));
        bench.wait(Duration::from_millis(100));
        sequence = last(&mut bench).map_or(sequence, |(_, sequence)| sequence);
    }
    let sent = bench.node.counters().bootstraps_sent - before;
    assert!(bench.node.counters().paths_renewed <= 13);
    assert!((30..=37).contains(&sent), "{sent} in a minute");
}

#[test]
fn notices_are_bounded() {
    let config = Config {
        max_break_notices: 1,
        ..correcting()
    };
    let (mut bench, [_, a, b]) = with_paths(config);
    bench.frame(a, &notice(DOWN, UNIX_MS));
    assert_eq!(bench.take_sent(2), [(b, notice(DOWN, UNIX_MS))]);
    bench.node.closed(bench.now, b);
    bench.drain();
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(bench.node.counters().break_notices_sent, 1);
    assert_eq!(bench.node.counters().break_notices_held_back, 2);
    // A second later the limit is reset.
    let b = bench.connect(PEER_B);
    bench.frame(b, &child_announcement(ROOT, 1, PEER_B));
    bench.wait(Duration::from_secs(1));
    let sequence = bench.now.unix_ms;
    bench.frame(a, &bootstrap(UP, &unsigned_body(sequence, ROOT, 1)));
    bench.take_sent(2);
    bench.node.closed(bench.now, b);
    bench.drain();
    assert_eq!(bench.take_sent(2), [(a, notice(UP, sequence))]);
}

/// A notice is ignored by a node with notices off, as by a deployed node.
#[test]
fn a_notice_is_dropped_where_notices_are_off() {
    let root = SecretKey::from_seed(&[9; 32]);
    let other = SecretKey::from_seed(&[2; 32]);
    let (top, key) = (root.public_key(), other.public_key());
    for (config, counted) in [(plain(), (0, 1, 1)), (correcting(), (2, 0, 0))] {
        let mut bench = Bench::signed(config);
        let port = bench.connect(top);
        bench.frame(port, &root_announcement(top, Some(&root), 1));
        let sequence = bench.now.unix_ms;
        let heard = notice_under(key, sequence, top);
        // Without a route its signature is bad. With one it is stale.
        bench.frame(port, &heard);
        assert_eq!(bench.routes_in_fib(), 0);
        let body = SignedBody::sign(&other, sequence, top, 1);
        bench.frame(port, &bootstrap(key, &body));
        bench.take_sent(2);
        bench.frame(port, &heard);
        assert_eq!(bench.take_sent(2), []);
        assert_eq!(bench.routes_in_fib(), 1);
        assert_eq!(bench.closed, []);
        let Counters {
            break_notices,
            bootstraps_bad_signature,
            bootstraps_stale,
            ..
        } = bench.node.counters();
        let found = (break_notices, bootstraps_bad_signature, bootstraps_stale);
        assert_eq!(found, counted);
    }
}

/// A notice and the frames around it keep their order if verifier threads are used.
#[test]
fn a_notice_is_not_reordered() {
    let (mut bench, [_, a, b]) = three_peers(correcting());
    let now = bench.now;
    // The other end has lost a peering and regained it.
    let body = unsigned_body(UNIX_MS, ROOT, 1);
    bench.frame(a, &bootstrap(UP, &body));
    bench.take_sent(2);
    let body = unsigned_body(UNIX_MS + 1, ROOT, 1);
    let first = bench.node.admit(now, b, &notice(UP, UNIX_MS)).unwrap();
    let second = bench.node.admit(now, a, &bootstrap(UP, &body)).unwrap();
    for frame in [first, second] {
        bench.node.apply(now, frame.verify());
    }
    bench.drain();
    let sent: Vec<_> = bench.take_sent(2).into_iter().map(|(to, _)| to).collect();
    assert_eq!(sent, [a, b], "the notice, then the bootstrap");
}

/// Returns a node with a root, two peers, and a route for each of the keys above.
fn with_paths(config: Config) -> (Bench, [PortId; 3]) {
    let offered = config.extensions();
    with_paths_among(config, offered)
}

fn with_paths_among(config: Config, offered: Extensions) -> (Bench, [PortId; 3]) {
    let (mut bench, [root, a, b]) = three_peers_offering(config, offered);
    let body = unsigned_body(UNIX_MS, ROOT, 1);
    for (from, key, to) in [(a, UP, b), (a, UP_TOO, b), (b, DOWN, a), (b, ABOVE, root)] {
        bench.frame(from, &bootstrap(key, &body));
        let sent = bench.take_sent(2);
        assert!(matches!(sent[..], [(next, _)] if next == to), "{sent:?}");
    }
    (bench, [root, a, b])
}

fn notice(key: PublicKey, sequence: u64) -> Vec<u8> {
    notice_under(key, sequence, ROOT)
}

fn notice_under(key: PublicKey, sequence: u64, root: PublicKey) -> Vec<u8> {
    let watermark = Watermark { key, sequence };
    let body = unsigned_body(sequence, root, 1);
    bootstrap_to((0, 0), key, watermark, &body)
}

fn correcting() -> Config {
    let config = Config::default();
    assert!(config.correct_paths);
    config
}

/// Returns a configuration without corrections and notices.
fn plain() -> Config {
    Config {
        correct_paths: false,
        ..Config::default()
    }
}
