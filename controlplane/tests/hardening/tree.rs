//! Announcements, roots and parents.

use std::time::Duration;

use pinecone_controlplane::{Config, Event};
use pinecone_fib::PortId;
use pinecone_wire::{Announcement, Frame, PublicKey, Signature, announcement};

use crate::bench::{
    Bench, PEER_A, PEER_B, ROOT, UNIX_MS, announcement_through, bootstrap, child_announcement,
    made_up, root_announcement, three_peers, unsigned_body,
};

#[test]
fn a_root_that_flaps_is_damped() {
    let mut bench = Bench::unsigned(Config::default());
    let ports = [PEER_A, PEER_B].map(|key| bench.connect(key));
    let child = bench.connect(made_up(1));
    bench.frame(child, &root_announcement(made_up(1), None, 1));
    let root = |n: u64| {
        let mut key = [0xf0; 32];
        key[1..9].copy_from_slice(&n.to_be_bytes());
        PublicKey(key)
    };
    let announced_to_child = |bench: &mut Bench| {
        let sent = bench.take_sent(1).into_iter();
        sent.filter(|(port, _)| *port == child).collect::<Vec<_>>()
    };
    bench.sent.clear();
    // Two peers announce ever higher roots. 32 are followed at once.
    for n in 0..100 {
        let by = (n % 2) as usize;
        bench.frame(
            ports[by],
            &child_announcement(root(n), 1, [PEER_A, PEER_B][by]),
        );
    }
    assert_eq!(announced_to_child(&mut bench).len(), 32);
    let counters = bench.node.counters();
    assert_eq!(counters.root_changes_damped, 68);
    // The best one is announced ten seconds later.
    bench.wait(Duration::from_secs(11));
    assert_eq!(bench.node.status().root, root(99));
    let sent = announced_to_child(&mut bench);
    assert_eq!(sent.len(), 1);
    let (_, Frame::Announcement { payload }) = Frame::parse(&sent[0].1).unwrap() else {
        panic!("no announcement");
    };
    assert_eq!(PublicKey::from_prefix(payload), Some(root(99)));
    // A minute later the limit is reset.
    bench.wait(Duration::from_secs(60));
    bench.frame(ports[0], &child_announcement(root(100), 1, PEER_A));
    assert_eq!(announced_to_child(&mut bench).len(), 1);
    assert_eq!(bench.node.status().root, root(100));
}

#[test]
fn a_root_announces_itself_every_half_hour() {
    let mut bench = Bench::unsigned(Config::default());
    let port = bench.connect(PublicKey([0x10; 32]));
    bench.frame(port, &root_announcement(PublicKey([0x10; 32]), None, 1));
    bench.sent.clear();
    bench.wait(Duration::from_secs(1799));
    assert_eq!(bench.take_sent(1), []);
    bench.wait(Duration::from_secs(1));
    let sent = bench.take_sent(1);
    assert_eq!(sent.len(), 1);
    assert_eq!(bench.node.status().root_sequence, 2);
    assert!(bench.events.contains(&Event::RootChanged {
        root: bench.node.public_key(),
        sequence: 2
    }));
    bench.wait(Duration::from_secs(1800));
    assert_eq!(bench.node.status().root_sequence, 3);
}

#[test]
fn a_peer_with_an_announcement_45_minutes_old_is_no_candidate() {
    for (age, follows) in [(2_699, true), (2_700, false)] {
        let mut bench = Bench::unsigned(Config::default());
        let [a, b] = [PEER_A, PEER_B].map(|key| bench.connect(key));
        bench.frame(a, &child_announcement(ROOT, 1, PEER_A));
        bench.frame(b, &child_announcement(ROOT, 1, PEER_B));
        bench.wait(Duration::from_secs(age));
        bench.node.closed(bench.now, a);
        let parent = bench.node.status().parent;
        assert_eq!(parent, follows.then_some((b, PEER_B)), "{age} s");
    }
}

/// A signature takes less than 20 us. Workers send keepalives themselves. Frames that the control plane forwards wait
/// for the signatures made in between, which must take far less than 10 ms.
#[test]
fn one_signature_serves_ten_thousand_peers() {
    let (mut bench, ports) = three_peers(Config::default());
    let made = |bench: &Bench| bench.node.counters().signatures_made;
    let before = made(&bench);
    let keys: Vec<_> = (1_000..11_000).map(made_up).collect();
    let children: Vec<_> = keys.iter().map(|key| bench.connect(*key)).collect();
    assert_eq!(
        made(&bench),
        before,
        "the signature made before serves them"
    );
    for (child, key) in children.iter().zip(&keys) {
        // The answer to a first announcement is a broadcast.
        let before = made(&bench);
        bench.frame(*child, &root_announcement(*key, None, 1));
        assert!(made(&bench) - before <= 1);
    }
    bench.sent.clear();
    let mut most = 0;
    for n in 2..12 {
        let before = made(&bench);
        bench.frame(ports[0], &root_announcement(ROOT, None, n));
        assert_eq!(bench.take_sent(1).len(), children.len() + 3);
        // The next frame in the queue is a bootstrap on its way up.
        let body = unsigned_body(UNIX_MS + n, ROOT, n);
        bench.frame(children[1], &bootstrap(made_up(n), &body));
        assert!(!bench.take_sent(2).is_empty(), "forwarded");
        most = most.max(made(&bench) - before);
        // All periodic work of a minute is included.
        let before = made(&bench);
        bench.step_to(bench.now.monotonic + Duration::from_secs(61));
        bench.node.tick(bench.now);
        bench.drain();
        most = most.max(made(&bench) - before);
        bench.sent.clear();
    }
    assert!(most <= 3, "{most} signatures at a time: 500 would be 10 ms");
}

fn announced(frame: &[u8]) -> Announcement {
    let Frame::Announcement { payload } = Frame::parse(frame).unwrap().1 else {
        panic!("no announcement: {frame:?}");
    };
    Announcement::decode(payload).unwrap()
}

#[test]
fn a_repeated_announcement_from_the_parent_changes_nothing() {
    let (mut bench, [root, ..]) = three_peers(Config::default());
    bench.frame(root, &root_announcement(ROOT, None, 7));
    let before = format!("{:?}", bench.node.status());
    bench.sent.clear();
    bench.events.clear();
    // The time between the repeats does not matter.
    for wait in [0, 1, 60, 1200] {
        bench.wait(Duration::from_secs(wait));
        bench.take_sent(1);
        bench.frame(root, &root_announcement(ROOT, None, 7));
        assert_eq!(bench.take_sent(1), []);
        assert_eq!(bench.events, []);
        assert_eq!(format!("{:?}", bench.node.status()), before);
    }
    assert_eq!(bench.node.counters().announcements_repeated, 4);
    // A repeat does not renew the announcement: it expires 45 min after it first arrived.
    for (age, parent) in [(2699, root), (2700, PortId(4))] {
        bench.wait(Duration::from_secs(age).saturating_sub(bench.now.monotonic));
        bench.frame(root, &root_announcement(ROOT, None, 7));
        let other = bench.connect(made_up(age));
        bench.frame(other, &child_announcement(ROOT, 7, made_up(age)));
        assert_eq!(bench.node.status().parent.unwrap().0, parent, "{age} s");
        bench.node.closed(bench.now, other);
    }
}

/// A peer that keeps announcing lower roots is sent the node's announcement once.
#[test]
fn an_announcement_is_sent_once_on_a_peering() {
    let (mut bench, _) = three_peers(Config::default());
    let peer = bench.connect(made_up(50));
    assert_eq!(bench.take_sent(1).last().unwrap().0, peer);
    for n in 1..20 {
        bench.frame(peer, &root_announcement(made_up(50), None, n));
        assert_eq!(bench.take_sent(1), []);
    }
    assert_eq!(bench.node.counters().announcements_unchanged, 18);
    // A new peering with the same node receives it.
    bench.node.closed(bench.now, peer);
    let again = bench.connect(made_up(50));
    assert_eq!(bench.take_sent(1).last().unwrap().0, again);
    // A new announcement is sent.
    bench.frame(PortId(1), &root_announcement(ROOT, None, 30));
    let told: Vec<_> = bench.take_sent(1).iter().map(|(port, _)| *port).collect();
    assert!(told.contains(&again));
}

/// Returns an announcement with `n` signatures: of `ROOT`, made-up nodes and `last`.
fn long_announcement(n: usize, last: PublicKey) -> Vec<u8> {
    let mut way = vec![ROOT];
    way.extend((0..n as u64 - 2).map(|i| made_up(1_000_000 + i)));
    announcement_through(&way, 1, last)
}

/// Returns the announcement that a deployed node makes of `frame`. It forwards announcements of any length.
fn forwarded(frame: &[u8], by: PublicKey) -> Vec<u8> {
    let received = announced(frame);
    let mut out = Vec::new();
    let signature = Signature([0; 64]);
    announcement::push_frame(&mut out, received.payload(), 1, &by, &signature).unwrap();
    out
}

/// The long announcement of an attacker must not make honest nodes close their peerings: neither this node nor, some
/// hops further, nodes like it behind deployed ones.
#[test]
fn long_announcements_close_no_peering() {
    for n in (490..=510).chain([598, 599, 600, 601, 650, 672, 673, 674, 675]) {
        let mut bench = Bench::unsigned(Config::default());
        let attacker = bench.connect(PEER_A);
        let deployed = bench.connect(PEER_B);
        bench.sent.clear();
        bench.frame(attacker, &long_announcement(n, PEER_A));
        assert_eq!(bench.closed, [], "{n} signatures");
        let follows = bench.node.status().root == ROOT;
        assert_eq!(follows, n <= 500, "{n} signatures");
        let sent = bench.take_sent(1);
        if !follows {
            assert_eq!(sent, [], "{n} signatures");
            assert_eq!(bench.node.counters().announcements_too_long, 1);
            continue;
        }
        let ours = sent.iter().find(|(port, _)| *port == deployed).unwrap();
        assert_eq!(announced(&ours.1).entries().len(), n + 1);
        // The deployed node follows this node, and announces that to it and to its other peer, a node like this one.
        let further = forwarded(&ours.1, PEER_B);
        bench.frame(deployed, &further);
        // All nodes in this test have the same key, so the one on the way gets another.
        let mut way: Vec<_> = announced(&further).signers().collect();
        way[n] = made_up(3_000_000);
        way.pop();
        let mut next = Bench::unsigned(Config::default());
        let port = next.connect(PEER_B);
        let mut at = announcement_through(&way, 1, PEER_B);
        for hop in 2..6 {
            next.frame(port, &at);
            assert_eq!(next.closed, [], "{n} signatures, hop {hop}");
            let count = announced(&at).entries().len();
            assert_eq!(next.node.status().root == ROOT, count <= 500, "{count}");
            // Another deployed node lies in between.
            way.push(made_up(2_000_000 + hop));
            at = announcement_through(&way, hop, PEER_B);
        }
        assert_eq!(bench.closed, [], "{n} signatures, announced back");
    }
}

#[test]
fn a_parent_is_dropped_if_its_announcement_gets_too_long() {
    let mut bench = Bench::unsigned(Config::default());
    let [a, b] = [PEER_A, PEER_B].map(|key| bench.connect(key));
    bench.frame(a, &long_announcement(500, PEER_A));
    bench.frame(b, &child_announcement(ROOT, 1, PEER_B));
    assert_eq!(bench.node.status().parent, Some((a, PEER_A)));
    let mut way = vec![ROOT];
    way.extend((0..499).map(|i| made_up(1_000_000 + i)));
    bench.frame(a, &announcement_through(&way, 2, PEER_A));
    assert_eq!(bench.node.status().parent, None);
    bench.frame(b, &child_announcement(ROOT, 2, PEER_B));
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.node.status().parent, Some((b, PEER_B)));
    assert_eq!(bench.closed, []);
}

/// Peers close a peering on which the sequence of a root decreases.
#[test]
fn after_losing_its_parent_a_node_announces_no_lower_sequence_of_that_root() {
    let mut bench = Bench::unsigned(Config::default());
    let [a, b] = [PEER_A, PEER_B].map(|key| bench.connect(key));
    let peer = bench.connect(made_up(1));
    bench.frame(a, &child_announcement(ROOT, 10, PEER_A));
    bench.frame(b, &child_announcement(ROOT, 5, PEER_B));
    assert_eq!(bench.node.status().parent, Some((a, PEER_A)));
    bench.take_sent(1);
    bench.node.closed(bench.now, a);
    bench.drain();
    assert_eq!(bench.node.status().parent, None);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.node.status().parent, Some((b, PEER_B)));
    let told: Vec<_> = bench
        .take_sent(1)
        .iter()
        .filter(|(port, _)| *port == peer)
        .map(|(_, frame)| {
            let announcement = announced(frame);
            (announcement.root() == ROOT, announcement.root_sequence())
        })
        .collect();
    let [(false, _), (true, 5)] = told[..] else {
        panic!("{told:?}");
    };
}
