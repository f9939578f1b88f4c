//! The live peerings.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{Extensions, PublicKey};

use crate::heard_times::HeardTimes;
use crate::{CloseReason, Config, NewPeer};

/// A live peering. Only [`Peers`] changes it.
pub(crate) struct Peer {
    pub(crate) key: PublicKey,
    pub(crate) link: LinkType,
    pub(crate) extensions: Extensions,
    pub(crate) priority: u8,
    /// A number that, unlike the port number, is never used again.
    pub(crate) serial: u64,
    pub(crate) connected: Duration,
    /// The node-wide arrival number of its last announcement.
    pub(crate) announced: Option<u64>,
    pub(crate) brought: Brought,
    pub(crate) times: HeardTimes,
    /// The payload of the last announcement sent to it.
    told: Option<Arc<[u8]>>,
    /// The times at which it brought badly signed broadcasts.
    offences: VecDeque<Duration>,
}

/// The kinds of bootstraps that a peer has ever brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Brought {
    /// None.
    Nothing,
    /// Only bootstraps of the peer's own key.
    Own,
    /// Also bootstraps of other keys.
    Others,
}

/// The live peerings, by port.
#[derive(Default)]
pub(crate) struct Peers {
    /// Boxed, as most nodes have far fewer than a node of the map has room for.
    by_port: BTreeMap<PortId, Box<Peer>>,
    /// Peerings whose key is only claimed, by the time at which they began.
    unannounced: BTreeSet<(Duration, PortId)>,
    next_serial: u64,
    /// The best peering of each key, in order of ports. Computed when needed.
    preferred: Option<Vec<PortId>>,
}

impl Peers {
    pub(crate) fn insert(&mut self, now: Duration, port: PortId, new: NewPeer) {
        let peer = Peer {
            key: new.key,
            link: new.link,
            extensions: new.extensions,
            priority: new.priority,
            serial: self.next_serial,
            connected: now,
            announced: None,
            brought: Brought::Nothing,
            times: HeardTimes::default(),
            told: None,
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

    pub(crate) fn get(&self, port: PortId) -> Option<&Peer> {
        Some(self.by_port.get(&port)?)
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

    /// Returns all peerings in order of ports.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PortId, &Peer)> {
        self.by_port.iter().map(|(port, peer)| (*port, &**peer))
    }

    /// Returns the peering that has gone longest without an announcement, and when it began.
    pub(crate) fn oldest_unannounced(&self) -> Option<(Duration, PortId)> {
        self.unannounced.first().copied()
    }

    /// Returns one peering for each key, in order of ports: the one with the highest priority, then the one on the
    /// fastest link, then the one that announced itself first. A peering that has announced itself is preferred to one
    /// that has not.
    pub(crate) fn preferred(&mut self) -> &[PortId] {
        self.preferred.get_or_insert_with(|| {
            type Rank = (bool, Reverse<u8>, LinkType, u64, PortId);
            let mut best: BTreeMap<PublicKey, Rank> = BTreeMap::new();
            for (port, peer) in &self.by_port {
                let order = peer.announced;
                let priority = Reverse(peer.priority);
                let order = (order.is_none(), order.unwrap_or(0));
                let rank = (order.0, priority, peer.link, order.1, *port);
                best.entry(peer.key)
                    .and_modify(|known| *known = rank.min(*known))
                    .or_insert(rank);
            }
            let mut ports: Vec<_> = best.into_values().map(|(.., port)| port).collect();
            ports.sort_unstable();
            ports
        })
    }

    /// Records the arrival number of an announcement that a peer has sent.
    pub(crate) fn record_announcement(&mut self, port: PortId, order: u64) {
        if let Some(peer) = self.by_port.get_mut(&port) {
            peer.announced = Some(order);
            self.unannounced.remove(&(peer.connected, port));
            self.preferred = None;
        }
    }

    /// Returns the payload of the last announcement sent to a peer, for the sender of the next one.
    pub(crate) fn told_mut(&mut self, port: PortId) -> Option<&mut Option<Arc<[u8]>>> {
        Some(&mut self.by_port.get_mut(&port)?.told)
    }

    /// Records that a peer brought a bootstrap of `key`.
    pub(crate) fn record_brought(&mut self, port: PortId, key: &PublicKey) {
        if let Some(peer) = self.by_port.get_mut(&port) {
            peer.brought = peer.brought.max(match peer.key == *key {
                true => Brought::Own,
                false => Brought::Others,
            });
        }
    }

    /// Records the time at which a key that a peer brought signed something. Returns whether that peer is live.
    pub(crate) fn record_time(&mut self, port: PortId, key: &PublicKey, time: i64) -> bool {
        let peer = self.by_port.get_mut(&port);
        peer.map(|peer| peer.times.record(key, time)).is_some()
    }

    /// Records that a peer brought a badly signed broadcast. Returns the reason to close its peering if there have
    /// been too many. One such broadcast is only dropped, as the peer may have forwarded it in good faith.
    pub(crate) fn record_offence(
        &mut self,
        now: Duration,
        port: PortId,
        config: &Config,
    ) -> Option<CloseReason> {
        let peer = self.by_port.get_mut(&port)?;
        let window = config.offence_window;
        while peer.offences.front().is_some_and(|at| *at + window <= now) {
            peer.offences.pop_front();
        }
        peer.offences.push_back(now);
        let count = peer.offences.len();
        (count >= config.max_offences).then_some(CloseReason::Offences { count, window })
    }
}
