use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{Extensions, PublicKey};

use crate::NewPeer;
use crate::network_time::Times;

/// One live peering.
pub(crate) struct Peer {
    pub(crate) key: PublicKey,
    pub(crate) link: LinkType,
    pub(crate) extensions: Extensions,
    /// Unlike the port number, never used again.
    pub(crate) serial: u64,
    pub(crate) connected: Duration,
    /// The node-wide arrival number of its last announcement.
    pub(crate) announced: Option<u64>,
    /// The payload of the last announcement sent to it.
    pub(crate) told: Option<Arc<[u8]>>,
    pub(crate) brought: Brought,
    pub(crate) times: Times,
    /// When it brought badly signed broadcasts.
    pub(crate) offences: VecDeque<Duration>,
}

/// Whose bootstraps a peer has ever brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Brought {
    Nothing,
    Own,
    Others,
}

/// The live peerings, by port.
#[derive(Default)]
pub(crate) struct Peers {
    /// Boxed, as most nodes have far fewer than a node of the map has room for.
    by_port: BTreeMap<PortId, Box<Peer>>,
    /// Those whose key is only claimed, by when they came.
    unannounced: BTreeSet<(Duration, PortId)>,
    next_serial: u64,
    /// For each key the best of its peerings; made when asked for.
    preferred: Option<Vec<PortId>>,
}

impl Peers {
    pub(crate) fn insert(&mut self, now: Duration, port: PortId, new: NewPeer) {
        let key = new.key;
        let peer = Peer {
            key,
            link: new.link,
            extensions: new.extensions,
            serial: self.next_serial,
            connected: now,
            announced: None,
            told: None,
            brought: Brought::Nothing,
            times: Times::default(),
            offences: VecDeque::new(),
        };
        self.next_serial += 1;
        self.unannounced.insert((now, port));
        self.preferred = None;
        self.by_port.insert(port, Box::new(peer));
    }

    pub(crate) fn remove(&mut self, port: PortId) -> Option<Peer> {
        let peer = self.by_port.remove(&port)?;
        self.unannounced.remove(&(peer.connected, port));
        self.preferred = None;
        Some(*peer)
    }

    /// Notes the arrival number of an announcement that a peer has sent.
    pub(crate) fn announce(&mut self, port: PortId, order: u64) {
        if let Some(peer) = self.by_port.get_mut(&port) {
            peer.announced = Some(order);
            self.unannounced.remove(&(peer.connected, port));
            self.preferred = None;
        }
    }

    pub(crate) fn get(&self, port: PortId) -> Option<&Peer> {
        Some(self.by_port.get(&port)?)
    }

    pub(crate) fn get_mut(&mut self, port: PortId) -> Option<&mut Peer> {
        Some(self.by_port.get_mut(&port)?)
    }

    pub(crate) fn contains(&self, port: PortId) -> bool {
        self.by_port.contains_key(&port)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_port.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_port.is_empty()
    }

    /// In order of ports.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PortId, &Peer)> {
        self.by_port.iter().map(|(port, peer)| (*port, &**peer))
    }

    /// The peering that has gone longest without announcing itself, and since when it is up.
    pub(crate) fn oldest_unannounced(&self) -> Option<(Duration, PortId)> {
        self.unannounced.first().copied()
    }

    /// One peering for each key, in order of ports: the one on the fastest, then the
    /// earliest-announced link. One that has not announced itself does not displace one that has.
    pub(crate) fn preferred(&mut self) -> &[PortId] {
        self.preferred.get_or_insert_with(|| {
            let mut best: BTreeMap<PublicKey, (bool, LinkType, u64, PortId)> = BTreeMap::new();
            for (port, peer) in &self.by_port {
                let order = peer.announced;
                let rank = (order.is_none(), peer.link, order.unwrap_or(0), *port);
                best.entry(peer.key)
                    .and_modify(|known| *known = rank.min(*known))
                    .or_insert(rank);
            }
            let mut ports: Vec<_> = best.into_values().map(|(_, _, _, port)| port).collect();
            ports.sort_unstable();
            ports
        })
    }
}
