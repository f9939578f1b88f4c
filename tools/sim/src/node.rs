//! A simulated node: a real control plane with its forwarding tables, and the peering at each port.

use std::sync::Arc;
use std::time::Duration;

use pinecone_controlplane::{Config, ControlPlane, CoordinateCache, Now};
use pinecone_fib::{Fib, FibReader, FibWriter, PortId, Snapshot};
use pinecone_wire::timing::BROADCAST_INTERVAL;
use pinecone_wire::{PublicKey, SecretKey};

use crate::adversary::{Adversary, Identity};
use crate::ids::LinkId;
use crate::time::{self, Nanos};

/// Options of a node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The options of its control plane. If they set no time of the first wakeup broadcast, each
    /// node has a random one.
    pub config: Config,
    /// Set if signatures are made and checked. Otherwise nothing is signed, and all frames are believed.
    pub signatures: bool,
    /// Set if the hop limit of traffic frames is enforced.
    pub hop_limiting: bool,
    /// Set if changes of the forwarding tables are published after every step, and traffic is forwarded by the
    /// published tables, as in workers. Otherwise traffic is forwarded by the tables that the control plane works on,
    /// which decide the same and take less memory.
    pub publish: bool,
}

/// An end of a peering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeeringEnd {
    pub(crate) peering: u32,
    /// The number of the end: 0 or 1.
    pub(crate) end: u8,
}

impl PeeringEnd {
    /// Returns the other end of the peering.
    pub(crate) fn other(self) -> Self {
        Self {
            end: 1 - self.end,
            ..self
        }
    }
}

pub(crate) struct Node {
    options: Arc<NodeOptions>,
    seed: [u8; 32],
    key: PublicKey,
    pub(crate) plane: ControlPlane,
    /// The published tables, if tables are published.
    published: Option<FibReader>,
    /// The open peerings, by port number.
    ports: Vec<Option<PeeringEnd>>,
    /// The links that end at this node, up or down.
    pub(crate) links: Vec<LinkId>,
    pub(crate) alive: bool,
    /// The root that the node follows, according to its last event.
    pub(crate) root: PublicKey,
    /// The time of the next scheduled tick.
    pub(crate) scheduled: Nanos,
    /// The time by which the node's calendar clock is ahead, in milliseconds.
    pub(crate) clock_ahead_ms: i64,
    /// The coordinates of other nodes. Created when first needed.
    cache: Option<Box<CoordinateCache>>,
    pub(crate) adversary: Option<Box<Adversary>>,
}

impl Node {
    /// Returns a node that has not been started. `seed` is its secret key, or its public key if
    /// nothing is signed.
    pub(crate) fn new(seed: [u8; 32], options: Arc<NodeOptions>) -> Self {
        let (plane, fib, key) = control_plane(seed, &options);
        Self {
            published: options.publish.then(|| fib.reader()),
            options,
            seed,
            key,
            plane,
            ports: Vec::new(),
            links: Vec::new(),
            alive: false,
            root: key,
            scheduled: Nanos::MAX,
            clock_ahead_ms: 0,
            cache: None,
            adversary: None,
        }
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.key
    }

    pub(crate) fn options(&self) -> &NodeOptions {
        &self.options
    }

    /// Returns the time by the node's clocks.
    pub(crate) fn clock(&self, at: Nanos) -> Now {
        let mut now = time::now(at);
        now.unix_ms = now.unix_ms.saturating_add_signed(self.clock_ahead_ms);
        now
    }

    /// Returns the tables by which the node forwards traffic.
    pub(crate) fn tables(&mut self) -> &Snapshot {
        match &mut self.published {
            Some(reader) => reader.load(),
            None => self.plane.tables(),
        }
    }

    /// Publishes changes of the tables, if the options say so.
    pub(crate) fn publish(&mut self) {
        if self.published.is_some() {
            self.plane.publish();
        }
    }

    /// Puts the node into the state that it has after a start: all is lost but its key, its links
    /// and its clock.
    pub(crate) fn reset(&mut self) {
        let (plane, fib, _) = control_plane(self.seed, &self.options);
        self.plane = plane;
        self.published = self.options.publish.then(|| fib.reader());
        self.ports = Vec::new();
        self.root = self.key;
        self.scheduled = Nanos::MAX;
        self.cache = None;
    }

    /// Replaces the node by one with another key and the same links.
    pub(crate) fn renew(&mut self, seed: [u8; 32]) {
        let links = std::mem::take(&mut self.links);
        *self = Self {
            links,
            ..Self::new(seed, Arc::clone(&self.options))
        };
    }

    /// Returns what an adversary at this node needs to make frames.
    pub(crate) fn identity(&self, at: Nanos) -> Identity {
        let status = self.plane.status();
        Identity {
            key: self.key,
            secret: (self.options.signatures).then(|| SecretKey::from_seed(&self.seed)),
            root: status.root,
            root_sequence: status.root_sequence,
            unix_ms: self.clock(at).unix_ms,
        }
    }

    /// Returns the peering at a port.
    pub(crate) fn port(&self, port: PortId) -> Option<PeeringEnd> {
        *self.ports.get(port.0 as usize)?
    }

    pub(crate) fn set_port(&mut self, port: PortId, end: Option<PeeringEnd>) {
        let at = port.0 as usize;
        if self.ports.len() <= at {
            self.ports.resize(at + 1, None);
        }
        if let Some(slot) = self.ports.get_mut(at) {
            *slot = end;
        }
    }

    /// Returns the open peerings in the order of their ports.
    pub(crate) fn peerings(&self) -> impl Iterator<Item = (PortId, PeeringEnd)> {
        let numbered = self.ports.iter().enumerate();
        numbered.filter_map(|(port, end)| Some((PortId(port as u32), (*end)?)))
    }

    pub(crate) fn cache(&mut self) -> &mut CoordinateCache {
        self.cache.get_or_insert_with(Box::default)
    }

    pub(crate) fn clear_cache(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.clear();
        }
    }
}

fn control_plane(seed: [u8; 32], options: &NodeOptions) -> (ControlPlane, Fib, PublicKey) {
    // Keys are random, so their last bytes spread the phases evenly.
    let random = u64::from_be_bytes([0, 0, 0, 0, seed[28], seed[29], seed[30], seed[31]]);
    let phase = Duration::from_millis(random % BROADCAST_INTERVAL.as_millis() as u64);
    let config = Config {
        wakeup_phase: options.config.wakeup_phase.or(Some(phase)),
        ..options.config.clone()
    };
    if options.signatures {
        let secret = SecretKey::from_seed(&seed);
        let key = secret.public_key();
        let (writer, fib) = FibWriter::new(key);
        (ControlPlane::new(config, secret, writer), fib, key)
    } else {
        let key = PublicKey(seed);
        let (writer, fib) = FibWriter::new(key);
        (ControlPlane::new_unsigned(config, key, writer), fib, key)
    }
}
