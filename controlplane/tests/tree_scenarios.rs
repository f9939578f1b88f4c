//! The recorded tree scenarios, step by step, through the public API. Their keys are not points of the curve, so nothing
//! is signed.
//!
//! The deployed node repeats some announcements on the same peering. This implementation leaves those out, and must
//! send all others. The deployed node also takes a repeat from its parent for bad news. This implementation must not
//! react to it, and then receives the same news with other signatures, which is not a repeat.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use pinecone_controlplane::{CloseReason, Config, ControlPlane, Effect, NewPeer, Now};
use pinecone_fib::FibWriter;
use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{Announcement, Coordinates, Frame, PublicKey, frame, varu64};
use serde_json::Value;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// An announcement that was sent: port, root, root sequence, signers.
type Sent = (u32, PublicKey, u64, Vec<(u64, PublicKey)>);

struct Scenario<'a> {
    pool: &'a [PublicKey],
    node: ControlPlane,
    now: Now,
    /// The last announcement frame received on each port.
    heard: BTreeMap<u32, Vec<u8>>,
    /// Number of repeats from parents so far.
    repeats: u8,
}

impl Scenario<'_> {
    fn key(&self, index: &Value) -> PublicKey {
        self.pool[number(index) as usize]
    }

    fn signers(&self, value: &Value) -> Vec<(u64, PublicKey)> {
        list(value)
            .iter()
            .map(|entry| (number(&entry[0]), self.key(&entry[1])))
            .collect()
    }

    fn announcement(&self, step: &Value, signature: [u8; 64]) -> Vec<u8> {
        let mut payload = self.key(&step["root"]).as_bytes().to_vec();
        varu64::push(&mut payload, number(&step["rseq"]));
        for (port, key) in self.signers(&step["sigs"]) {
            varu64::push(&mut payload, port);
            payload.extend_from_slice(key.as_bytes());
            payload.extend_from_slice(&signature);
        }
        let mut frame = Vec::new();
        frame::push_announcement(&mut frame, &payload).unwrap();
        frame
    }

    fn announce(&mut self, step: &Value, port: PortId) {
        let mut frame = self.announcement(step, [self.repeats; 64]);
        let is_repeat = self.heard.get(&port.0) == Some(&frame);
        let before = self.node.status();
        if is_repeat && before.parent.is_some_and(|(parent, _)| parent == port) {
            self.node.frame(self.now, port, &frame);
            assert_eq!(self.node.poll_effect(), None, "a repeat: {step}");
            let after = self.node.status();
            assert_eq!(format!("{after:?}"), format!("{before:?}"));
            self.repeats += 1;
            frame = self.announcement(step, [self.repeats; 64]);
        }
        self.node.frame(self.now, port, &frame);
        self.heard.insert(port.0, frame);
    }

    /// Runs a step. Returns the announcements sent, the other frames sent, and the reasons for closing peerings.
    fn run(&mut self, step: &Value) -> (Vec<Sent>, Vec<(u32, u8)>, Vec<CloseReason>) {
        let port = PortId(number(&step["port"]) as u32);
        self.now.monotonic += Duration::from_millis(1);
        self.now.unix_ms += 1;
        match step["op"].as_str().unwrap() {
            "connect" => {
                let peer = NewPeer::new(self.key(&step["key"]), LinkType::Remote);
                assert_eq!(self.node.connect(self.now, peer), Ok(port));
            }
            "announce" => self.announce(step, port),
            "disconnect" => self.node.closed(self.now, port),
            "timer" => {
                self.now.monotonic += Duration::from_secs(1);
                self.now.unix_ms += 1000;
                self.node.tick(self.now);
            }
            other => panic!("unknown step {other}"),
        }
        let (mut sent, mut others, mut closed) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Send { port, frame } => match Frame::parse(&frame).unwrap() {
                    (_, Frame::Announcement { payload }) => {
                        let announcement = Announcement::decode(payload).unwrap();
                        sent.push((
                            port.0,
                            announcement.root(),
                            announcement.root_sequence(),
                            announcement
                                .entries()
                                .iter()
                                .map(|entry| (entry.port, entry.key))
                                .collect(),
                        ));
                    }
                    // The recorded timer serves only the tree. That of this implementation also bootstraps.
                    (_, Frame::Bootstrap { .. }) if step["op"] == "timer" => {}
                    (header, _) => others.push((port.0, header.kind.byte())),
                },
                // Its port number stays in use until the scenario disconnects it.
                Effect::Close { reason, .. } => closed.push(reason),
                Effect::Event(_) => {}
            }
        }
        (sent, others, closed)
    }
}

#[test]
fn every_recorded_scenario() {
    let read = |text| serde_json::from_str::<Value>(text).unwrap();
    let pool: Vec<PublicKey> = list(&read(include_str!("../../wire/vectors/pool.json"))["keys"])
        .iter()
        .map(|key| key.as_str().unwrap().parse().unwrap())
        .collect();
    let file = read(include_str!("../../wire/vectors/tree_scenarios.json"));
    let (mut steps, mut repeats, mut from_parents) = (0, 0, 0);
    let mut departed = BTreeMap::new();
    for case in list(&file["cases"]) {
        let own = pool[number(&case["self"]) as usize];
        let (fib, _) = FibWriter::new(own);
        let config = Config {
            announce_within: Duration::from_secs(3600),
            ..Config::default()
        };
        let mut scenario = Scenario {
            pool: &pool,
            node: ControlPlane::new_unsigned(config, own, fib),
            now: Now::default(),
            heard: BTreeMap::new(),
            repeats: 0,
        };
        let mut last: BTreeMap<u32, Sent> = BTreeMap::new();
        for (n, step) in list(&case["steps"]).iter().enumerate() {
            if step["op"] == "connect" {
                last.remove(&(number(&step["port"]) as u32));
            }
            let at = format!("case {} step {n}: {step}", case["id"]);
            let before = scenario.node.status();
            let (sent, others, closed) = scenario.run(step);
            // A Go node that loses its parent moves to a lower sequence of the same root, and its peers close their
            // peerings because of that. This implementation is root in between, so the rest of the scenario differs.
            if scenario.key(&step["cur_root"]) == before.root
                && number(&step["cur_rseq"]) < before.root_sequence
            {
                let status = scenario.node.status();
                assert_eq!((status.root, status.waiting), (own, true), "{at}");
                assert!(sent.iter().all(|sent| sent.1 == own), "{at}");
                let left = list(&case["steps"]).len() - n;
                departed.insert(number(&case["id"]), left);
                break;
            }
            let expected: Vec<Sent> = list(&step["sent"])
                .iter()
                .map(|sent| {
                    (
                        number(&sent["port"]) as u32,
                        scenario.key(&sent["root"]),
                        number(&sent["rseq"]),
                        scenario.signers(&sent["sigs"]),
                    )
                })
                .filter(|sent: &Sent| {
                    let new = last.insert(sent.0, sent.clone()).as_ref() != Some(sent);
                    repeats += usize::from(!new);
                    new
                })
                .collect();
            assert_eq!(sent, expected, "{at}");
            let expected: Vec<_> = list(&step["other"])
                .iter()
                .map(|other| (number(&other[0]) as u32, number(&other[1]) as u8))
                .collect();
            assert_eq!(others, expected, "{at}");
            match step["error"].as_str() {
                // A frame from, or the loss of, a peer that has gone already.
                None | Some("not connected") => assert_eq!(closed, [], "{at}"),
                Some("update replays old sequence number") => {
                    assert!(matches!(closed[..], [CloseReason::Replay { .. }]), "{at}");
                }
                Some(other) => panic!("unknown error {other}"),
            }
            let status = scenario.node.status();
            let parent = status.parent.map_or(0, |(port, _)| u64::from(port.0));
            assert_eq!(parent, number(&step["parent"]), "{at}");
            assert_eq!(status.root, scenario.key(&step["cur_root"]), "{at}");
            assert_eq!(status.root_sequence, number(&step["cur_rseq"]), "{at}");
            let coordinates: Vec<_> = list(&step["coords"]).iter().map(number).collect();
            assert_eq!(status.coordinates, Coordinates::from(coordinates), "{at}");
            assert_eq!(status.waiting, step["waiting"].as_bool().unwrap(), "{at}");
            steps += 1;
        }
        from_parents += u32::from(scenario.repeats);
    }
    let left: usize = departed.values().sum();
    assert_eq!((steps + left, departed.len()), (2695, 1), "{departed:?}");
    assert!(repeats > 0 && from_parents > 0);
    println!("{repeats} repeats left out, {from_parents} of parents ignored");
}
