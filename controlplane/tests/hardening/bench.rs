//! A node in a harness: tests pass in frames by hand and control the time.

use std::time::Duration;

use pinecone_controlplane::{CloseReason, Config, ControlPlane, Effect, Event, NewPeer, Now};
use pinecone_fib::{Fate, Fib, FibWriter, ForwardingOptions, LinkType, PortId, Transit};
use pinecone_wire::{
    Coordinates, Extensions, PublicKey, SecretKey, Signature, SignedBody, TrafficFields,
    TrafficLayout, Watermark, announcement, frame, traffic::push_traffic,
};

pub(crate) const UNIX_MS: u64 = 1_800_000_000_000;
/// The extra byte and hop limit of frames made by [`bootstrap`]. A node must preserve them.
pub(crate) const HEADER: (u8, u8) = (7, 9);

/// A node in virtual time.
pub(crate) struct Bench {
    pub(crate) node: ControlPlane,
    pub(crate) fib: Fib,
    /// The extensions that peers offer in their handshakes: by default those of the node.
    pub(crate) offered: Extensions,
    pub(crate) now: Now,
    pub(crate) sent: Vec<(PortId, Vec<u8>)>,
    pub(crate) closed: Vec<(PortId, CloseReason)>,
    pub(crate) events: Vec<Event>,
}

impl Bench {
    pub(crate) fn signed(config: Config) -> Self {
        let secret = SecretKey::from_seed(&[8; 32]);
        let (writer, fib) = FibWriter::new(secret.public_key());
        let offered = config.extensions();
        Self::with(ControlPlane::new(config, secret, writer), fib, offered)
    }

    pub(crate) fn unsigned(config: Config) -> Self {
        let own = PublicKey([0x80; 32]);
        let (writer, fib) = FibWriter::new(own);
        let offered = config.extensions();
        Self::with(
            ControlPlane::new_unsigned(config, own, writer),
            fib,
            offered,
        )
    }

    fn with(node: ControlPlane, fib: Fib, offered: Extensions) -> Self {
        let now = Now {
            monotonic: Duration::ZERO,
            unix_ms: UNIX_MS,
        };
        let mut bench = Self {
            node,
            fib,
            offered,
            now,
            sent: Vec::new(),
            closed: Vec::new(),
            events: Vec::new(),
        };
        bench.node.tick(now);
        bench
    }

    pub(crate) fn connect(&mut self, key: PublicKey) -> PortId {
        self.connect_with(key, 0)
    }

    pub(crate) fn connect_with(&mut self, key: PublicKey, priority: u8) -> PortId {
        let peer = NewPeer {
            key,
            link: LinkType::Remote,
            extensions: self.offered,
            priority,
        };
        let port = self.node.connect(self.now, peer).unwrap();
        self.drain();
        port
    }

    pub(crate) fn frame(&mut self, port: PortId, frame: &[u8]) {
        self.node.frame(self.now, port, frame);
        self.drain();
    }

    /// Lets time pass, and ticks the node when something is due.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        while let Some(at) = self.node.next_deadline().filter(|at| *at <= end) {
            self.step_to(at);
            self.node.tick(self.now);
            self.drain();
        }
        self.step_to(end);
    }

    pub(crate) fn step_to(&mut self, at: Duration) {
        let step = at.saturating_sub(self.now.monotonic);
        self.now.monotonic += step;
        self.now.unix_ms = UNIX_MS + self.now.monotonic.as_millis() as u64;
    }

    pub(crate) fn drain(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Send { port, frame } => self.sent.push((port, frame)),
                Effect::Close { port, reason } => self.closed.push((port, reason)),
                Effect::Event(event) => self.events.push(event),
            }
        }
    }

    pub(crate) fn routes_in_fib(&mut self) -> usize {
        self.node.publish();
        self.fib.reader().load().route_count()
    }

    /// Decides about a traffic frame for the key of its `watermark`, as a worker does.
    pub(crate) fn forward(&mut self, ingress: PortId, watermark: Watermark) -> Fate {
        self.node.publish();
        let fields = TrafficFields {
            extra: 0,
            hop_limit: 0,
            destination: &Coordinates::default(),
            source: &Coordinates::default(),
            destination_key: watermark.key,
            source_key: PublicKey::MIN,
            watermark,
            payload: &[],
        };
        let mut frame = Vec::new();
        push_traffic(&mut frame, &fields).unwrap();
        let (layout, sequence) = TrafficLayout::parse_with_sequence(&frame).unwrap();
        let transit = Transit {
            ingress,
            layout,
            sequence,
        };
        let (options, mut head) = (ForwardingOptions::default(), Vec::new());
        let mut fib = self.fib.reader();
        fib.load()
            .forward_frame(&mut frame, &transit, options, &mut head)
    }

    /// Returns the frames of a type sent since the last call.
    pub(crate) fn take_sent(&mut self, kind: u8) -> Vec<(PortId, Vec<u8>)> {
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter()
            .filter(|(_, frame)| frame[5] == kind)
            .collect()
    }
}

/// Returns the announcement of a root to its peer, signed or not.
pub(crate) fn root_announcement(
    root: PublicKey,
    secret: Option<&SecretKey>,
    sequence: u64,
) -> Vec<u8> {
    let payload = announcement::root_payload(&root, sequence);
    let signature = secret.map_or(Signature([0; 64]), |s| announcement::sign(&payload, s));
    let mut out = Vec::new();
    announcement::push_frame(&mut out, &payload, 1, &root, &signature).unwrap();
    out
}

/// Returns the announcement of `peer`, which is on port 9 of `root`.
pub(crate) fn child_announcement(root: PublicKey, sequence: u64, peer: PublicKey) -> Vec<u8> {
    announcement_through(&[root], sequence, peer)
}

/// Returns the announcement of `peer`, which is on port 9 of the last node of `way`. `way` begins with the root.
pub(crate) fn announcement_through(way: &[PublicKey], sequence: u64, peer: PublicKey) -> Vec<u8> {
    let mut payload = announcement::root_payload(&way[0], sequence);
    for key in way {
        payload.push(9);
        payload.extend_from_slice(key.as_bytes());
        payload.extend_from_slice(&[0; 64]);
    }
    let mut out = Vec::new();
    announcement::push_frame(&mut out, &payload, 1, &peer, &Signature([0; 64])).unwrap();
    out
}

pub(crate) fn unsigned_body(sequence: u64, root: PublicKey, root_sequence: u64) -> SignedBody {
    SignedBody {
        sequence,
        root,
        root_sequence,
        signature: Signature([0; 64]),
    }
}

/// Returns a bootstrap as its node sends it.
pub(crate) fn bootstrap(key: PublicKey, body: &SignedBody) -> Vec<u8> {
    bootstrap_to(HEADER, key, Watermark::START, body)
}

/// Returns a bootstrap in transit, with a header and a watermark.
pub(crate) fn bootstrap_to(
    header: (u8, u8),
    key: PublicKey,
    watermark: Watermark,
    body: &SignedBody,
) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push_bootstrap(&mut out, header, &key, &watermark, &body.encode()).unwrap();
    out
}

pub(crate) fn broadcast(hop_limit: u8, key: PublicKey, body: &SignedBody) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push_broadcast(&mut out, (0, hop_limit), &key, &body.encode()).unwrap();
    out
}

pub(crate) fn made_up(n: u64) -> PublicKey {
    let mut key = [0x11; 32];
    key[8..16].copy_from_slice(&n.to_be_bytes());
    PublicKey(key)
}

pub(crate) const ROOT: PublicKey = PublicKey([0xf0; 32]);
pub(crate) const PEER_A: PublicKey = PublicKey([0xa0; 32]);
pub(crate) const PEER_B: PublicKey = PublicKey([0xb0; 32]);

/// Returns the correction for a bootstrap of `key`, which is sent along the old path.
pub(crate) fn correction(key: PublicKey, body: &SignedBody) -> Vec<u8> {
    bootstrap_to(HEADER, key, Watermark { key, sequence: 0 }, body)
}

/// Returns a node whose peers on ports 1 to 3 are a root and two nodes below it.
pub(crate) fn three_peers(config: Config) -> (Bench, [PortId; 3]) {
    let offered = config.extensions();
    three_peers_offering(config, offered)
}

/// Returns the node of [`three_peers`] with peers that offer `offered`.
pub(crate) fn three_peers_offering(config: Config, offered: Extensions) -> (Bench, [PortId; 3]) {
    let mut bench = Bench::unsigned(config);
    bench.offered = offered;
    let ports = [ROOT, PEER_A, PEER_B].map(|key| bench.connect(key));
    bench.frame(ports[0], &root_announcement(ROOT, None, 1));
    bench.frame(ports[1], &child_announcement(ROOT, 1, PEER_A));
    bench.frame(ports[2], &child_announcement(ROOT, 1, PEER_B));
    assert_eq!(bench.node.status().root, ROOT);
    bench.sent.clear();
    (bench, ports)
}
