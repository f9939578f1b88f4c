//! Recorded conversations of deployed nodes. A node of this implementation replaces each of them in turn. It receives
//! what that node received at the same times, and must send what that node sent: announcements and forwarded frames to
//! the byte. Only announcements that repeat the last one on their peering are left out.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pinecone_controlplane::{Config, ControlPlane, Effect, NewPeer, Now};
use pinecone_fib::FibWriter;
use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{Frame, PublicKey, SecretKey, SignedBody};
use serde_json::Value;

/// A frame that a node sent. Frames that contain the time of day are compared without it and without their signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    /// Compared to the byte.
    Frame(String),
    OwnBootstrap {
        watermark: (PublicKey, u64),
        root: (PublicKey, u64),
    },
    OwnBroadcast {
        hop_limit: u8,
        root: (PublicKey, u64),
    },
}

impl Said {
    fn new(own: PublicKey, bytes: &[u8]) -> Option<Self> {
        let root = |payload| {
            let (body, _) = SignedBody::decode(payload).unwrap();
            (body.root, body.root_sequence)
        };
        let (header, frame) = Frame::parse(bytes).unwrap();
        match frame {
            Frame::Bootstrap {
                key,
                watermark,
                payload,
            } if key == own => Some(Self::OwnBootstrap {
                watermark: (watermark.key, watermark.sequence),
                root: root(payload),
            }),
            Frame::Broadcast { key, payload } if key == own => Some(Self::OwnBroadcast {
                hop_limit: header.hop_limit,
                root: root(payload),
            }),
            Frame::Keepalive | Frame::Traffic(_) => None,
            _ => Some(Self::Frame(hex::encode(bytes))),
        }
    }
}

/// The timers of deployed nodes drift by a millisecond an interval.
const JITTER_US: u64 = 50_000;
const BOOTSTRAP_US: u64 = 5_000_000;

enum Input {
    Connect(String, u32),
    Frame(String, Vec<u8>),
    Cut(String),
}

type Talk = BTreeMap<String, Vec<(u64, Said)>>;

struct Transcript {
    lines: Vec<Value>,
}

impl Transcript {
    fn read(text: &str) -> Self {
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        Self {
            lines: lines.collect(),
        }
    }

    /// Returns the name, secret key and start of every node.
    fn nodes(&self) -> Vec<(String, SecretKey, u64)> {
        self.lines
            .iter()
            .filter(|line| line["note"] == "node")
            .map(|line| {
                let seed = line["seed"].as_str().unwrap().parse().unwrap();
                (text(&line["node"]), seed, time(line))
            })
            .collect()
    }

    /// Returns the port number that `node` assigned to its end of a connection.
    fn port(&self, conn: &str, node: &str) -> u32 {
        let is_note = |line: &&Value| {
            let note = line["note"].as_str().unwrap_or_default();
            ["dialled", "accepted"].contains(&note) && line["node"] == node && line["conn"] == conn
        };
        let note = self.lines.iter().find(is_note).unwrap();
        note["port"].as_u64().unwrap() as u32
    }

    /// Returns what `node` received, and what it sent to whom.
    fn of(&self, node: &str, own: PublicKey) -> (Vec<(u64, Input)>, Talk) {
        let (mut heard, mut said) = (Vec::new(), Talk::new());
        let mut shaking = BTreeSet::new();
        let mut announced: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for line in &self.lines {
            let conn = line["conn"].as_str().unwrap_or_default().to_owned();
            let at = time(line);
            if line["note"] == "dialled" || line["note"] == "accepted" {
                continue;
            }
            let ends: Vec<_> = conn.split('-').map(str::to_owned).collect();
            if !ends.iter().any(|end| end == node) {
                continue;
            }
            if line["note"] == "cutting connection" {
                heard.push((at, Input::Cut(conn)));
                continue;
            }
            let (Some(dir), Some(bytes)) = (line["dir"].as_str(), line["hex"].as_str()) else {
                continue;
            };
            if line["what"] == "handshake" {
                announced.clear();
                // The connection is up with the second. Its record may come later than the first frames.
                if !shaking.insert(conn.clone()) {
                    heard.push((at, Input::Connect(conn.clone(), self.port(&conn, node))));
                }
                continue;
            }
            let bytes = hex::decode(bytes).unwrap();
            let (from, to) = dir.split_once('>').unwrap();
            if from == node {
                let is_announcement =
                    matches!(Frame::parse(&bytes), Ok((_, Frame::Announcement { .. })));
                if is_announcement
                    && announced.insert(to.to_owned(), bytes.clone()).as_ref() == Some(&bytes)
                {
                    continue;
                }
                let said = said.entry(to.to_owned()).or_default();
                said.extend(Said::new(own, &bytes).map(|what| (at, what)));
            } else {
                heard.push((at, Input::Frame(from.to_owned(), bytes)));
            }
        }
        (heard, said)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn time(line: &Value) -> u64 {
    line["t_us"].as_u64().unwrap_or(0)
}

struct Actor {
    node: ControlPlane,
    own: PublicKey,
    /// Unix time in milliseconds at time 0.
    epoch: u64,
    ports: BTreeMap<String, PortId>,
    said: Talk,
}

impl Actor {
    fn now(&self, us: u64) -> Now {
        Now {
            monotonic: Duration::from_micros(us),
            unix_ms: self.epoch + us / 1000,
        }
    }

    fn run_until(&mut self, us: u64) {
        while let Some(at) = self.node.next_deadline() {
            let at = at.as_micros() as u64;
            if at > us {
                break;
            }
            self.node.tick(self.now(at));
            self.drain(at);
        }
    }

    fn drain(&mut self, us: u64) {
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Send { port, frame } => {
                    let (name, _) = self.ports.iter().find(|(_, p)| **p == port).unwrap();
                    let said = self.said.entry(name.clone()).or_default();
                    said.extend(Said::new(self.own, &frame).map(|what| (us, what)));
                }
                Effect::Close { port, reason } => panic!("closes {port}: {reason}"),
                Effect::Event(_) => {}
            }
        }
    }
}

/// Returns the time of day at the start, from any body that was signed in the conversation.
fn epoch(transcript: &Transcript) -> u64 {
    let bodies = transcript.lines.iter().filter_map(|line| {
        let sequence = line["fields"]["sequence"].as_u64()?;
        Some(sequence - time(line) / 1000)
    });
    bodies.max().unwrap()
}

fn replay(transcript: &Transcript, name: &str, secret: SecretKey, start: u64) -> (Talk, Talk) {
    let own = secret.public_key();
    let keys: BTreeMap<String, PublicKey> = transcript
        .nodes()
        .into_iter()
        .map(|(name, secret, _)| (name, secret.public_key()))
        .collect();
    let (heard, said) = transcript.of(name, own);
    let (fib, _) = FibWriter::new(own);
    // The behaviour of deployed nodes.
    let config = Config {
        wakeup_hops: 5,
        ..Config::default()
    };
    let mut actor = Actor {
        node: ControlPlane::new(config, secret, fib),
        own,
        epoch: epoch(transcript),
        ports: BTreeMap::new(),
        said: Talk::new(),
    };
    actor.node.tick(actor.now(start));
    for (at, input) in heard {
        actor.run_until(at);
        let now = actor.now(at);
        match input {
            Input::Connect(conn, port) => {
                let mut ends = conn.split('-');
                let peer = ends.find(|end| *end != name).unwrap().to_owned();
                let (key, link) = (keys[&peer], LinkType::Remote);
                let given = actor.node.connect(now, NewPeer::new(key, link));
                assert_eq!(given, Ok(PortId(port)), "{name}");
                actor.ports.insert(peer.clone(), PortId(port));
                actor.drain(at);
            }
            Input::Frame(from, frame) => actor.node.frame(now, actor.ports[&from], &frame),
            Input::Cut(conn) => {
                let mut ends = conn.split('-');
                let peer = ends.find(|end| *end != name).unwrap();
                let port = actor.ports.remove(peer).unwrap();
                actor.node.closed(now, port);
            }
        }
        actor.drain(at);
    }
    // The last lines are records that come a second or more after the last frame.
    actor.run_until(transcript.lines.last().map_or(0, time));
    (actor.said, said)
}

#[track_caller]
fn check(text: &str) {
    let transcript = Transcript::read(text);
    let nodes = transcript.nodes();
    assert!(nodes.len() >= 2);
    for (name, secret, start) in nodes {
        let (ours, theirs) = replay(&transcript, &name, secret, start);
        assert!(!theirs.is_empty());
        let peers = |talk: &Talk| talk.keys().cloned().collect::<Vec<_>>();
        assert_eq!(peers(&ours), peers(&theirs), "{name}");
        for (peer, theirs) in theirs {
            let is_bootstrap = |(_, said): &(u64, Said)| matches!(said, Said::OwnBootstrap { .. });
            let split = |talk: &[(u64, Said)]| -> (Vec<_>, Vec<_>) {
                talk.iter().cloned().partition(is_bootstrap)
            };
            let (our_bootstraps, ours) = split(&ours[&peer]);
            let (their_bootstraps, theirs) = split(&theirs);
            for (n, ((at, ours), (theirs_at, theirs))) in ours.iter().zip(&theirs).enumerate() {
                assert_eq!(ours, theirs, "{name} to {peer}, frame {n}");
                assert!(
                    at.abs_diff(*theirs_at) < JITTER_US,
                    "{name} to {peer}, frame {n}: at {at} us, not {theirs_at}"
                );
            }
            assert_eq!(ours.len(), theirs.len(), "{name} to {peer}");
            // The time at which a node bootstraps depends on its own timer, which jitters relative to its input. This
            // implementation also bootstraps at once where the recorded node waits (for another parent by a higher
            // root). But none of the recorded bootstraps may be missing or come later.
            for (at, theirs) in their_bootstraps {
                let around = at.saturating_sub(BOOTSTRAP_US)..at + JITTER_US;
                assert!(
                    our_bootstraps
                        .iter()
                        .any(|(at, ours)| *ours == theirs && around.contains(at)),
                    "{name} to {peer} at {at} us: no {theirs:?} in {our_bootstraps:?}"
                );
            }
            for pair in our_bootstraps.windows(2) {
                assert!(
                    pair[1].0 - pair[0].0 >= 1_000_000,
                    "{name}: more than one a second"
                );
            }
        }
    }
}

#[test]
fn two_nodes() {
    check(include_str!("../../wire/vectors/transcripts/two.jsonl"));
}

#[test]
fn a_line_of_three() {
    check(include_str!("../../wire/vectors/transcripts/line3.jsonl"));
}

#[test]
fn a_lost_parent() {
    check(include_str!(
        "../../wire/vectors/transcripts/parentloss.jsonl"
    ));
}

#[test]
fn traffic_both_ways() {
    check(include_str!("../../wire/vectors/transcripts/echo.jsonl"));
}
