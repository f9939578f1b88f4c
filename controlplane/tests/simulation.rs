//! Whole networks in virtual time: control planes with real forwarding tables, connected by links with a delay.
//! Everything is derived from a seed, so every run can be repeated.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use pinecone_controlplane::{Config, ControlPlane, Effect, NewPeer, Now};
use pinecone_fib::{
    Fate, FibReader, FibWriter, ForwardingOptions, LinkType, PortId, Snapshot, Transit,
};
use pinecone_wire::{
    Coordinates, Extensions, SecretKey, TrafficFields, TrafficLayout, Watermark,
    traffic::push_traffic,
};

/// Unix time in milliseconds at the start of virtual time.
const EPOCH: u64 = 1_800_000_000_000;

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

struct Node {
    plane: ControlPlane,
    offered: Extensions,
    /// How far the node's clock is ahead, in milliseconds.
    ahead: i64,
    fib: FibReader,
    /// The other end of each link: the node, its port, and the delay.
    links: BTreeMap<PortId, (usize, PortId, Duration)>,
    alive: bool,
}

struct Net {
    random: Random,
    now: Duration,
    nodes: Vec<Node>,
    /// Frames in flight, with the node and port that they go to.
    flying: BTreeMap<(Duration, u64), (usize, PortId, Vec<u8>)>,
    sent: u64,
    /// A digest of all delivered frames, with time and place.
    digest: u64,
}

/// Decides about a frame and changes it as a worker does.
fn forward(tables: &Snapshot, ingress: PortId, frame: &mut Vec<u8>) -> Fate {
    let (layout, sequence) = TrafficLayout::parse_with_sequence(frame).unwrap();
    let transit = Transit {
        ingress,
        layout,
        sequence,
    };
    let mut head = Vec::new();
    let options = ForwardingOptions::default();
    let fate = tables.forward_frame(frame, &transit, options, &mut head);
    match fate {
        Fate::Forward { start, .. } => drop(frame.drain(..start)),
        Fate::Rewritten { .. } => {
            head.extend_from_slice(layout.payload(frame));
            *frame = head;
        }
        Fate::Deliver | Fate::Drop(_) => {}
    }
    fate
}

/// Returns the watermark of a frame; one with destination coordinates has made no progress by key.
fn watermark(frame: &[u8]) -> Watermark {
    TrafficLayout::parse(frame).unwrap().watermark(frame)
}

impl Net {
    fn new(seed: u64, nodes: usize) -> Self {
        Self::with_config(seed, nodes, |_| Config::default())
    }

    fn with_config(seed: u64, nodes: usize, config: impl Fn(usize) -> Config) -> Self {
        let mut random = Random(seed);
        let nodes = (0..nodes)
            .map(|node| {
                let mut bytes = [0; 32];
                bytes.fill_with(|| random.next() as u8);
                let secret = SecretKey::from_seed(&bytes);
                let (writer, fib) = FibWriter::new(secret.public_key());
                let config = config(node);
                Node {
                    offered: config.extensions(),
                    ahead: 0,
                    plane: ControlPlane::new(config, secret, writer),
                    fib: fib.reader(),
                    links: BTreeMap::new(),
                    alive: true,
                }
            })
            .collect();
        let mut net = Self {
            random,
            now: Duration::ZERO,
            nodes,
            flying: BTreeMap::new(),
            sent: 0,
            digest: 0,
        };
        // The nodes do not start at once, and their timers do not run in step.
        for node in 0..net.nodes.len() {
            net.now += Duration::from_micros(net.random.next() % 25_000);
            net.with(node, |plane, now| plane.tick(now));
        }
        net
    }

    /// Returns the time by a node's clock.
    fn time_at(&self, node: usize) -> Now {
        let unix_ms = EPOCH + self.now.as_millis() as u64;
        Now {
            monotonic: self.now,
            unix_ms: unix_ms.saturating_add_signed(self.nodes[node].ahead),
        }
    }

    /// Calls a node and carries out its effects.
    fn with<R>(&mut self, node: usize, act: impl FnOnce(&mut ControlPlane, Now) -> R) -> R {
        let now = self.time_at(node);
        let plane = &mut self.nodes[node].plane;
        let result = act(plane, now);
        plane.publish();
        while let Some(effect) = self.nodes[node].plane.poll_effect() {
            match effect {
                Effect::Send { port, frame } => {
                    // The link may be being cut.
                    let Some(&(to, to_port, delay)) = self.nodes[node].links.get(&port) else {
                        continue;
                    };
                    self.sent += 1;
                    self.flying
                        .insert((self.now + delay, self.sent), (to, to_port, frame));
                }
                Effect::Close { port, reason } => panic!("{node} closes {port}: {reason}"),
                Effect::Event(_) => {}
            }
        }
        result
    }

    fn link(&mut self, a: usize, b: usize) {
        let delay = Duration::from_micros(500 + self.random.next() % 20_000);
        let [peer_a, peer_b] = [a, b].map(|node| NewPeer {
            key: self.nodes[node].plane.public_key(),
            link: LinkType::Remote,
            extensions: self.nodes[node].offered,
        });
        // Both ends must know each other before the first frame is sent.
        let [now_a, now_b] = [a, b].map(|node| self.time_at(node));
        let port_a = self.nodes[a].plane.connect(now_a, peer_b).unwrap();
        let port_b = self.nodes[b].plane.connect(now_b, peer_a).unwrap();
        self.nodes[a].links.insert(port_a, (b, port_b, delay));
        self.nodes[b].links.insert(port_b, (a, port_a, delay));
        self.with(a, |_, _| ());
        self.with(b, |_, _| ());
    }

    fn cut(&mut self, a: usize, b: usize) {
        let (&port_a, &(_, port_b, _)) = self.nodes[a]
            .links
            .iter()
            .find(|(_, (to, _, _))| *to == b)
            .unwrap();
        self.nodes[a].links.remove(&port_a);
        self.nodes[b].links.remove(&port_b);
        let at = |node, port| move |to: &(usize, PortId, Vec<u8>)| (to.0, to.1) != (node, port);
        let (to_a, to_b) = (at(a, port_a), at(b, port_b));
        self.flying.retain(|_, to| to_a(to) && to_b(to));
        self.with(a, |plane, now| plane.closed(now, port_a));
        self.with(b, |plane, now| plane.closed(now, port_b));
    }

    fn kill(&mut self, node: usize) {
        while let Some(&(peer, _, _)) = self.nodes[node].links.values().next() {
            self.cut(node, peer);
        }
        self.nodes[node].alive = false;
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let frame = self.flying.first_key_value().map(|((at, _), _)| *at);
            let (tick, node) = (0..self.nodes.len())
                .filter(|&node| self.nodes[node].alive)
                .filter_map(|node| Some((self.nodes[node].plane.next_deadline()?, node)))
                .min()
                .unwrap();
            let at = frame.map_or(tick, |frame| frame.min(tick));
            if at > end {
                break;
            }
            assert!(
                at >= self.now,
                "deadline {at:?} has passed at {:?}",
                self.now
            );
            self.now = at;
            if frame == Some(at) {
                let (_, (to, port, frame)) = self.flying.pop_first().unwrap();
                for value in [at.as_nanos() as u64, to as u64, u64::from(port.0)] {
                    self.digest = Random(self.digest ^ value).next();
                }
                for byte in &frame {
                    self.digest = Random(self.digest ^ u64::from(*byte)).next();
                }
                self.with(to, |plane, now| plane.frame(now, port, &frame));
            } else {
                self.with(node, |plane, now| {
                    plane.tick(now);
                    assert!(
                        plane.next_deadline() > Some(now.monotonic),
                        "nothing was due"
                    );
                });
            }
        }
        self.now = end;
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&n| self.nodes[n].alive)
            .collect()
    }

    fn coordinates(&self, node: usize) -> Coordinates {
        self.nodes[node].plane.status().coordinates
    }

    fn node_above_all(&self) -> usize {
        let alive = self.alive().into_iter();
        alive
            .max_by_key(|&n| self.nodes[n].plane.public_key())
            .unwrap()
    }

    /// Checks that there is one root, and that each node's coordinates follow from its parent's.
    fn check_tree(&self) -> Result<(), String> {
        let root = self.nodes[self.node_above_all()].plane.public_key();
        for n in self.alive() {
            let status = self.nodes[n].plane.status();
            if status.root != root {
                return Err(format!("{n} follows {}, not {root}", status.root));
            }
            let expected = match status.parent {
                None => Coordinates::default(),
                Some((port, _)) => {
                    let (parent, its_port, _) = self.nodes[n].links[&port];
                    let mut ports = self.coordinates(parent).ports().to_vec();
                    ports.push(u64::from(its_port.0));
                    ports.into()
                }
            };
            if status.coordinates != expected {
                return Err(format!("{n} is at {}, not {expected}", status.coordinates));
            }
        }
        Ok(())
    }

    /// Forwards a traffic frame from node to node as workers do: by coordinates as long as the tree knows a way, then by
    /// SNEK.
    fn walk(&mut self, from: usize, to: usize, by_tree: bool) -> Result<usize, String> {
        let own = Coordinates::default();
        let mut frame = Vec::new();
        let fields = TrafficFields {
            extra: 0,
            hop_limit: 0,
            destination: if by_tree { &self.coordinates(to) } else { &own },
            source: &own,
            destination_key: self.nodes[to].plane.public_key(),
            source_key: self.nodes[from].plane.public_key(),
            watermark: Watermark::START,
            payload: b"payload",
        };
        push_traffic(&mut frame, &fields).unwrap();
        let (mut at, mut ingress) = (from, PortId::LOCAL);
        for hops in 0..100 {
            let snapshot = self.nodes[at].fib.load();
            let before = watermark(&frame);
            let port = match forward(snapshot, ingress, &mut frame) {
                Fate::Deliver if at == to => return Ok(hops),
                Fate::Forward { egress, .. } | Fate::Rewritten { egress, .. } => egress,
                other => return Err(format!("{from} to {to}: {other:?} at {at}")),
            };
            if watermark(&frame).is_worse_than(&before) {
                return Err(format!("{from} to {to}: watermark gets worse at {at}"));
            }
            if port == ingress {
                return Err(format!("{from} to {to}: backwards at {at}"));
            }
            let (peer, its_port, _) = self.nodes[at].links[&port];
            (at, ingress) = (peer, its_port);
        }
        Err(format!("{from} to {to}: too many hops"))
    }

    fn check_pairs(&mut self) -> Result<(), String> {
        for from in self.alive() {
            for to in self.alive() {
                self.walk(from, to, false)?;
                self.walk(from, to, true)?;
            }
        }
        Ok(())
    }

    /// Waits up to 15 s until all checks pass, then checks for a while that they still do.
    #[track_caller]
    fn stabilise(&mut self) {
        let mut result = Err(String::new());
        for _ in 0..30 {
            self.run(Duration::from_millis(500));
            result = self.check_tree().and_then(|()| self.check_pairs());
            if result.is_ok() {
                break;
            }
        }
        result.unwrap();
        for _ in 0..20 {
            self.run(Duration::from_secs(1));
            self.check_tree().unwrap();
            // Where a path has moved, its old routes expire at one node after another, and frames are lost for a moment.
            if self.check_pairs().is_err() {
                self.run(Duration::from_secs(1));
                let result = self.check_pairs();
                result.unwrap();
            }
        }
    }
}

fn line(seed: u64, nodes: usize) -> Net {
    let mut net = Net::new(seed, nodes);
    for n in 1..nodes {
        net.link(n - 1, n);
    }
    net
}

fn ring(seed: u64, nodes: usize) -> Net {
    let mut net = line(seed, nodes);
    net.link(nodes - 1, 0);
    net
}

/// Returns a random tree with some additional links.
fn web(seed: u64, nodes: usize, more: usize) -> (Net, Vec<(usize, usize)>) {
    web_of(Net::new(seed, nodes), more)
}

fn web_of(mut net: Net, more: usize) -> (Net, Vec<(usize, usize)>) {
    let nodes = net.nodes.len();
    let mut links = Vec::new();
    for n in 1..nodes {
        let peer = net.random.below(n);
        links.push((peer, n));
    }
    while links.len() < nodes - 1 + more {
        let (a, b) = (net.random.below(nodes), net.random.below(nodes));
        if a < b && !links.contains(&(a, b)) {
            links.push((a, b));
        }
    }
    for &(a, b) in &links {
        net.link(a, b);
    }
    (net, links)
}

#[test]
fn two_nodes() {
    for seed in 0..10 {
        let mut net = line(seed, 2);
        net.stabilise();
        net.cut(0, 1);
        net.run(Duration::from_secs(5));
        assert_eq!(net.nodes[0].plane.status().routes, 0);
        net.link(0, 1);
        net.stabilise();
    }
}

#[test]
fn a_line_of_five_with_a_link_cut_and_healed() {
    for seed in 0..10 {
        let mut net = line(seed, 5);
        net.stabilise();
        for n in 1..5 {
            net.cut(n - 1, n);
            net.run(Duration::from_secs(7));
            net.link(n - 1, n);
            net.stabilise();
        }
    }
}

#[test]
fn a_ring_routes_the_other_way_around() {
    for seed in 0..10 {
        let mut net = ring(seed, 7);
        net.stabilise();
        net.cut(2, 3);
        net.stabilise();
        net.link(2, 3);
        net.stabilise();
        let root = net.node_above_all();
        net.kill(root);
        net.stabilise();
    }
}

#[test]
fn thirty_random_nodes_lose_links_and_their_root() {
    for seed in 0..4 {
        let (mut net, links) = web(seed, 30, 30);
        net.stabilise();
        // The additional links are not needed for connectivity.
        for &(a, b) in &links[29..34] {
            net.cut(a, b);
            net.stabilise();
            net.link(a, b);
        }
        net.stabilise();
    }
    for seed in 4..8 {
        let (mut net, _) = web(seed, 30, 90);
        net.stabilise();
        let root = net.node_above_all();
        net.kill(root);
        net.stabilise();
    }
}

/// Returns a configuration with or without corrections and notices.
fn correcting(correct_paths: bool) -> Config {
    Config {
        correct_paths,
        ..Config::default()
    }
}

#[test]
fn nodes_that_correct_paths_and_others_mix() {
    for seed in 0..4 {
        let net = Net::with_config(seed, 24, |node| correcting(node % 2 == 0));
        let (mut net, links) = web_of(net, 30);
        net.stabilise();
        for &(a, b) in &links[23..28] {
            net.cut(a, b);
            net.stabilise();
            net.link(a, b);
        }
        let root = net.node_above_all();
        let (links, kept) = (links.into_iter(), |a, b| a != root && b != root);
        let beyond = links.skip(28).filter(|&(a, b)| kept(a, b));
        for (a, b) in beyond.take(8) {
            net.cut(a, b);
            net.link(a, b);
        }
        net.stabilise();
        let notices: u64 = (net.nodes.iter())
            .map(|node| node.plane.counters().break_notices_sent)
            .sum();
        assert!(notices > 0);
        assert!(net.nodes.iter().all(|n| {
            let counters = n.plane.counters();
            counters.break_notices_held_back == 0 && counters.peers_closed == 0
        }));
    }
}

/// Returns for how long pairs do not reach each other after links are cut, in tenths of a second.
fn mending(config: &Config) -> usize {
    let mut broken = 0;
    for seed in 0..3 {
        let net = Net::with_config(seed, 24, |_| config.clone());
        let (mut net, links) = web_of(net, 40);
        net.run(Duration::from_secs(30));
        for &(a, b) in &links[23..29] {
            net.cut(a, b);
            for _ in 0..100 {
                net.run(Duration::from_millis(100));
                broken += usize::from(net.check_pairs().is_err());
            }
        }
    }
    broken
}

#[test]
fn a_network_with_notices_recovers_sooner() {
    let corrections_alone = Config {
        max_break_notices: 0,
        ..correcting(true)
    };
    let (without, with) = (mending(&corrections_alone), mending(&correcting(true)));
    println!("broken for {without} tenths of a second, {with} with notices");
    // Without doubled bootstraps it is less than half.
    assert!(with < without, "{with} and {without}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let (mut net, links) = web(seed, 12, 8);
        net.run(Duration::from_secs(20));
        net.cut(links[3].0, links[3].1);
        net.run(Duration::from_secs(20));
        (net.sent, net.digest)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

/// A ring of eight, and one with the highest key that is joined to it for 2 s, gone for 2 s, and so on
/// for 10 minutes. Root changes of all the others in the second half of that, and the share of looks
/// at which all of them reached each other.
fn flap(config: &Config) -> (Net, u64, f64) {
    let mut net = Net::with_config(11, 9, |_| config.clone());
    let top = net.node_above_all();
    let ring: Vec<_> = (0..9).filter(|n| *n != top).collect();
    for n in 0..ring.len() {
        net.link(ring[n], ring[(n + 1) % ring.len()]);
    }
    net.run(Duration::from_secs(30));
    let changes = |net: &Net| -> u64 {
        let counters = ring.iter().map(|n| net.nodes[*n].plane.counters());
        counters.map(|c| c.root_changes).sum()
    };
    let (mut before, mut good) = (0, 0);
    for round in 0..150 {
        if round == 75 {
            before = changes(&net);
        }
        net.link(ring[0], top);
        net.run(Duration::from_secs(2));
        net.cut(ring[0], top);
        net.run(Duration::from_secs(2));
        if round >= 75 {
            let mut pairs = ring.iter().flat_map(|a| ring.iter().map(move |b| (*a, *b)));
            good += usize::from(pairs.all(|(a, b)| net.walk(a, b, false).is_ok()));
        }
    }
    net.link(ring[0], top);
    let changed = changes(&net) - before;
    (net, changed, good as f64 / 75.0)
}

#[test]
fn a_highest_key_that_flaps_does_not_move_the_network_for_ever() {
    let (mut net, changes, good) = flap(&Config::default());
    // Five minutes, eight nodes: at most two comings and goings a minute of each.
    assert!(changes <= 5 * 8 * 4, "{changes} root changes");
    assert!(good >= 0.8, "{good}");
    // It stays: after the longest hold it is the root of all.
    net.run(Duration::from_secs(65));
    net.stabilise();
    let unbounded = Config {
        max_root_flaps: 1_000_000,
        ..Config::default()
    };
    let (_, undamped, bad) = flap(&unbounded);
    println!("root changes: {changes}, undamped {undamped}; all reached {good}, undamped {bad}");
    assert!(undamped > 5 * changes, "{undamped} and {changes}");
}

const DAY: i64 = 24 * 60 * 60 * 1000;

/// A line of seven, some of whose clocks are so many milliseconds ahead.
fn line_with_clocks(seed: u64, clocks: &[(usize, i64)], wakeup_hops: u8) -> Net {
    let mut net = Net::with_config(seed, 7, |_| Config {
        wakeup_hops,
        ..Config::default()
    });
    for (node, ahead) in clocks {
        net.nodes[*node].ahead = *ahead;
    }
    for n in 1..7 {
        net.link(n - 1, n);
    }
    net
}

#[test]
fn nodes_whose_clocks_are_wrong_carry_others_and_are_reached() {
    let month = 30 * DAY;
    let since_1970 = EPOCH as i64;
    for clocks in [
        &[(3, -2 * DAY)][..],
        &[(3, 2 * DAY)],
        &[(3, -month)],
        &[(3, -since_1970)],
        &[(0, -2 * DAY)],
        &[(0, 2 * DAY)],
        &[(0, month), (6, -month)],
        &[(1, 2 * DAY)],
        &[(1, -2 * DAY), (5, 2 * DAY)],
        &[(2, -2 * DAY), (3, -2 * DAY)],
        &[(2, -2 * DAY), (3, -3 * DAY)],
    ] {
        for seed in 0..6 {
            for wakeup_hops in [1, 5] {
                println!("{clocks:?}, seed {seed}, {wakeup_hops} hops");
                let mut net = line_with_clocks(seed, clocks, wakeup_hops);
                net.stabilise();
                for (n, node) in net.nodes.iter().enumerate() {
                    let is_wrong = |n: usize| clocks.iter().any(|(wrong, _)| *wrong == n);
                    if !(2..=4).contains(&n) || is_wrong(n + 1) || is_wrong(n - 1) {
                        // An end may have heard of no clock but its neighbour's, and believed it.
                        continue;
                    }
                    let by = node.plane.status().clock_behind_ms;
                    let ahead = clocks.iter().find(|(node, _)| *node == n);
                    let expected = ahead.map(|(_, ahead)| -ahead / DAY);
                    let days = by.map(|by| (by as f64 / DAY as f64).round() as i64);
                    assert_eq!(days, expected, "{n}");
                }
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_right_interrupts_nobody_for_long() {
    for (node, ahead) in [(0, 2 * DAY), (3, 2 * DAY), (0, -2 * DAY), (3, -2 * DAY)] {
        for seed in 0..4 {
            let mut net = line_with_clocks(seed, &[(node, ahead)], 1);
            net.stabilise();
            net.nodes[node].ahead = 0;
            net.run(Duration::from_secs(5));
            net.stabilise();
            assert_eq!(net.nodes[node].plane.status().clock_behind_ms, None);
        }
    }
}
