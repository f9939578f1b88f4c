//! Small networks: links that go down and come back, and runs that can be repeated.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pinecone_controlplane::Config;
use pinecone_sim::ids::{LinkId, NodeId};
use pinecone_sim::link::LinkOptions;
use pinecone_sim::loss::Loss;
use pinecone_sim::network::{How, Network, Observation, Way};
use pinecone_sim::node::NodeOptions;
use pinecone_sim::scenario::MeasureSettings;
use pinecone_sim::time::{MILLISECOND, SECOND};
use pinecone_sim::{Scenario, run};

const PLAIN: LinkOptions = LinkOptions {
    latency: 5 * MILLISECOND,
    bandwidth: 0,
    loss: 0,
    queue: 0,
};

const OPTIONS: fn() -> NodeOptions = || NodeOptions {
    config: Config::default(),
    signatures: true,
    hop_limiting: false,
    publish: false,
};

fn line(nodes: u32) -> (Network, Vec<LinkId>) {
    line_of(nodes, OPTIONS())
}

fn line_of(nodes: u32, options: NodeOptions) -> (Network, Vec<LinkId>) {
    let mut network = Network::new(9, options);
    for _ in 0..nodes {
        let node = network.add_node();
        network.start(node, 0);
    }
    let links = (1..nodes).map(|n| network.add_link(n - 1, n, PLAIN));
    let links = links.collect();
    (network, links)
}

fn peers(network: &Network, node: NodeId) -> usize {
    network.status(node).unwrap().peers
}

#[test]
fn a_line_converges_and_pings_are_answered() {
    let (mut network, _) = line(5);
    network.run_until(30 * SECOND);
    for (from, to) in [(0, 4), (4, 0), (2, 1)] {
        for way in [Way::Snek, Way::Tree] {
            let probe = network.probe(from, to, way);
            assert_eq!(probe.result, Ok(from.abs_diff(to)));
        }
    }
    let number = network.ping(0, 4);
    network.run_until(31 * SECOND);
    let ping = network.pings()[number];
    assert_eq!(ping.arrived, Some(30 * SECOND + 20 * MILLISECOND));
    assert_eq!(ping.answered, Some(30 * SECOND + 40 * MILLISECOND));
    assert_eq!(ping.hops, Some(4));
}

#[test]
fn a_closed_link_is_noticed_at_once_and_a_silent_one_after_five_seconds() {
    let (mut network, links) = line(3);
    network.run_until(20 * SECOND);
    network.cut(links[0], How::Closed);
    assert_eq!((peers(&network, 0), peers(&network, 1)), (0, 1));
    network.heal(links[0]);
    network.run_until(21 * SECOND);
    assert_eq!((peers(&network, 0), peers(&network, 1)), (1, 2));

    network.run_until(40 * SECOND);
    network.cut(links[0], How::Silent);
    network.run_until(41 * SECOND);
    assert_eq!((peers(&network, 0), peers(&network, 1)), (1, 2));
    assert_eq!(network.probe(0, 2, Way::Snek).result, Err(Loss::LinkDown));
    network.ping(0, 2);
    network.run_until(46 * SECOND);
    assert_eq!((peers(&network, 0), peers(&network, 1)), (0, 1));
    assert_eq!(network.counts().peerings_timed_out, 2);
    assert_eq!(network.pings()[0].lost, Some(Loss::LinkDown));
}

#[test]
fn a_link_that_heals_while_its_old_peering_lingers_gets_another() {
    let (mut network, links) = line(2);
    network.run_until(20 * SECOND);
    network.cut(links[0], How::Silent);
    network.run_until(20 * SECOND + 500 * MILLISECOND);
    network.heal(links[0]);
    network.run_until(21 * SECOND);
    assert_eq!((peers(&network, 0), peers(&network, 1)), (2, 2));
    network.run_until(30 * SECOND);
    assert_eq!((peers(&network, 0), peers(&network, 1)), (1, 1));
    assert_eq!(network.probe(0, 1, Way::Snek).result, Ok(1));
}

#[test]
fn a_node_that_comes_back_keeps_its_key_unless_it_is_renewed() {
    let (mut network, _) = line(4);
    network.run_until(20 * SECOND);
    let before = network.key(1);
    for renewed in [false, true] {
        network.stop(1, How::Silent);
        assert!(!network.is_alive(1));
        let later = network.now() + SECOND;
        network.run_until(later);
        if renewed {
            network.renew(1);
        }
        network.start(1, later);
        network.run_until(later + 40 * SECOND);
        assert_eq!(network.key(1) == before, !renewed);
        assert_eq!(network.probe(0, 3, Way::Snek).result, Ok(3));
        assert_eq!((peers(&network, 0), peers(&network, 1)), (1, 2));
    }
}

#[test]
fn published_tables_forward_like_those_of_the_control_plane() {
    let run = |publish| {
        let options = NodeOptions {
            publish,
            ..OPTIONS()
        };
        let (mut network, links) = line_of(6, options);
        let mut results = Vec::new();
        for second in 1..60 {
            match second {
                20 => network.cut(links[2], How::Closed),
                40 => network.heal(links[2]),
                _ => {}
            }
            network.run_until(second * SECOND);
            for (from, to) in [(0, 5), (5, 0), (2, 3)] {
                let ways = [Way::Snek, Way::Tree];
                results.push(ways.map(|way| network.probe(from, to, way)));
            }
        }
        results
    };
    let published = run(true);
    assert!(published == run(false), "the tables decide differently");
    let arrived = published.iter().flatten().filter(|p| p.result.is_ok());
    let arrived = arrived.count();
    assert!(arrived > 100 && arrived < 2 * published.len(), "{arrived}");
}

#[test]
fn an_observer_sees_every_frame_that_arrives() {
    let (mut network, _) = line(2);
    let seen = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&seen);
    network.observe(move |_, observation| {
        if let Observation::Frame { frame, .. } = observation {
            assert!(!frame.is_empty());
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    network.run_until(30 * SECOND);
    network.run_until(30 * SECOND + MILLISECOND * 900);
    let counts = network.counts();
    let simulated = counts.protocol().frames - counts.keepalives.frames;
    let seen = seen.load(Ordering::Relaxed);
    // A frame that was just sent has not arrived yet.
    assert!(
        seen > 10 && simulated.abs_diff(seen) <= 2,
        "{seen} of {simulated}"
    );
}

#[test]
fn idle_peerings_cost_keepalives() {
    let (mut network, _) = line(2);
    network.run_until(10 * SECOND);
    let before = network.counts();
    network.run_until(40 * SECOND);
    let after = network.counts();
    let keepalives = after.keepalives.frames - before.keepalives.frames;
    // The root sends nothing else. The other node bootstraps every five seconds.
    assert!((14..=17).contains(&keepalives), "{keepalives}");
    assert_eq!(after.keepalives.bytes, 10 * after.keepalives.frames);
    assert_eq!(after.bootstraps.frames - before.bootstraps.frames, 6);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let text = r#"
        name = "all sorts"
        duration = "45s"
        topology = { kind = "random-geometric", nodes = 30, connect = false }
        network = { correct-paths = true }
        link = { latency = ["1ms", "30ms"], bandwidth = 1000000, loss = 0.02 }
        measure.pairs = 300
        pings = { from = "10s", every = "1s", count = 5 }
        event = [
            { at = "15s", do = "churn", rate = 1.0, for = "20s", down = "3s", how = "silent" },
            { at = "15s", do = "move", range = 300, step = 50, every = "2s", rounds = 8 },
            { at = "20s", do = "kill-root" },
            { at = "21s", do = "add-nodes", count = 3 },
            { at = "25s", do = "cut-links", count = 5, heal-after = "4s", how = "silent" },
        ]
        adversary = [
            { node = 3, do = "flood", count = 2 },
            { node = 4, do = "replay" },
            { node = 6, do = "deny" },
            { node = 5, do = "drop", frames = ["traffic", "bootstrap"], rate = 0.5 },
            { node = "hub", do = "claim" },
        ]
    "#;
    let scenario = Scenario::parse(text, false).unwrap();
    let result = |scenario: &Scenario| run(scenario, |_| {}).unwrap().json();
    let first = result(&scenario);
    // The order of a hash map differs between threads.
    let second = std::thread::scope(|s| s.spawn(|| result(&scenario)).join().unwrap());
    assert!(first == second, "the same seed");
    let other = Scenario {
        seed: 1,
        ..scenario
    };
    assert!(first != result(&other), "another seed");
}

#[test]
fn pairs_that_no_link_joins_count_neither_as_reached_nor_as_lost() {
    let text = r#"
        name = "split and whole again"
        duration = "70s"
        topology = { kind = "line", nodes = 6 }
        event = [
            { at = "20s", do = "partition", share = 0.34 },
            { at = "40s", do = "merge" },
        ]
    "#;
    let scenario = Scenario::parse(text, false).unwrap();
    let report = run(&scenario, |_| {}).unwrap();
    let at = |at: f64| {
        report
            .samples
            .iter()
            .find(|sample| sample.at == at)
            .unwrap()
    };
    // Two nodes are on one side and four on the other, so 14 of 30 pairs are joined.
    let split = at(39.0);
    assert_eq!((split.pairs, split.apart), (14, 16));
    assert_eq!((split.snek.share, split.tree.share), (Some(1.0), Some(1.0)));
    assert!(split.snek.lost.is_empty() && split.tree.lost.is_empty());
    let whole = at(70.0);
    assert_eq!((whole.pairs, whole.apart), (30, 0));
    assert_eq!(whole.snek.share, Some(1.0));
    assert_eq!(report.measures.get("apart"), Some(&0.0));
}

#[test]
fn a_network_without_a_link_up_has_not_converged() {
    let text = r#"
        name = "all apart"
        duration = "40s"
        topology = { kind = "line", nodes = 3 }
        pings = { from = "20s", every = "1s", count = 2 }
        event = [{ at = "10s", do = "cut-links", count = 2 }]
        expect = { "snek.reach" = "<= 1", "pings.arrived" = "<= 1", "apart" = "== 1" }
    "#;
    let scenario = Scenario::parse(text, false).unwrap();
    let report = run(&scenario, |_| {}).unwrap();
    let last = report.samples.last().unwrap();
    assert_eq!((last.pairs, last.apart, last.snek.share), (0, 6, None));
    let any = MeasureSettings {
        converged: 0.0,
        ..MeasureSettings::default()
    };
    assert!(!last.is_converged(&any));
    // Comparisons of measures without a value do not hold.
    let found = |name: &str| report.expectations.iter().find(|e| e.name == name).unwrap();
    assert_eq!(
        (found("snek.reach").found, found("snek.reach").holds),
        (None, false)
    );
    assert_eq!(
        (found("pings.arrived").found, found("pings.arrived").holds),
        (None, false)
    );
    assert!(found("apart").holds);
}

#[test]
fn every_measure_can_be_expected() {
    let text = r#"
        name = "all measures"
        duration = "40s"
        measure = { converged = 0.2 }
        topology = { kind = "ring", nodes = 8 }
        pings = { from = "10s", every = "2s", count = 3 }
        event = [{ at = "20s", do = "cut-links", count = 1 }]
        adversary = [{ node = 3, do = "drop", frames = ["traffic"] }]
    "#;
    let scenario = Scenario::parse(text, false).unwrap();
    let report = run(&scenario, |_| {}).unwrap();
    let known = pinecone_sim::expect::measures(&scenario.event_names());
    for name in report.measures.keys() {
        assert!(known.contains(name), "add `{name}` to the known measures");
    }
    let rare = |name: &&String| !name.starts_with("converge.");
    for name in known.iter().filter(rare) {
        assert!(
            report.measures.contains_key(name),
            "no run measures `{name}`"
        );
    }
}
