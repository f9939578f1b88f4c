//! Networks of control planes with published forwarding tables, and checks of what they must do.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pinecone_controlplane::{Config, Counters, Status};
use pinecone_fib::PortId;
use pinecone_sim::forward::{Outcome, forward};
use pinecone_sim::ids::{LinkId, NodeId};
use pinecone_sim::link::LinkOptions;
use pinecone_sim::network::{How, Network, Observation};
use pinecone_sim::node::NodeOptions;
use pinecone_sim::random::{Random, Stream};
use pinecone_sim::time::{MILLISECOND, Nanos};
use pinecone_wire::timing::BROADCAST_INTERVAL;
use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{Coordinates, TrafficFields, TrafficLayout, Watermark};

const MICROSECOND: Nanos = MILLISECOND / 1000;

/// A network whose nodes never refuse a peering. All random choices follow from a seed.
pub(crate) struct Net {
    network: Network,
    random: Random,
    /// The links, up or down, by the lower and the higher node.
    links: BTreeMap<(NodeId, NodeId), LinkId>,
    /// A digest of all frames that arrived: when, where, and their bytes.
    digest: Arc<Mutex<DefaultHasher>>,
}

impl Net {
    pub(crate) fn new(seed: u64, nodes: usize) -> Self {
        Self::with_config(seed, nodes, |_| Config::default())
    }

    pub(crate) fn with_config(seed: u64, nodes: usize, config: impl Fn(NodeId) -> Config) -> Self {
        let options = |config| NodeOptions {
            config: Config {
                wakeup_phase: Some(BROADCAST_INTERVAL),
                ..config
            },
            signatures: true,
            hop_limiting: false,
            publish: true,
        };
        let mut network = Network::new(seed, options(Config::default()));
        let mut random = Random::new(seed, Stream::Topology);
        // Nodes do not start all at once, so that their timers do not run in step.
        let mut start = 0;
        for node in 0..nodes as NodeId {
            start += random.below(25_000) * MICROSECOND;
            network.add_node_with(options(config(node)));
            network.start(node, start);
        }
        let digest = Arc::new(Mutex::new(DefaultHasher::new()));
        let hasher = Arc::clone(&digest);
        network.observe(move |at, observation| match observation {
            Observation::Frame { node, port, frame } => {
                let mut hasher = hasher.lock().unwrap();
                hasher.write_u64(at);
                hasher.write_u32(node);
                hasher.write_u32(port.0);
                hasher.write(frame);
            }
            Observation::Refused { node, port, reason } => {
                panic!("{node} closes {port}: {reason}")
            }
        });
        network.run_until(start);
        Self {
            network,
            random,
            links: BTreeMap::new(),
            digest,
        }
    }

    /// Returns a random node.
    pub(crate) fn random_node(&mut self, below: usize) -> NodeId {
        self.random.index(below) as NodeId
    }

    /// Returns the number of nodes, up or down.
    pub(crate) fn len(&self) -> usize {
        self.network.node_count()
    }

    pub(crate) fn status(&self, node: NodeId) -> Status {
        self.network.status(node).unwrap()
    }

    pub(crate) fn counters(&self, node: NodeId) -> Counters {
        self.network.control_plane(node).unwrap().counters()
    }

    /// Returns the number of frames that were sent, and a digest of those that arrived.
    pub(crate) fn trace(&mut self) -> (u64, u64) {
        let sent = self.network.counts().protocol().frames;
        (sent, self.digest.lock().unwrap().finish())
    }

    /// Links two nodes, or brings their link up again.
    pub(crate) fn link(&mut self, a: NodeId, b: NodeId) {
        let pair = (a.min(b), a.max(b));
        if let Some(&link) = self.links.get(&pair) {
            return self.network.heal(link);
        }
        let options = LinkOptions {
            latency: (500 + self.random.below(20_000)) * MICROSECOND,
            bandwidth: 0,
            loss: 0,
            queue: 0,
        };
        let link = self.network.add_link(a, b, options);
        self.links.insert(pair, link);
    }

    pub(crate) fn cut(&mut self, a: NodeId, b: NodeId) {
        let link = self.links[&(a.min(b), a.max(b))];
        self.network.cut(link, How::Closed);
    }

    pub(crate) fn kill(&mut self, node: NodeId) {
        self.network.stop(node, How::Closed);
    }

    pub(crate) fn set_clock_ahead(&mut self, node: NodeId, ms: i64) {
        self.network.set_clock_ahead(node, ms);
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.network.now() + time.as_nanos() as Nanos;
        self.network.run_until(end);
    }

    pub(crate) fn highest(&self) -> NodeId {
        self.network.highest().unwrap()
    }

    fn coordinates(&self, node: NodeId) -> Coordinates {
        self.status(node).coordinates
    }

    /// Checks that all nodes follow the root, and that each is below its parent.
    pub(crate) fn check_tree(&self) -> Result<(), String> {
        let root = self.network.key(self.highest());
        for n in self.network.alive() {
            let status = self.status(n);
            if status.root != root {
                return Err(format!("{n} follows {}, not {root}", status.root));
            }
            let expected = match status.parent {
                None => Coordinates::default(),
                Some((port, _)) => {
                    let (parent, its_port) = self.network.peer(n, port).unwrap();
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

    /// Follows a traffic frame from node to node as workers would forward it: by coordinates as long
    /// as the tree has a next hop, then by SNEK. Returns the number of hops.
    pub(crate) fn walk(
        &mut self,
        from: NodeId,
        to: NodeId,
        by_tree: bool,
    ) -> Result<usize, String> {
        let nowhere = Coordinates::default();
        let destination = match by_tree {
            true => self.coordinates(to),
            false => nowhere.clone(),
        };
        let mut frame = Vec::new();
        let fields = TrafficFields {
            extra: 0,
            hop_limit: 0,
            destination: &destination,
            source: &nowhere,
            destination_key: self.network.key(to),
            source_key: self.network.key(from),
            watermark: Watermark::START,
            payload: b"payload",
        };
        push_traffic(&mut frame, &fields).unwrap();
        let (mut at, mut ingress) = (from, PortId::LOCAL);
        for hops in 0..100 {
            let tables = self.network.tables(at).unwrap();
            let before = watermark(&frame);
            let port = match forward(tables, ingress, &mut frame, false).unwrap() {
                Outcome::Deliver if at == to => return Ok(hops),
                Outcome::Send(egress, _) => egress,
                other => return Err(format!("{from} to {to}: {other:?} at {at}")),
            };
            if watermark(&frame).is_worse_than(&before) {
                return Err(format!("{from} to {to}: watermark gets worse at {at}"));
            }
            if port == ingress {
                return Err(format!("{from} to {to}: backwards at {at}"));
            }
            (at, ingress) = self.network.peer(at, port).unwrap();
        }
        Err(format!("{from} to {to}: too many hops"))
    }

    pub(crate) fn check_pairs(&mut self) -> Result<(), String> {
        for from in self.network.alive() {
            for to in self.network.alive() {
                self.walk(from, to, false)?;
                self.walk(from, to, true)?;
            }
        }
        Ok(())
    }

    /// Lets up to 15 s pass until the tree is right and all pairs reach each other, and then checks
    /// for 20 s that this stays so.
    #[track_caller]
    pub(crate) fn converge(&mut self) {
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
            // Where a path moved a while ago, its old routes expire at one node after the other, and
            // frames are lost for a moment.
            if self.check_pairs().is_err() {
                self.run(Duration::from_secs(1));
                let result = self.check_pairs();
                result.unwrap();
            }
        }
    }
}

/// Returns the watermark of a frame. With destination coordinates it is the one of a new frame.
fn watermark(frame: &[u8]) -> Watermark {
    TrafficLayout::parse(frame).unwrap().watermark(frame)
}

pub(crate) fn line(seed: u64, nodes: usize) -> Net {
    let mut net = Net::new(seed, nodes);
    for n in 1..nodes as NodeId {
        net.link(n - 1, n);
    }
    net
}

pub(crate) fn ring(seed: u64, nodes: usize) -> Net {
    let mut net = line(seed, nodes);
    net.link(nodes as NodeId - 1, 0);
    net
}

/// Links the nodes of a network into a random tree, and adds `more` links. Returns all links, those
/// of the tree first.
pub(crate) fn web(mut net: Net, more: usize) -> (Net, Vec<(NodeId, NodeId)>) {
    let nodes = net.len();
    let mut links = Vec::new();
    for n in 1..nodes {
        let peer = net.random_node(n);
        links.push((peer, n as NodeId));
    }
    while links.len() < nodes - 1 + more {
        let (a, b) = (net.random_node(nodes), net.random_node(nodes));
        if a < b && !links.contains(&(a, b)) {
            links.push((a, b));
        }
    }
    for &(a, b) in &links {
        net.link(a, b);
    }
    (net, links)
}
