//! Wakeup broadcasts.

use std::time::Duration;

use pinecone_controlplane::{CloseReason, Config, Event};
use pinecone_wire::{Frame, PublicKey, SecretKey, SignedBody};

use crate::bench::{
    Bench, PEER_B, ROOT, UNIX_MS, broadcast, child_announcement, made_up, root_announcement,
    three_peers, unsigned_body,
};

#[test]
fn badly_signed_broadcasts_are_dropped_and_many_close_the_peering() {
    let mut bench = Bench::signed(Config::default());
    let root = (9..=15)
        .map(|n| SecretKey::from_seed(&[n; 32]))
        .max_by_key(SecretKey::public_key)
        .unwrap();
    let port = bench.connect(root.public_key());
    bench.frame(port, &root_announcement(root.public_key(), Some(&root), 1));
    let mut bad = SignedBody::sign(&root, UNIX_MS, root.public_key(), 1);
    bad.signature.0[0] ^= 1;
    let bad = broadcast(5, root.public_key(), &bad);
    // Fifteen a minute are tolerated.
    for minute in 0..3 {
        for _ in 0..15 {
            bench.frame(port, &bad);
        }
        assert_eq!(bench.closed, [], "minute {minute}");
        bench.wait(Duration::from_secs(60));
    }
    let good = SignedBody::sign(&root, UNIX_MS, root.public_key(), 1);
    bench.frame(port, &broadcast(5, root.public_key(), &good));
    let heard =
        |event: &Event| matches!(event, Event::Broadcast { key, .. } if *key == root.public_key());
    assert_eq!(bench.events.iter().filter(|event| heard(event)).count(), 1);
    // A second broadcast of that key would come too soon, so these are forged for another key.
    let stranger = SecretKey::from_seed(&[77; 32]).public_key();
    let bad = SignedBody::sign(&root, UNIX_MS, root.public_key(), 1);
    for _ in 0..16 {
        bench.frame(port, &broadcast(5, stranger, &bad));
    }
    assert!(matches!(
        bench.closed[..],
        [(_, CloseReason::Offences { count: 16, .. })]
    ));
    assert_eq!(bench.node.counters().broadcasts_bad_signature, 45 + 16);
}

#[test]
fn a_broadcast_spreads_as_far_as_its_hop_limit_allows() {
    let (mut bench, [root, a, b]) = three_peers(Config::default());
    // A second link to b receives no second copy.
    let again = bench.connect(PEER_B);
    bench.frame(again, &child_announcement(ROOT, 1, PEER_B));
    bench.sent.clear();
    let at = |n: u64, hop_limit| (made_up(n), hop_limit);
    let spread = |bench: &mut Bench, from, (key, hop_limit)| {
        let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
        bench.frame(from, &broadcast(hop_limit, key, &body));
        let ports: Vec<_> = bench
            .take_sent(4)
            .into_iter()
            .map(|(port, frame)| {
                assert_eq!(frame[7], hop_limit.min(5) - 1);
                port
            })
            .collect();
        ports
    };
    assert_eq!(spread(&mut bench, a, at(1, 5)), [root, b]);
    assert_eq!(spread(&mut bench, b, at(2, 5)), [root, a]);
    assert_eq!(spread(&mut bench, again, at(3, 5)), [root, a]);
    assert_eq!(
        spread(&mut bench, a, at(4, 255)),
        [root, b],
        "not further than 5"
    );
    // The root is at distance 1 in the tree. a and b are its children, as this node is.
    assert_eq!(spread(&mut bench, a, at(5, 4)), [root]);
    assert_eq!(spread(&mut bench, a, at(6, 2)), [root]);
    assert_eq!(spread(&mut bench, a, at(7, 1)), []);
    assert_eq!(bench.node.counters().broadcasts, 7);
    assert_eq!(
        bench
            .events
            .iter()
            .filter(|e| matches!(e, Event::Broadcast { .. }))
            .count(),
        7
    );
    // A repeated broadcast, an older one, and one that arrives too soon are not forwarded.
    for sequence in [0, 1, 2] {
        let sequence = bench.now.unix_ms - 1 + sequence;
        bench.frame(
            b,
            &broadcast(5, made_up(1), &unsigned_body(sequence, ROOT, 1)),
        );
    }
    assert_eq!(bench.node.counters().broadcasts_repeated, 3);
    bench.wait(Duration::from_secs(30));
    bench.sent.clear();
    assert_eq!(spread(&mut bench, a, at(1, 5)), [root, b]);
    // A broadcast under another root is not forwarded.
    let body = unsigned_body(bench.now.unix_ms, ROOT, 2);
    bench.frame(a, &broadcast(5, made_up(8), &body));
    assert_eq!(bench.node.counters().broadcasts_other_root, 1);
    assert_eq!(bench.take_sent(4), []);
}

#[test]
fn own_broadcasts_are_sent_every_minute_or_never() {
    let (mut bench, [root, a, b]) = three_peers(Config::default());
    bench.wait(Duration::from_secs(59));
    assert_eq!(bench.take_sent(4), []);
    bench.wait(Duration::from_secs(1));
    let sent = bench.take_sent(4);
    assert_eq!(
        sent.iter().map(|(port, _)| *port).collect::<Vec<_>>(),
        [root, a, b]
    );
    let (header, frame) = Frame::parse(&sent[0].1).unwrap();
    assert_eq!((header.hop_limit, header.extra), (2, 0));
    let Frame::Broadcast { key, payload } = frame else {
        panic!("no broadcast");
    };
    assert_eq!(key, bench.node.public_key());
    let (body, _) = SignedBody::decode(payload).unwrap();
    assert_eq!(
        (body.sequence, body.root, body.root_sequence),
        (bench.now.unix_ms, ROOT, 1)
    );

    let (mut bench, [_, a, _]) = three_peers(Config {
        wakeup_broadcasts: false,
        ..Config::default()
    });
    bench.wait(Duration::from_secs(120));
    assert_eq!(bench.node.counters().broadcasts_sent, 0);
    bench.sent.clear();
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &broadcast(5, made_up(1), &body));
    assert_eq!(bench.take_sent(4).len(), 2, "those of others are forwarded");
}

#[test]
fn keys_of_broadcasts_are_bounded_per_peering() {
    let (mut bench, [_, a, b]) = three_peers(Config {
        max_broadcast_keys_per_peer: 10,
        max_broadcast_keys: 15,
        ..Config::default()
    });
    for n in 0..20 {
        let body = unsigned_body(UNIX_MS, ROOT, 1);
        bench.frame(a, &broadcast(1, made_up(n), &body));
        bench.frame(b, &broadcast(1, made_up(100 + n), &body));
    }
    let heard = |bench: &Bench| {
        let broadcasts = bench
            .events
            .iter()
            .filter(|e| matches!(e, Event::Broadcast { .. }));
        broadcasts.count()
    };
    assert_eq!(heard(&bench), 15);
    assert_eq!(bench.node.counters().broadcasts_refused, 25);
    // They expire after three minutes.
    bench.wait(Duration::from_secs(181));
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &broadcast(1, made_up(50), &body));
    assert_eq!(heard(&bench), 16);
}

#[test]
fn the_first_announcement_of_a_key_is_answered_with_a_broadcast() {
    let mut bench = Bench::unsigned(Config::default());
    let answered = |bench: &mut Bench, port, key| {
        bench.sent.clear();
        bench.frame(port, &root_announcement(key, None, 1));
        let sent = bench.take_sent(4);
        assert!(sent.iter().all(|(to, _)| *to == port));
        sent.len()
    };
    let low = [PublicKey([1; 32]), PublicKey([2; 32])];
    let [first, second] = [low[0], low[0]].map(|key| bench.connect(key));
    assert_eq!(answered(&mut bench, first, low[0]), 1);
    assert_eq!(answered(&mut bench, first, low[0]), 0, "not the first");
    assert_eq!(answered(&mut bench, second, low[0]), 0, "not of this key");
    bench.node.closed(bench.now, second);
    bench.node.closed(bench.now, first);
    // The port numbers are reused, and the first key returns.
    let [other, third] = [low[1], low[0]].map(|key| bench.connect(key));
    assert_eq!((other, third), (first, second));
    assert_eq!(answered(&mut bench, other, low[1]), 1);
    assert_eq!(answered(&mut bench, third, low[0]), 1);
}

#[test]
fn own_broadcasts_follow_the_configured_hops_and_phase() {
    for (wakeup_hops, expected) in [(1, 1), (2, 2), (5, 5), (9, 5)] {
        let phase = Duration::from_secs(u64::from(wakeup_hops) * 6);
        let (mut bench, ports) = three_peers(Config {
            wakeup_hops,
            wakeup_phase: Some(phase),
            ..Config::default()
        });
        bench.wait(phase - Duration::from_millis(1));
        assert_eq!(bench.take_sent(4), []);
        for _ in 0..3 {
            bench.wait(Duration::from_millis(1));
            let sent = bench.take_sent(4);
            assert_eq!(sent.len(), ports.len(), "to all peers, whatever the limit");
            assert!(sent.iter().all(|(_, frame)| frame[7] == expected));
            bench.wait(Duration::from_millis(59_999));
            assert_eq!(bench.take_sent(4), []);
        }
    }
}

#[test]
fn broadcasts_are_forwarded_up_to_a_limit_that_is_fair_between_sources() {
    let (mut bench, [_, a, _]) = three_peers(Config {
        wakeup_broadcasts: false,
        ..Config::default()
    });
    let mut forwarded = [0; 200];
    for minute in 0..20 {
        bench.sent.clear();
        for (n, forwarded) in forwarded.iter_mut().enumerate() {
            let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
            bench.frame(a, &broadcast(5, made_up(n as u64), &body));
            let copies = bench.take_sent(4).len();
            assert!([0, 2].contains(&copies), "to both others or to none");
            *forwarded += copies / 2;
        }
        let all: usize = forwarded.iter().sum();
        assert_eq!(all, 64 * (minute + 1));
        bench.wait(Duration::from_secs(60));
    }
    let (least, most) = (forwarded.iter().min(), forwarded.iter().max());
    // A round takes four minutes, and the rest of the budget of its last minute serves the first sources.
    assert!(least >= Some(&5) && most <= Some(&10), "{forwarded:?}");
    let counters = bench.node.counters();
    assert_eq!(counters.broadcasts_held_back, 20 * (200 - 64));
    // Subscribers hear all of them.
    let heard = |event: &&Event| matches!(event, Event::Broadcast { .. });
    assert_eq!(bench.events.iter().filter(heard).count(), 20 * 200);
}
