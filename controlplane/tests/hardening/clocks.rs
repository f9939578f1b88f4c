//! Wrong clocks: this node's, and others'.

use std::time::Duration;

use pinecone_controlplane::Config;
use pinecone_fib::PortId;
use pinecone_wire::{Frame, PublicKey, SignedBody};

use crate::bench::{
    Bench, PEER_A, PEER_B, ROOT, UNIX_MS, bootstrap, broadcast, child_announcement, made_up,
    three_peers, unsigned_body,
};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Passes in a bootstrap of a made-up key whose clock is `ahead` milliseconds ahead of the node's. Returns whether it
/// is accepted.
fn is_taken(bench: &mut Bench, port: PortId, n: u64, ahead: i64) -> bool {
    let routes = bench.node.status().routes;
    let sequence = bench.now.unix_ms.saturating_add_signed(ahead);
    let body = unsigned_body(sequence, ROOT, 1);
    bench.frame(port, &bootstrap(made_up(n), &body));
    bench.node.status().routes > routes
}

/// Returns the sequences of the node's bootstraps sent since the last call, and how far they are ahead of its clock in
/// whole days.
fn signed(bench: &mut Bench) -> Vec<(u64, i64)> {
    let (own, now) = (bench.node.public_key(), bench.now.unix_ms);
    let sent = std::mem::take(&mut bench.sent);
    let sequences = sent.iter().filter_map(|(_, frame)| {
        match Frame::parse(frame).unwrap().1 {
            Frame::Bootstrap { key, payload, .. } if key == own => Some(payload),
            _ => None,
        }
        .map(|payload| SignedBody::decode(payload).unwrap().0.sequence)
    });
    let days = |ms: u64| ((ms as f64 - now as f64) / DAY as f64).round() as i64;
    sequences
        .map(|sequence| (sequence, days(sequence)))
        .collect()
}

#[test]
fn our_clock_is_wrong_if_many_are_ahead() {
    let (mut bench, [root, a, b]) = three_peers(Config::default());
    assert!(
        !is_taken(&mut bench, root, 1, 2 * DAY),
        "one key may be wrong"
    );
    assert!(is_taken(&mut bench, a, 2, 2 * DAY));
    assert!(is_taken(&mut bench, b, 3, 2 * DAY));
    assert!(
        is_taken(&mut bench, root, 4, 0),
        "by the node's own clock, too"
    );
    assert!(!is_taken(&mut bench, root, 5, 4 * DAY));
    bench.wait(Duration::from_secs(1));
    let behind = bench.node.status().clock_behind_ms.unwrap();
    assert!(behind.abs_diff(2 * DAY) < 5_000, "{behind}");
    // The node signs with the network's time.
    signed(&mut bench);
    bench.wait(Duration::from_secs(10));
    let signed = signed(&mut bench);
    assert!(
        signed.len() >= 2 && signed.iter().all(|(_, days)| *days == 2),
        "{signed:?}"
    );
}

#[test]
fn one_peer_with_many_keys_has_one_vote() {
    for lie in [2 * DAY, 365 * DAY, -2 * DAY, -365 * DAY] {
        for wrong in [0, 2 * DAY, -2 * DAY] {
            let (mut bench, [root, a, b]) = three_peers(Config::default());
            let liar = bench.connect(PublicKey([0xc0; 32]));
            bench.frame(liar, &child_announcement(ROOT, 1, PublicKey([0xc0; 32])));
            for (n, port) in [root, a, b].into_iter().enumerate() {
                is_taken(&mut bench, port, n as u64, -wrong);
            }
            for n in 0..10_000 {
                is_taken(&mut bench, liar, 1_000 + n, lie - wrong);
            }
            for (n, port) in [root, a, b, root, a, b].into_iter().enumerate() {
                let taken = is_taken(&mut bench, port, 100 + n as u64, -wrong);
                assert!(taken, "a lie of {lie}, the node's clock ahead by {wrong}");
            }
            if lie - wrong > DAY && lie > 0 {
                let taken = is_taken(&mut bench, liar, 99_999, lie - wrong);
                assert!(!taken, "a lie of {lie}, the node's clock ahead by {wrong}");
            }
            bench.wait(Duration::from_secs(1));
            let behind = bench.node.status().clock_behind_ms;
            let days = behind.map(|ms| (ms as f64 / DAY as f64).round() as i64);
            assert_eq!(days, (wrong != 0).then_some(-wrong / DAY));
            // The node signs with the time of the majority.
            signed(&mut bench);
            bench.wait(Duration::from_secs(10));
            assert!(
                signed(&mut bench)
                    .iter()
                    .all(|(_, days)| *days == -wrong / DAY)
            );
        }
    }
}

/// The node keeps its clock as long as one peer in four agrees with it.
#[test]
fn a_clock_that_a_quarter_agrees_with_is_kept() {
    let (mut bench, honest) = three_peers(Config::default());
    for (n, port) in honest.into_iter().enumerate() {
        assert!(is_taken(&mut bench, port, n as u64, 0));
    }
    for n in 0..8u64 {
        let key = made_up(1_000 + n);
        let port = bench.connect(key);
        bench.frame(port, &child_announcement(ROOT, 1, key));
        is_taken(&mut bench, port, 2_000 + n, -3 * DAY);
    }
    signed(&mut bench);
    bench.wait(Duration::from_secs(10));
    assert_eq!(bench.node.status().clock_behind_ms, None);
    assert!(signed(&mut bench).iter().all(|(_, days)| *days == 0));
}

/// Sequences only rise, except after the node's clock was ahead: then they may fall below those that others refused.
#[test]
fn sequences_rise_through_corrections_of_the_clock() {
    let (mut bench, [root, _, _]) = three_peers(Config::default());
    bench.wait(Duration::from_secs(3));
    let before = signed(&mut bench);
    assert!(!before.is_empty() && before.iter().all(|(_, days)| *days == 0));
    // The broadcast of the node's one neighbour shows that the node is ahead. No node has accepted this node's own.
    let sequence = bench.now.unix_ms - 2 * DAY as u64;
    bench.frame(root, &broadcast(1, ROOT, &unsigned_body(sequence, ROOT, 1)));
    bench.wait(Duration::from_secs(7));
    signed(&mut bench);
    bench.wait(Duration::from_secs(10));
    let corrected = signed(&mut bench);
    assert!(corrected.len() >= 2 && corrected.iter().all(|(_, days)| *days == -2));
    // The clock is corrected, and later set back a little further.
    let set = |bench: &mut Bench, at: u64| {
        bench.now.unix_ms = at;
        bench.node.tick(bench.now);
    };
    let mut last = corrected.last().unwrap().0;
    for back in [0, 3_600_000, 7_200_000] {
        for _ in 0..12 {
            let at = UNIX_MS + bench.now.monotonic.as_millis() as u64 - 2 * DAY as u64 - back;
            bench.now.monotonic += Duration::from_secs(1);
            set(&mut bench, at);
            bench.drain();
        }
        let mut sequences: Vec<_> = signed(&mut bench).into_iter().map(|(s, _)| s).collect();
        // A bootstrap may be sent twice.
        sequences.dedup();
        assert!(sequences.len() >= 2);
        for sequence in sequences {
            assert!(sequence > last, "{back}: {sequence} after {last}");
            assert!(sequence - last < 60_000, "{back}");
            last = sequence;
        }
    }
    assert_eq!(bench.node.status().clock_behind_ms, None);
}

/// The peerings with one key have one vote together.
#[test]
fn many_peerings_of_one_key_have_one_vote() {
    let (mut bench, [_, a, b]) = three_peers(Config::default());
    assert!(is_taken(&mut bench, a, 1, 0));
    for n in 0..20 {
        let port = bench.connect(PEER_B);
        bench.frame(port, &child_announcement(ROOT, 1, PEER_B));
        is_taken(&mut bench, port, 10 + n, -3 * DAY);
    }
    is_taken(&mut bench, b, 2, -3 * DAY);
    assert!(bench.node.peers().iter().any(|peer| peer.key == PEER_A));
    bench.wait(Duration::from_secs(2));
    assert_eq!(bench.node.status().clock_behind_ms, None);
}
