//! What the control plane does about floods, replays, forgeries and the limits on its tables.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use pinecone_controlplane::{
    CloseReason, Config, ControlPlane, Effect, Event, NewPeer, Now, Refused,
};
use pinecone_dataplane::fib::{Fib, FibWriter, NextHop, SnekKind};
use pinecone_dataplane::{LinkType, PortId};
use pinecone_wire::{
    Frame, PublicKey, SecretKey, Signature, SignedBody, Watermark, announcement, frame,
};

const UNIX_MS: u64 = 1_800_000_000_000;

/// A node with time of its own. Where its key is lower than its first peer's, that peer is root.
struct Bench {
    node: ControlPlane,
    fib: Fib,
    now: Now,
    sent: Vec<(PortId, Vec<u8>)>,
    closed: Vec<(PortId, CloseReason)>,
    events: Vec<Event>,
}

impl Bench {
    fn signed(config: Config) -> Self {
        let secret = SecretKey::from_seed(&[8; 32]);
        let (writer, fib) = FibWriter::new(secret.public_key());
        Self::with(ControlPlane::new(config, secret, writer), fib)
    }

    fn unsigned(config: Config) -> Self {
        let own = PublicKey([0x80; 32]);
        let (writer, fib) = FibWriter::new(own);
        Self::with(ControlPlane::new_unsigned(config, own, writer), fib)
    }

    fn with(node: ControlPlane, fib: Fib) -> Self {
        let now = Now {
            monotonic: Duration::ZERO,
            unix_ms: UNIX_MS,
        };
        let mut bench = Self {
            node,
            fib,
            now,
            sent: Vec::new(),
            closed: Vec::new(),
            events: Vec::new(),
        };
        bench.node.tick(now);
        bench
    }

    fn connect(&mut self, key: PublicKey) -> PortId {
        let link = LinkType::Remote;
        let port = self.node.connect(self.now, NewPeer { key, link }).unwrap();
        self.drain();
        port
    }

    fn frame(&mut self, port: PortId, frame: &[u8]) {
        self.node.frame(self.now, port, frame);
        self.drain();
    }

    /// Lets time pass, and the node do what is due in it.
    fn wait(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        while let Some(at) = self.node.next_deadline().filter(|at| *at <= end) {
            self.step_to(at);
            self.node.tick(self.now);
            self.drain();
        }
        self.step_to(end);
    }

    fn step_to(&mut self, at: Duration) {
        let step = at.saturating_sub(self.now.monotonic);
        self.now.monotonic += step;
        self.now.unix_ms = UNIX_MS + self.now.monotonic.as_millis() as u64;
    }

    fn drain(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Send { port, frame } => self.sent.push((port, frame)),
                Effect::Close { port, reason } => self.closed.push((port, reason)),
                Effect::Event(event) => self.events.push(event),
            }
        }
    }

    fn routes_in_fib(&mut self) -> usize {
        self.node.publish();
        self.fib.reader().load().route_count()
    }

    /// Frames of a kind sent since the last call to this.
    fn take_sent(&mut self, kind: u8) -> Vec<(PortId, Vec<u8>)> {
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter()
            .filter(|(_, frame)| frame[5] == kind)
            .collect()
    }
}

/// A root's announcement to its peer, signed or not.
fn root_announcement(root: PublicKey, secret: Option<&SecretKey>, sequence: u64) -> Vec<u8> {
    let payload = announcement::root_payload(&root, sequence);
    let signature = secret.map_or(Signature([0; 64]), |s| announcement::sign(&payload, s));
    let mut out = Vec::new();
    announcement::push_frame(&mut out, &payload, 1, &root, &signature).unwrap();
    out
}

/// The announcement of `peer` on port 9 of `root`.
fn child_announcement(root: PublicKey, sequence: u64, peer: PublicKey) -> Vec<u8> {
    let mut payload = announcement::root_payload(&root, sequence);
    payload.push(9);
    payload.extend_from_slice(root.as_bytes());
    payload.extend_from_slice(&[0; 64]);
    let mut out = Vec::new();
    announcement::push_frame(&mut out, &payload, 1, &peer, &Signature([0; 64])).unwrap();
    out
}

fn unsigned_body(sequence: u64, root: PublicKey, root_sequence: u64) -> SignedBody {
    SignedBody {
        sequence,
        root,
        root_sequence,
        signature: Signature([0; 64]),
    }
}

fn bootstrap(key: PublicKey, body: &SignedBody) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push_bootstrap(&mut out, (7, 9), &key, &Watermark::START, &body.encode()).unwrap();
    out
}

fn broadcast(hop_limit: u8, key: PublicKey, body: &SignedBody) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push_broadcast(&mut out, (0, hop_limit), &key, &body.encode()).unwrap();
    out
}

fn made_up(n: u64) -> PublicKey {
    let mut key = [0x11; 32];
    key[8..16].copy_from_slice(&n.to_be_bytes());
    PublicKey(key)
}

const ROOT: PublicKey = PublicKey([0xf0; 32]);
const PEER_A: PublicKey = PublicKey([0xa0; 32]);
const PEER_B: PublicKey = PublicKey([0xb0; 32]);

/// A root and two peers below it, on ports 1 to 3.
fn three_peers(config: Config) -> (Bench, [PortId; 3]) {
    let mut bench = Bench::unsigned(config);
    let ports = [ROOT, PEER_A, PEER_B].map(|key| bench.connect(key));
    bench.frame(ports[0], &root_announcement(ROOT, None, 1));
    bench.frame(ports[1], &child_announcement(ROOT, 1, PEER_A));
    bench.frame(ports[2], &child_announcement(ROOT, 1, PEER_B));
    assert_eq!(bench.node.status().root, ROOT);
    bench.sent.clear();
    (bench, ports)
}

#[test]
fn a_flood_of_made_up_keys_leaves_the_share_of_others_alone() {
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
        // Every key of the flood is new.
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
        // Long enough for new ones, too short for the honest ones to expire.
        bench.wait(Duration::from_secs(5));
    }
    let counters = bench.node.counters();
    assert!(counters.routes_refused >= 60_000, "{counters}");
    assert!(counters.routes_evicted >= 1_000, "{counters}");
    assert!(bench.closed.is_empty());
}

#[test]
fn a_bootstrap_is_not_taken_twice_not_even_after_its_route_has_expired() {
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
    // The node itself goes on.
    bench.frame(port, &bootstrap(key, &unsigned_body(UNIX_MS + 1, ROOT, 1)));
    assert_eq!(bench.node.status().routes, 1);
    // One whose clock was set back gets through when the memory has run out, however often it
    // was refused.
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
fn a_slow_clock_is_no_reason_to_refuse_and_a_fast_one_is() {
    let (mut bench, [_, port, _]) = three_peers(Config::default());
    let day = 86_400_000;
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
    // A machine without a clock of its own wakes up in 1970, and must not shut everybody out.
    bench.now.unix_ms = 0;
    bench.frame(
        port,
        &bootstrap(made_up(4), &unsigned_body(UNIX_MS, ROOT, 1)),
    );
    assert_eq!(bench.node.status().routes, 3);
}

#[test]
fn our_own_sequences_never_go_back() {
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
    assert!(sequences.len() >= 5, "{sequences:?}");
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    assert!(bench.node.peers().iter().any(|peer| peer.port == port));
}

#[test]
fn a_bootstrap_is_passed_on_canonical_with_its_header_and_watermark() {
    let (mut bench, [root, port, _]) = three_peers(Config::default());
    let key = made_up(1);
    let body = unsigned_body(UNIX_MS, ROOT, 1);
    let mut padded = body.encode();
    padded.extend_from_slice(b"left over");
    let mut frame = Vec::new();
    frame::push_bootstrap(&mut frame, (7, 9), &key, &Watermark::START, &padded).unwrap();
    bench.frame(port, &frame);
    // The best key above it that the node knows is its own: it ends here.
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(bench.node.counters().bootstraps_ended, 1);
    assert_eq!(bench.node.status().descending, Some(key));
    // One that belongs above us goes to the peer right above it.
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
    // It is not sent back to where it came from.
    bench.wait(Duration::from_millis(10));
    let body = unsigned_body(UNIX_MS + 10, ROOT, 1);
    bench.frame(root, &bootstrap(above, &body));
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(bench.node.counters().bootstraps_backwards, 1);
    // And not where the watermark would get worse.
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
    // A peering that has not announced itself is none that leads anywhere.
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
    assert_eq!(learned_from(&bench, again), 3, "and no more");
    assert_eq!(bench.routes_in_fib(), 4);
    bench.node.publish();
    let hop = bench
        .fib
        .reader()
        .load()
        .snek(SnekKind::Traffic, &made_up(5), &Watermark::START);
    assert_eq!(hop.next, NextHop::Port(again));
    // They end with it, and when it is time.
    bench.node.closed(bench.now, again);
    bench.drain();
    assert_eq!(bench.routes_in_fib(), 1);
}

/// After a change three bootstraps within three seconds, then one every five.
#[test]
fn bootstraps_come_sooner_after_a_change() {
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
    // Another descending node.
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &bootstrap(made_up(1), &body));
    bench.take_sent(2);
    assert_eq!(seconds_of_bootstraps(&mut bench, 9), [1, 2, 4, 9]);
}

/// The key right below a new one learns of it at once, by way of its own bootstrap, if that came just
/// before.
#[test]
fn bootstraps_are_handed_over_to_a_new_neighbour_on_the_snake() {
    let (mut bench, [_, a, b]) = three_peers(Config::default());
    let [low, middle, high] = [1, 2, 3].map(made_up);
    let from_low = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &bootstrap(low, &from_low));
    bench.take_sent(2);
    let handed = |key: PublicKey, to: PublicKey, sequence: u64, body: &SignedBody| {
        let watermark = Watermark { key: to, sequence };
        let mut out = Vec::new();
        frame::push_bootstrap(&mut out, (0, 0), &key, &watermark, &body.encode()).unwrap();
        out
    };
    let ms = Duration::from_millis;
    bench.wait(ms(499));
    let from_high = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(b, &bootstrap(high, &from_high));
    let expected = handed(low, high, from_high.sequence, &from_low);
    assert_eq!(bench.take_sent(2), [(b, expected)]);
    assert_eq!(bench.node.counters().bootstraps_handed_over, 1);
    // Not of a key that there was a route to, and not back to where it came from.
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
    // Nor after a while: the routes that lead there would be gone before what is handed over.
    bench.wait(ms(500));
    bench.frame(
        b,
        &bootstrap(made_up(4), &unsigned_body(bench.now.unix_ms, ROOT, 1)),
    );
    assert_eq!(bench.node.counters().bootstraps_handed_over, 1);
    // Nor to a key that a peer announced: it was known before there was a route.
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

/// Where the next hop is the one that a bootstrap came from, it goes to the next key above that lies
/// another way.
#[test]
fn a_bootstrap_that_would_go_back_goes_another_way() {
    let (mut bench, [root, a, b]) = three_peers(Config::default());
    let [low, middle, high] = [0xc0, 0xc1, 0xc2].map(|byte| PublicKey([byte; 32]));
    let sequence = bench.now.unix_ms;
    let body = unsigned_body(sequence, ROOT, 1);
    bench.frame(b, &bootstrap(high, &body));
    bench.frame(a, &bootstrap(middle, &body));
    bench.take_sent(2);
    bench.frame(a, &bootstrap(low, &body));
    let sent = |to: PublicKey, sequence| {
        let mut out = Vec::new();
        let watermark = Watermark { key: to, sequence };
        frame::push_bootstrap(&mut out, (7, 9), &low, &watermark, &body.encode()).unwrap();
        out
    };
    assert_eq!(bench.take_sent(2), [(b, sent(high, sequence))]);
    assert_eq!(bench.node.counters().bootstraps_detoured, 1);
    assert_eq!(bench.node.counters().bootstraps_backwards, 0);
    // Else to the root.
    bench.node.disconnect(bench.now, b, CloseReason::Requested);
    bench.drain();
    bench.take_sent(2);
    bench.wait(Duration::from_millis(10));
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &bootstrap(low, &body));
    let mut expected = Vec::new();
    let watermark = Watermark {
        key: ROOT,
        sequence: 0,
    };
    frame::push_bootstrap(&mut expected, (7, 9), &low, &watermark, &body.encode()).unwrap();
    assert_eq!(bench.take_sent(2), [(root, expected)]);
}

fn correcting() -> Config {
    Config {
        correct_paths: true,
        ..Config::default()
    }
}

/// Where the path of a key changes, what is left of the old one is led the new way.
#[test]
fn old_paths_are_corrected() {
    let (mut bench, [root, a, b]) = three_peers(correcting());
    let key = PublicKey([0xc0; 32]);
    let correction = |body: &SignedBody| {
        let watermark = Watermark { key, sequence: 0 };
        let mut out = Vec::new();
        frame::push_bootstrap(&mut out, (7, 9), &key, &watermark, &body.encode()).unwrap();
        out
    };
    let ports = |sent: Vec<(PortId, Vec<u8>)>| -> Vec<PortId> {
        sent.into_iter().map(|(port, _)| port).collect()
    };
    let next_body = |bench: &mut Bench| {
        bench.wait(Duration::from_millis(10));
        bench.take_sent(2);
        unsigned_body(bench.now.unix_ms, ROOT, 1)
    };
    // As long as the path stays the same, nothing more is sent.
    for _ in 0..2 {
        let body = next_body(&mut bench);
        bench.frame(a, &bootstrap(key, &body));
        assert_eq!(ports(bench.take_sent(2)), [root]);
    }
    assert_eq!(bench.node.counters().bootstraps_corrected, 0);
    // It comes another way: so does what comes for it by the old one.
    let body = next_body(&mut bench);
    bench.frame(b, &bootstrap(key, &body));
    let sent = bench.take_sent(2);
    assert_eq!(sent[1..], [(a, correction(&body))]);
    assert_eq!(ports(sent), [root, a]);
    assert_eq!(bench.node.counters().bootstraps_corrected, 1);
    // It goes on another way, to a key right above it: the root hears of that one, too.
    let above = PublicKey([0xc1; 32]);
    let body = next_body(&mut bench);
    bench.frame(a, &bootstrap(above, &body));
    let body = next_body(&mut bench);
    bench.frame(b, &bootstrap(key, &body));
    let sent = bench.take_sent(2);
    assert_eq!(sent[1..], [(root, correction(&body))]);
    assert_eq!(ports(sent), [a, root]);
    assert_eq!(bench.node.counters().bootstraps_corrected, 2);
}

/// A correction is taken as any bootstrap is, and goes along the old path alone.
#[test]
fn a_correction_goes_no_further_than_the_old_path() {
    let (mut bench, [root, a, b]) = three_peers(correcting());
    let key = PublicKey([0xc0; 32]);
    let correction = |body: &SignedBody| {
        let watermark = Watermark { key, sequence: 0 };
        let mut out = Vec::new();
        frame::push_bootstrap(&mut out, (7, 9), &key, &watermark, &body.encode()).unwrap();
        out
    };
    let way = |bench: &mut Bench| {
        bench.node.publish();
        let mut fib = bench.fib.reader();
        let hop = fib.load().snek(SnekKind::Traffic, &key, &Watermark::START);
        hop.next
    };
    // Where there is no old path, nowhere.
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &correction(&body));
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(way(&mut bench), NextHop::Port(a));
    // From where the last one went on to, back to where that came from.
    bench.wait(Duration::from_millis(10));
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(b, &bootstrap(key, &body));
    bench.wait(Duration::from_millis(10));
    bench.take_sent(2);
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(root, &correction(&body));
    assert_eq!(bench.take_sent(2), [(b, correction(&body))]);
    assert_eq!(way(&mut bench), NextHop::Port(root));
    // Once: what comes round is known.
    bench.frame(b, &correction(&body));
    assert_eq!(bench.take_sent(2), []);
    assert_eq!(way(&mut bench), NextHop::Port(root));
}

#[test]
fn a_lost_peering_takes_the_routes_that_came_by_it() {
    let (mut bench, [root, a, b]) = three_peers(Config::default());
    let above = PublicKey([0xc0; 32]);
    bench.frame(a, &bootstrap(made_up(1), &unsigned_body(UNIX_MS, ROOT, 1)));
    bench.frame(b, &bootstrap(made_up(2), &unsigned_body(UNIX_MS, ROOT, 1)));
    // From a, and on to the root.
    bench.frame(a, &bootstrap(above, &unsigned_body(UNIX_MS, ROOT, 1)));
    assert_eq!(bench.routes_in_fib(), 3);
    bench.node.closed(bench.now, root);
    bench.drain();
    // The key is still where its bootstrap came from.
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
    // Its number is not free before the port is closed; the root's is.
    assert_eq!(bench.connect(PublicKey([1; 32])), root);
    assert_eq!(bench.connect(PublicKey([2; 32])), PortId(4));
    bench.node.closed(bench.now, b);
    assert_eq!(bench.connect(PublicKey([3; 32])), b);
}

#[test]
fn nothing_is_taken_from_a_peer_that_has_not_announced_itself() {
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
    // One that signs as somebody else is closed at once.
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
    let refused = bench.node.connect(bench.now, NewPeer { key: own, link });
    assert_eq!(refused, Err(Refused::OwnKey));
    bench.connect(PEER_A);
    bench.connect(PEER_A);
    let refused = bench.node.connect(bench.now, NewPeer { key: PEER_A, link });
    assert_eq!(refused, Err(Refused::TooMany { limit: 2 }));
    let counters = bench.node.counters();
    assert_eq!((counters.peers_own_key, counters.peers_over_limit), (1, 1));
}

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
    // Fifteen a minute do no harm.
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
    // Again: a second one comes too soon, so forge for another key.
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
fn a_broadcast_spreads_as_far_as_its_hop_limit_says() {
    let (mut bench, [root, a, b]) = three_peers(Config::default());
    // A second link to b: one copy is enough.
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
    // The root is next to us in the tree; a and b are its children as we are.
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
    // The same again, an older one, and one that comes too soon: nothing.
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
    // Another root: nothing.
    let body = unsigned_body(bench.now.unix_ms, ROOT, 2);
    bench.frame(a, &broadcast(5, made_up(8), &body));
    assert_eq!(bench.node.counters().broadcasts_other_root, 1);
    assert_eq!(bench.take_sent(4), []);
}

#[test]
fn our_own_broadcasts_come_every_minute_or_never() {
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
    assert_eq!((header.hop_limit, header.extra), (5, 0));
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
    assert_eq!(bench.take_sent(4).len(), 2, "those of others are passed on");
}

#[test]
fn keys_of_broadcasts_are_bounded_for_each_peering() {
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
    // Three minutes later they are forgotten.
    bench.wait(Duration::from_secs(181));
    let body = unsigned_body(bench.now.unix_ms, ROOT, 1);
    bench.frame(a, &broadcast(1, made_up(50), &body));
    assert_eq!(heard(&bench), 16);
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
    // A bootstrap that cannot be read is dropped, and so is what comes on a closed port.
    let mut out = Vec::new();
    frame::push_bootstrap(&mut out, (0, 0), &PEER_A, &Watermark::START, &[0; 97]).unwrap();
    bench.frame(root, &out);
    bench.frame(a, b"rubbish");
    assert_eq!(bench.closed.len(), 2);
    assert_eq!(bench.node.counters().bootstraps_malformed, 1);
    assert_eq!(bench.node.peers().len(), 1);
}

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
    // The numbers go to others; the first key comes back.
    let [other, third] = [low[1], low[0]].map(|key| bench.connect(key));
    assert_eq!((other, third), (first, second));
    assert_eq!(answered(&mut bench, other, low[1]), 1);
    assert_eq!(answered(&mut bench, third, low[0]), 1);
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
        assert_eq!(bench.take_sent(2).len(), 1, "passed on");
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
