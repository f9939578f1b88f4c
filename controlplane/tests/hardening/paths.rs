//! Changes of the paths that bootstraps set up.

use std::time::Duration;

use pinecone_controlplane::{CloseReason, Config, Event};
use pinecone_fib::{Fate, NextHop, PortId, Rescue};
use pinecone_wire::{Extensions, Frame, PublicKey, SignedBody, Watermark};

use crate::bench::{
    Bench, HEADER, PEER_A, PEER_B, ROOT, UNIX_MS, announcement_through, bootstrap, bootstrap_to,
    child_announcement, correction, made_up, three_peers, three_peers_offering, unsigned_body,
};

#[test]
fn routes_move_to_another_peering_with_the_same_node() {
    let config = Config {
        max_routes_per_peer: 3,
        ..Config::default()
    };
    let (mut bench, [_, a, b]) = three_peers(config);
    let again = bench.connect(PEER_A);
    let body = unsigned_body(UNIX_MS, ROOT, 1);
    for key in [1, 2] {
        bench.frame(a, &bootstrap(made_up(key), &body));
    }
    bench.frame(b, &bootstrap(made_up(3), &body));
    // Routes do not move to a peering without an announcement.
    bench.node.closed(bench.now, a);
    bench.drain();
    assert_eq!(bench.routes_in_fib(), 1);

    bench.frame(again, &child_announcement(ROOT, 1, PEER_A));
    let a = bench.connect(PEER_A);
    bench.frame(a, &child_announcement(ROOT, 1, PEER_A));
    let body = unsigned_body(UNIX_MS + 1, ROOT, 1);
    for key in [4, 5] {
        bench.frame(a, &bootstrap(made_up(key), &body));
        bench.frame(again, &bootstrap(made_up(10 + key), &body));
    }
    let learned_from = |bench: &Bench, port| {
        let peers = bench.node.peers();
        peers.iter().find(|peer| peer.port == port).unwrap().routes
    };
    bench.node.closed(bench.now, a);
    bench.drain();
    assert_eq!(learned_from(&bench, again), 3, "the limit holds");
    assert_eq!(bench.routes_in_fib(), 4);
    assert_eq!(way(&mut bench, &made_up(5)), NextHop::Port(again));
    // The routes are removed with that peering.
    bench.node.closed(bench.now, again);
    bench.drain();
    assert_eq!(bench.routes_in_fib(), 1);
}

/// The latest bootstrap of the key right below a new key is handed over to the new key.
#[test]
fn bootstraps_are_handed_over_to_a_new_neighbour_on_the_snake() {
    let (mut bench, [_, a, b]) = three_peers(Config::default());
    let [low, middle, high] = [1, 2, 3].map(made_up);
    let from_low = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &bootstrap(low, &from_low));
    bench.take_sent(2);
    let handed = |key: PublicKey, to: PublicKey, sequence: u64, body: &SignedBody| {
        bootstrap_to((0, 0), key, Watermark { key: to, sequence }, body)
    };
    let ms = Duration::from_millis;
    bench.wait(ms(1499));
    bench.take_sent(2);
    let from_high = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(b, &bootstrap(high, &from_high));
    let expected = handed(low, high, from_high.sequence, &from_low);
    assert_eq!(bench.take_sent(2), [(b, expected)]);
    assert_eq!(bench.node.counters().bootstraps_handed_over, 1);
    // The node hands no bootstrap over to a key that had a route already, nor to the port that it came from.
    bench.wait(ms(1));
    bench.frame(
        a,
        &bootstrap(low, &unsigned_body(bench.now.unix_ms, ROOT, 1)),
    );
    bench.frame(
        b,
        &bootstrap(high, &unsigned_body(bench.now.unix_ms, ROOT, 1)),
    );
    bench.frame(
        a,
        &bootstrap(middle, &unsigned_body(bench.now.unix_ms, ROOT, 1)),
    );
    assert_eq!(bench.node.counters().bootstraps_handed_over, 1);
    // The node hands no bootstrap over after 1.5 s, as the routes that lead there would expire before the new one.
    bench.wait(ms(1500));
    bench.frame(
        b,
        &bootstrap(made_up(4), &unsigned_body(bench.now.unix_ms, ROOT, 1)),
    );
    assert_eq!(bench.node.counters().bootstraps_handed_over, 1);
    // The node hands no bootstrap over to a key that a peer announced, as it knew the key before it had a route to it.
    let below = PublicKey([0x9f; 32]);
    bench.frame(
        a,
        &bootstrap(below, &unsigned_body(bench.now.unix_ms, ROOT, 1)),
    );
    bench.frame(
        b,
        &bootstrap(PEER_A, &unsigned_body(bench.now.unix_ms, ROOT, 1)),
    );
    assert_eq!(bench.node.counters().bootstraps_handed_over, 1);
}

/// A bootstrap whose next hop is the port that it came from is sent to the next key above that another port leads to.
#[test]
fn a_bootstrap_that_would_go_back_takes_a_detour() {
    let (mut bench, [root, a, b]) = three_peers(Config::default());
    let [low, middle, high] = [0xc0, 0xc1, 0xc2].map(|byte| PublicKey([byte; 32]));
    let sequence = bench.now.unix_ms;
    let body = unsigned_body(sequence, ROOT, 1);
    bench.frame(b, &bootstrap(high, &body));
    bench.frame(a, &bootstrap(middle, &body));
    bench.take_sent(2);
    bench.frame(a, &bootstrap(low, &body));
    let sent = |to: PublicKey, sequence, body: &SignedBody| {
        bootstrap_to(HEADER, low, Watermark { key: to, sequence }, body)
    };
    assert_eq!(bench.take_sent(2), [(b, sent(high, sequence, &body))]);
    assert_eq!(bench.node.counters().bootstraps_detoured, 1);
    assert_eq!(bench.node.counters().bootstraps_backwards, 0);
    // Without another key, it is sent to the root.
    bench.node.disconnect(bench.now, b, CloseReason::Requested);
    bench.drain();
    bench.take_sent(2);
    bench.wait(Duration::from_millis(10));
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &bootstrap(low, &body));
    assert_eq!(bench.take_sent(2), [(root, sent(ROOT, 0, &body))]);
}

/// A bootstrap that is forwarded to a peer that has never forwarded one is also sent another way.
#[test]
fn a_bootstrap_that_a_peer_may_swallow_is_doubled() {
    let (mut bench, [root, a, b]) = three_peers(Config::default());
    let key = PublicKey([0xa1; 32]);
    let taken = |bench: &mut Bench, port, key| {
        bench.wait(Duration::from_secs(1));
        bench.take_sent(2);
        let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
        bench.frame(port, &bootstrap(key, &body));
        let sent = bench.take_sent(2).into_iter();
        sent.map(|(port, _)| port).collect::<Vec<_>>()
    };
    // At the start no peer can have forwarded any.
    assert_eq!(taken(&mut bench, a, key), [b]);
    bench.wait(Duration::from_secs(10));
    assert_eq!(taken(&mut bench, a, key), [b, root]);
    assert_eq!(bench.node.counters().bootstraps_doubled, 1);
    // A peer that has the next key may have none to forward, but sends its own.
    taken(&mut bench, b, PEER_B);
    assert_eq!(taken(&mut bench, a, key), [b]);
    let higher = PublicKey([0xb1; 32]);
    assert_eq!(taken(&mut bench, a, higher), [root, b]);
    taken(&mut bench, root, made_up(1));
    assert_eq!(taken(&mut bench, a, higher), [root]);
    // On the way to another key that is not enough.
    bench.frame(
        b,
        &announcement_through(&[ROOT, PublicKey([0xb2; 32])], 1, PEER_B),
    );
    assert_eq!(taken(&mut bench, a, higher), [b, root]);
    taken(&mut bench, b, made_up(2));
    assert_eq!(taken(&mut bench, a, higher), [b]);
}

/// Own bootstraps are doubled, too. Both copies are identical, and the second takes a way that does not pass the first
/// peer.
#[test]
fn own_bootstraps_are_doubled() {
    let (mut bench, [root, a, b]) = three_peers(Config::default());
    bench.wait(Duration::from_secs(10));
    bench.take_sent(2);
    bench.wait(Duration::from_secs(5));
    let ports = |sent: &[(PortId, Vec<u8>)]| sent.iter().map(|s| s.0).collect::<Vec<_>>();
    let sent = bench.take_sent(2);
    assert_eq!(ports(&sent), [a, b]);
    let payload = |frame: &[u8]| match Frame::parse(frame) {
        Ok((_, Frame::Bootstrap { payload, .. })) => payload.to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(payload(&sent[0].1), payload(&sent[1].1));
    // Now the second peer is below the first.
    bench.frame(b, &announcement_through(&[ROOT, PEER_A], 1, PEER_B));
    bench.take_sent(2);
    bench.wait(Duration::from_secs(5));
    assert_eq!(ports(&bench.take_sent(2)), [a, root]);
}

/// A change of a key's path corrects the rest of the old path.
#[test]
fn old_paths_are_corrected() {
    let (mut bench, [root, a, b]) = three_peers(correcting());
    let key = PublicKey([0xc0; 32]);
    let ports = |sent: Vec<(PortId, Vec<u8>)>| -> Vec<PortId> {
        sent.into_iter().map(|(port, _)| port).collect()
    };
    let next_body = |bench: &mut Bench| {
        bench.wait(Duration::from_millis(10));
        bench.take_sent(2);
        unsigned_body(bench.now.unix_ms, ROOT, 1)
    };
    // As long as the path does not change, nothing more is sent.
    for _ in 0..2 {
        let body = next_body(&mut bench);
        bench.frame(a, &bootstrap(key, &body));
        assert_eq!(ports(bench.take_sent(2)), [root]);
    }
    assert_eq!(bench.node.counters().bootstraps_corrected, 0);
    // The bootstrap arrives from another port: the old source receives a correction.
    let body = next_body(&mut bench);
    bench.frame(b, &bootstrap(key, &body));
    let sent = bench.take_sent(2);
    assert_eq!(sent[1..], [(a, correction(key, &body))]);
    assert_eq!(ports(sent), [root, a]);
    assert_eq!(bench.node.counters().bootstraps_corrected, 1);
    // The bootstrap is forwarded to another port, to a new key right above: the old destination, the root, receives a
    // correction.
    let above = PublicKey([0xc1; 32]);
    let body = next_body(&mut bench);
    bench.frame(a, &bootstrap(above, &body));
    let body = next_body(&mut bench);
    bench.frame(b, &bootstrap(key, &body));
    let sent = bench.take_sent(2);
    assert_eq!(sent[1..], [(root, correction(key, &body))]);
    assert_eq!(ports(sent), [a, root]);
    assert_eq!(bench.node.counters().bootstraps_corrected, 2);
}

/// A correction is accepted like any bootstrap, and is forwarded along the old path only.
#[test]
fn a_correction_follows_only_the_old_path() {
    let (mut bench, [root, a, b]) = three_peers(correcting());
    let key = PublicKey([0xc0; 32]);
    let way = |bench: &mut Bench| way(bench, &key);
    // Without an old path it is not forwarded.
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &correction(key, &body));
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(way(&mut bench), NextHop::Port(a));
    // From the old destination it is forwarded to the old source.
    bench.wait(Duration::from_millis(10));
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(b, &bootstrap(key, &body));
    bench.wait(Duration::from_millis(10));
    bench.take_sent(2);
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(root, &correction(key, &body));
    assert_eq!(bench.take_sent(2), [(b, correction(key, &body))]);
    assert_eq!(way(&mut bench), NextHop::Port(root));
    // It is forwarded only once: a copy that returns is stale.
    bench.frame(b, &correction(key, &body));
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(way(&mut bench), NextHop::Port(root));
}

/// A correction may overtake the bootstrap itself, for which the nodes above still wait.
#[test]
fn a_bootstrap_that_a_correction_overtook_is_forwarded() {
    let (mut bench, [root, a, b]) = three_peers(correcting());
    let key = PublicKey([0xc0; 32]);
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &correction(key, &body));
    assert_eq!(bench.take_sent(2), []);
    bench.frame(b, &bootstrap(key, &body));
    let ports = |sent: Vec<(PortId, Vec<u8>)>| -> Vec<PortId> {
        sent.into_iter().map(|(port, _)| port).collect()
    };
    assert_eq!(ports(bench.take_sent(2)), [root]);
    // The route does not change, so that the routes of all nodes form a tree.
    assert_eq!(way(&mut bench, &key), NextHop::Port(a));
    // Only once.
    for (port, frame) in [
        (b, bootstrap(key, &body)),
        (b, correction(key, &body)),
        (root, bootstrap(key, &body)),
    ] {
        bench.frame(port, &frame);
        assert_eq!(bench.take_sent(2), []);
    }
    assert_eq!(bench.node.counters().bootstraps_stale, 3);
    // If the way up breaks, a notice is sent to the port that the bootstrap came from.
    bench.node.closed(bench.now, root);
    bench.drain();
    assert_eq!(bench.node.counters().break_notices_sent, 1);
}

/// Traffic may follow an expired route for two seconds, unless its peering ends or the key returns.
#[test]
fn traffic_may_follow_expired_routes() {
    let (mut bench, [_, a, b]) = three_peers(Config::default());
    let (first, second, third) = (made_up(1), made_up(2), made_up(3));
    let sequence = bench.now.unix_ms;
    let body = unsigned_body(sequence, ROOT, 1);
    for (port, key) in [(a, first), (b, second), (a, third)] {
        bench.frame(port, &bootstrap(key, &body));
    }
    let rescued = |bench: &mut Bench, key: PublicKey| {
        rescue(bench, Watermark { key, sequence }) == Some(Rescue::ExpiredRoute)
    };
    bench.wait(Duration::from_millis(9_990));
    assert_eq!(bench.routes_in_fib(), 3);
    assert!(!rescued(&mut bench, first));
    bench.wait(Duration::from_millis(20));
    assert_eq!(bench.routes_in_fib(), 0);
    for key in [first, second, third] {
        assert!(rescued(&mut bench, key));
    }
    bench.node.closed(bench.now, b);
    bench.drain();
    assert!(!rescued(&mut bench, second), "its peering has ended");
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &bootstrap(third, &body));
    bench.node.closed(bench.now, a);
    bench.drain();
    assert!(!rescued(&mut bench, third) && !rescued(&mut bench, first));
}

/// Expired routes are removed by a timer.
#[test]
fn expired_routes_are_removed() {
    let (mut bench, [_, a, _]) = three_peers(Config::default());
    let key = made_up(1);
    let sequence = bench.now.unix_ms;
    bench.frame(a, &bootstrap(key, &unsigned_body(sequence, ROOT, 1)));
    let rescued = |bench: &mut Bench| rescue(bench, Watermark { key, sequence });
    bench.wait(Duration::from_millis(10_010));
    assert_eq!(rescued(&mut bench), Some(Rescue::ExpiredRoute));
    bench.wait(Duration::from_millis(1_980));
    assert_eq!(rescued(&mut bench), Some(Rescue::ExpiredRoute));
    bench.wait(Duration::from_millis(20));
    assert_eq!(rescued(&mut bench), None);
}

/// Towards peers that do not offer to correct paths, a node behaves as deployed nodes: it accepts corrections, and sends
/// none.
#[test]
fn peers_that_offer_nothing_receive_no_corrections() {
    let (mut bench, [root, a, b]) = three_peers_offering(correcting(), Extensions::NONE);
    let key = PublicKey([0xc0; 32]);
    for port in [a, b] {
        bench.wait(Duration::from_millis(10));
        bench.take_sent(2);
        let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
        bench.frame(port, &bootstrap(key, &body));
        let sent = bench.take_sent(2);
        assert!(matches!(sent[..], [(to, _)] if to == root), "{sent:?}");
    }
    bench.wait(Duration::from_millis(10));
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(root, &correction(key, &body));
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(way(&mut bench, &key), NextHop::Port(root));
    assert_eq!(bench.node.counters().bootstraps_corrected, 0);
    assert_eq!(bench.node.counters().bootstraps_ended, 1);
}

#[test]
fn a_lost_peering_removes_the_routes_that_came_by_it() {
    let (mut bench, [root, a, b]) = three_peers(Config::default());
    let above = PublicKey([0xc0; 32]);
    bench.frame(a, &bootstrap(made_up(1), &unsigned_body(UNIX_MS, ROOT, 1)));
    bench.frame(b, &bootstrap(made_up(2), &unsigned_body(UNIX_MS, ROOT, 1)));
    // This one comes from a and is forwarded to the root.
    bench.frame(a, &bootstrap(above, &unsigned_body(UNIX_MS, ROOT, 1)));
    assert_eq!(bench.routes_in_fib(), 3);
    bench.node.closed(bench.now, root);
    bench.drain();
    // The route stays, as its bootstrap came from a.
    assert_eq!(bench.routes_in_fib(), 3);
    assert_eq!(bench.node.peers()[0].routes, 2);
    assert_eq!(bench.node.status().descending, Some(made_up(2)));
    bench.node.disconnect(bench.now, b, CloseReason::Requested);
    bench.drain();
    assert_eq!(bench.closed, [(b, CloseReason::Requested)]);
    assert_eq!(bench.routes_in_fib(), 2);
    assert_eq!(bench.node.status().descending, None);
    bench.wait(Duration::from_secs(11));
    assert!(bench.events.contains(&Event::RouteRemoved(above)));
    assert_eq!(bench.routes_in_fib(), 0);
    // The number of b is not free until its port is closed. The root's is.
    assert_eq!(bench.connect(PublicKey([1; 32])), root);
    assert_eq!(bench.connect(PublicKey([2; 32])), PortId(4));
    bench.node.closed(bench.now, b);
    assert_eq!(bench.connect(PublicKey([3; 32])), b);
}

/// Returns the next hop of traffic for `key`.
fn way(bench: &mut Bench, key: &PublicKey) -> NextHop {
    bench.node.publish();
    let mut fib = bench.fib.reader();
    fib.load().snek(key, &Watermark::START).next
}

/// Returns the rule by which a traffic frame for the key of its `watermark` is forwarded, if it needs one.
fn rescue(bench: &mut Bench, watermark: Watermark) -> Option<Rescue> {
    match bench.forward(PortId(77), watermark) {
        Fate::Forward { rescue, .. } | Fate::Rewritten { rescue, .. } => rescue,
        Fate::Deliver | Fate::Drop(_) => None,
    }
}

fn correcting() -> Config {
    let config = Config::default();
    assert!(config.correct_paths);
    config
}
