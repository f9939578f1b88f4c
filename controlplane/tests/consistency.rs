//! After any sequence of inputs, the status of the control plane, the events it reported and the forwarding tables
//! agree.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pinecone_controlplane::{
    CloseReason, Config, ControlPlane, Effect, Event, NewPeer, Now, PeerStatus,
};
use pinecone_fib::{FibReader, FibWriter};
use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{
    Coordinates, Extensions, Frame, PublicKey, Signature, SignedBody, Watermark, frame, varu64,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Connect {
        key: u8,
        link: u8,
        priority: u8,
    },
    Closed {
        port: u32,
    },
    Disconnect {
        port: u32,
    },
    /// The signers from the root down to the peer, which is added.
    Announce {
        port: u32,
        sequence: u64,
        signers: Vec<(u64, u8)>,
    },
    /// `watermark`: none is the initial one. `ours`: under this node's root.
    Bootstrap {
        port: u32,
        key: u8,
        lead: i64,
        watermark: Option<u8>,
        ours: bool,
    },
    /// A notice that the path of a key is broken.
    Notice {
        port: u32,
        key: u8,
        lead: i64,
    },
    Broadcast {
        port: u32,
        key: u8,
        lead: i64,
        hop_limit: u8,
    },
    Garbage {
        port: u32,
        bytes: Vec<u8>,
    },
    Wait {
        ms: u64,
    },
    /// The caller's clock is set back, without a tick.
    Back {
        ms: u64,
    },
}

const PORTS: u32 = 6;

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

fn step() -> impl Strategy<Value = Step> {
    let port = || 1..=PORTS;
    prop_oneof![
        // Several peerings often have the same key.
        6 => (prop_oneof![0..40u8, 37..40u8], 0..5u8, 0..3u8).prop_map(|(key, link, priority)| {
            Step::Connect { key, link, priority }
        }),
        1 => port().prop_map(|port| Step::Closed { port }),
        1 => port().prop_map(|port| Step::Disconnect { port }),
        12 => (port(), 0..4u64, prop::collection::vec((1..4u64, 0..40u8), 0..4))
            .prop_map(|(port, sequence, signers)| Step::Announce { port, sequence, signers }),
        16 => (port(), 0..60u8, -9..9i64, prop::option::of(0..60u8), prop::bool::weighted(0.9))
            .prop_map(|(port, key, lead, watermark, ours)| {
                Step::Bootstrap { port, key, lead, watermark, ours }
            }),
        4 => (port(), 0..60u8, -9..9i64)
            .prop_map(|(port, key, lead)| Step::Notice { port, key, lead }),
        4 => (port(), 0..60u8, -9..9i64, 0..7u8).prop_map(|(port, key, lead, hop_limit)| {
            Step::Broadcast { port, key, lead, hop_limit }
        }),
        1 => (port(), prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(port, bytes)| Step::Garbage { port, bytes }),
        8 => (0..4_000u64).prop_map(|ms| Step::Wait { ms }),
        1 => (0..20_000u64).prop_map(|ms| Step::Back { ms }),
    ]
}

/// The state that a subscriber derives from events.
#[derive(Default)]
struct Heard {
    peers: BTreeMap<PortId, PublicKey>,
    routes: BTreeSet<PublicKey>,
    parent: Option<PublicKey>,
    root: Option<(PublicKey, u64)>,
    coordinates: Coordinates,
    descending: Option<PublicKey>,
}

struct World {
    node: ControlPlane,
    offered: Extensions,
    fib: FibReader,
    now: Now,
    heard: Heard,
}

impl World {
    fn new(correct_paths: bool) -> Self {
        let own = key(20);
        let (writer, fib) = FibWriter::new(own);
        let config = Config {
            correct_paths,
            max_peers: PORTS as usize,
            max_routes: 12,
            max_routes_per_peer: 8,
            max_remembered_sequences: 6,
            max_root_changes: 3,
            ..Config::default()
        };
        Self {
            offered: config.extensions(),
            node: ControlPlane::new_unsigned(config, own, writer),
            fib: fib.reader(),
            now: Now {
                monotonic: Duration::from_secs(1000),
                unix_ms: 1_800_000_000_000,
            },
            heard: Heard::default(),
        }
    }

    fn run(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Connect {
                key: n,
                link,
                priority,
            } => {
                let link = match link {
                    0 => LinkType::Pipe,
                    1 => LinkType::Multicast,
                    2 => LinkType::Bonjour,
                    3 => LinkType::Remote,
                    _ => LinkType::Bluetooth,
                };
                let extensions = self.offered;
                let key = key(n);
                let peer = NewPeer {
                    key,
                    link,
                    extensions,
                    priority,
                };
                let _ = self.node.connect(now, peer);
            }
            Step::Closed { port } => self.node.closed(now, PortId(port)),
            Step::Disconnect { port } => {
                self.node
                    .disconnect(now, PortId(port), CloseReason::Requested);
            }
            Step::Announce {
                port,
                sequence,
                signers,
            } => {
                let Some(peer) = self.heard.peers.get(&PortId(port)) else {
                    return;
                };
                let mut chain: Vec<_> = signers.iter().map(|(p, n)| (*p, key(*n))).collect();
                chain.push((1, *peer));
                let mut payload = chain[0].1.as_bytes().to_vec();
                varu64::push(&mut payload, sequence);
                for (port, key) in chain {
                    varu64::push(&mut payload, port);
                    payload.extend_from_slice(key.as_bytes());
                    payload.extend_from_slice(&[0; 64]);
                }
                let mut frame = Vec::new();
                frame::push_announcement(&mut frame, &payload).unwrap();
                self.node.frame(now, PortId(port), &frame);
            }
            Step::Bootstrap {
                port,
                key: n,
                lead,
                watermark,
                ours,
            } => {
                let watermark = watermark.map_or(Watermark::START, |n| Watermark {
                    key: key(n),
                    sequence: 0,
                });
                let body = self.body(lead, ours);
                let mut frame = Vec::new();
                frame::push_bootstrap(&mut frame, (0, 0), &key(n), &watermark, &body).unwrap();
                self.node.frame(now, PortId(port), &frame);
            }
            Step::Notice { port, key: n, lead } => {
                let watermark = Watermark {
                    key: key(n),
                    sequence: self.sequence(lead),
                };
                let body = self.body(lead, true);
                let mut frame = Vec::new();
                frame::push_bootstrap(&mut frame, (0, 0), &key(n), &watermark, &body).unwrap();
                self.node.frame(now, PortId(port), &frame);
            }
            Step::Broadcast {
                port,
                key: n,
                lead,
                hop_limit,
            } => {
                let body = self.body(lead, true);
                let mut frame = Vec::new();
                frame::push_broadcast(&mut frame, (0, hop_limit), &key(n), &body).unwrap();
                self.node.frame(now, PortId(port), &frame);
            }
            Step::Garbage { port, bytes } => self.node.frame(now, PortId(port), &bytes),
            Step::Wait { ms } => {
                self.now.monotonic += Duration::from_millis(ms);
                self.now.unix_ms += ms;
                self.node.tick(self.now);
                let next = self.node.next_deadline().unwrap();
                // The node's time does not go backwards.
                assert!(next > self.now.monotonic);
            }
            Step::Back { ms } => {
                self.now.monotonic -= Duration::from_millis(ms).min(self.now.monotonic);
                self.now.unix_ms -= ms;
                self.node.frame(self.now, PortId(1), b"");
            }
        }
    }

    fn sequence(&self, lead: i64) -> u64 {
        self.now.unix_ms.saturating_add_signed(lead * 1000)
    }

    fn body(&self, lead: i64, ours: bool) -> Vec<u8> {
        let status = self.node.status();
        SignedBody {
            sequence: self.sequence(lead),
            root: if ours { status.root } else { key(1) },
            root_sequence: status.root_sequence,
            signature: Signature([0; 64]),
        }
        .encode()
    }

    fn drain(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Send { port, frame } => {
                    assert!(self.heard.peers.contains_key(&port), "{port} is not live");
                    let (header, _) = Frame::parse(&frame).unwrap();
                    assert_eq!(usize::from(header.len), frame.len());
                }
                Effect::Close { port, .. } => assert!(self.heard.peers.contains_key(&port)),
                Effect::Event(event) => self.hear(event),
            }
        }
    }

    /// Checks that every event reports a change.
    fn hear(&mut self, event: Event) {
        let heard = &mut self.heard;
        match event {
            Event::PeerAdded { port, key, .. } => {
                assert_eq!(heard.peers.insert(port, key), None);
            }
            Event::PeerRemoved { port, key } => assert_eq!(heard.peers.remove(&port), Some(key)),
            Event::ParentChanged { parent } => {
                assert_ne!(std::mem::replace(&mut heard.parent, parent), parent);
            }
            Event::RootChanged { root, sequence } => {
                assert_ne!(heard.root.replace((root, sequence)), Some((root, sequence)));
            }
            Event::CoordinatesChanged(to) => {
                let before = std::mem::replace(&mut heard.coordinates, to);
                assert_ne!(before, heard.coordinates);
            }
            Event::DescendingChanged(to) => {
                assert_ne!(std::mem::replace(&mut heard.descending, to), to);
            }
            Event::RouteAdded(key) => assert!(heard.routes.insert(key)),
            Event::RouteRemoved(key) => assert!(heard.routes.remove(&key)),
            Event::Broadcast { .. } => {}
        }
    }

    fn check(&mut self) {
        let status = self.node.status();
        let peers = self.node.peers();
        let heard = &self.heard;
        assert!(status.routes <= 12);
        assert_eq!(status.routes, heard.routes.len());
        assert_eq!(
            peers.iter().map(|p| (p.port, p.key)).collect::<Vec<_>>(),
            heard.peers.clone().into_iter().collect::<Vec<_>>()
        );
        assert_eq!(peers.iter().map(|p| p.routes).sum::<usize>(), status.routes);
        assert!(peers.iter().all(|p| p.routes <= 8));
        for peer in &peers {
            let better = |p: &PeerStatus| {
                p.key == peer.key && p.priority > peer.priority && p.root.is_some()
            };
            let outranked = peer.root.is_some() && peers.iter().any(better);
            assert_eq!(peer.standby, outranked);
            assert!(!peer.standby || (peer.routes == 0 && !peer.parent));
        }
        assert_eq!(status.parent.map(|(_, key)| key), heard.parent);
        assert_eq!(status.parent.map(|(port, _)| port), {
            let mut parents = peers.iter().filter(|p| p.parent);
            parents.next().map(|p| p.port)
        });
        if let Some(root) = heard.root {
            assert_eq!((status.root, status.root_sequence), root);
        }
        assert_eq!(status.coordinates, heard.coordinates);
        assert_eq!(status.descending, heard.descending);
        assert!(status.descending.is_none_or(|key| key < status.key));
        match status.parent {
            None => {
                assert_eq!(
                    (status.root, status.root_sequence),
                    (status.key, status.own_sequence)
                );
                assert!(status.coordinates.is_root());
            }
            Some((port, _)) => {
                let parent = peers.iter().find(|p| p.port == port).unwrap();
                assert_eq!(parent.root, Some((status.root, status.root_sequence)));
            }
        }
        self.node.publish();
        let snapshot = self.fib.load();
        assert_eq!(snapshot.route_count(), status.routes);
        assert_eq!(*snapshot.coordinates(), status.coordinates);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn views_agree_after_any_inputs(
        correct_paths in any::<bool>(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(correct_paths);
        for step in steps {
            world.run(step);
            world.drain();
            world.check();
        }
        // Without peers no state is left.
        for port in 1..=PORTS {
            world.node.closed(world.now, PortId(port));
            world.drain();
            world.check();
        }
        let status = world.node.status();
        prop_assert_eq!((status.peers, status.routes), (0, 0));
        prop_assert_eq!(status.descending, None);
        prop_assert_eq!(status.root, status.key);
        // All port numbers are free again.
        let peer = NewPeer::new(key(1), LinkType::Remote);
        prop_assert_eq!(world.node.connect(world.now, peer), Ok(PortId(1)));
    }
}
