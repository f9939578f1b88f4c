//! A node: a real control plane with its tables, and which peering each of its ports is.

use std::time::Duration;

use pinecone_controlplane::{Config, ControlPlane, CoordinateCache};
use pinecone_fib::FibWriter;
use pinecone_fib::PortId;
use pinecone_wire::timing::BROADCAST_INTERVAL;
use pinecone_wire::{PublicKey, SecretKey};

use crate::adversary::Adversary;
use crate::time::Nanos;

/// What all nodes of a network have in common.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The control plane's.
    pub config: Config,
    /// Real signatures, or the stand-in: nothing is signed and everything is believed.
    pub signatures: bool,
    /// Whether traffic may go no more hops than its frame says.
    pub hop_limiting: bool,
}

/// One end of a peering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeeringEnd {
    pub(crate) peering: u32,
    /// 0 or 1.
    pub(crate) end: u8,
}

pub(crate) struct Node {
    seed: [u8; 32],
    key: PublicKey,
    pub(crate) plane: ControlPlane,
    /// By port number.
    ports: Vec<Option<PeeringEnd>>,
    /// The links that it has an end of, up or not.
    pub(crate) links: Vec<u32>,
    pub(crate) alive: bool,
    /// The root that it follows, as it said last.
    pub(crate) root: PublicKey,
    /// When it is next looked after.
    pub(crate) scheduled: Nanos,
    /// Made when first needed.
    cache: Option<Box<CoordinateCache>>,
    pub(crate) adversary: Option<Box<Adversary>>,
}

impl Node {
    /// A node that has not been started. With real signatures `seed` is its secret key, else its
    /// key.
    pub(crate) fn new(seed: [u8; 32], options: &NodeOptions) -> Self {
        let (plane, key) = plane(seed, options);
        Self {
            seed,
            key,
            plane,
            ports: Vec::new(),
            links: Vec::new(),
            alive: false,
            root: key,
            scheduled: Nanos::MAX,
            cache: None,
            adversary: None,
        }
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.key
    }

    /// Forgets all but its key and its links: as it is when it is started again.
    pub(crate) fn reset(&mut self, options: &NodeOptions) {
        (self.plane, _) = plane(self.seed, options);
        self.ports = Vec::new();
        self.root = self.key;
        self.scheduled = Nanos::MAX;
        self.cache = None;
    }

    /// Becomes somebody else with the same links.
    pub(crate) fn renew(&mut self, seed: [u8; 32], options: &NodeOptions) {
        let links = std::mem::take(&mut self.links);
        *self = Self {
            links,
            ..Self::new(seed, options)
        };
    }

    pub(crate) fn secret(&self) -> SecretKey {
        SecretKey::from_seed(&self.seed)
    }

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

    /// Its open peerings, in order of ports.
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

fn plane(seed: [u8; 32], options: &NodeOptions) -> (ControlPlane, PublicKey) {
    // A random time of the minute; the keys are as random as anything.
    let phase = u64::from_be_bytes([0, 0, 0, 0, seed[28], seed[29], seed[30], seed[31]]);
    let config = Config {
        wakeup_phase: Some(Duration::from_millis(
            phase % BROADCAST_INTERVAL.as_millis() as u64,
        )),
        ..options.config.clone()
    };
    if options.signatures {
        let secret = SecretKey::from_seed(&seed);
        let key = secret.public_key();
        let (fib, _) = FibWriter::new(key);
        (ControlPlane::new(config, secret, fib), key)
    } else {
        let key = PublicKey(seed);
        let (fib, _) = FibWriter::new(key);
        (ControlPlane::new_unsigned(config, key, fib), key)
    }
}
