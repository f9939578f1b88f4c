//! Announcements, roots and parents.

use std::time::Duration;

use pinecone_controlplane::{Config, Event};
use pinecone_wire::{Frame, PublicKey};

use crate::bench::{
    Bench, PEER_A, PEER_B, ROOT, UNIX_MS, bootstrap, child_announcement, made_up,
    root_announcement, three_peers, unsigned_body,
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
    // Two peers claim root after root, each higher than the last: 32 are followed at once.
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
    // The best one is told of ten seconds later.
    bench.wait(Duration::from_secs(11));
    assert_eq!(bench.node.status().root, root(99));
    let sent = announced_to_child(&mut bench);
    assert_eq!(sent.len(), 1);
    let (_, Frame::Announcement { payload }) = Frame::parse(&sent[0].1).unwrap() else {
        panic!("no announcement");
    };
    assert_eq!(PublicKey::from_prefix(payload), Some(root(99)));
    // A minute later all is as before.
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
fn an_announcement_of_forty_five_minutes_makes_no_parent() {
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

/// A signature takes less than 20 us. Workers send keepalives by themselves; what the control plane
/// passes on waits for no more than what is signed in between, which must stay far below 10 ms of it.
#[test]
fn ten_thousand_peers_are_told_with_one_signature() {
    let (mut bench, ports) = three_peers(Config::default());
    let made = |bench: &Bench| bench.node.counters().signatures_made;
    let before = made(&bench);
    let keys: Vec<_> = (1_000..11_000).map(made_up).collect();
    let children: Vec<_> = keys.iter().map(|key| bench.connect(*key)).collect();
    assert_eq!(made(&bench), before, "what was signed before serves them");
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
        // The next in the queue: somebody's bootstrap on its way up.
        let body = unsigned_body(UNIX_MS + n, ROOT, n);
        bench.frame(children[1], &bootstrap(made_up(n), &body));
        assert!(!bench.take_sent(2).is_empty(), "passed on");
        most = most.max(made(&bench) - before);
        // And through all that a minute brings by itself.
        let before = made(&bench);
        bench.step_to(bench.now.monotonic + Duration::from_secs(61));
        bench.node.tick(bench.now);
        bench.drain();
        most = most.max(made(&bench) - before);
        bench.sent.clear();
    }
    assert!(most <= 3, "{most} signatures at a time: 500 would be 10 ms");
}
