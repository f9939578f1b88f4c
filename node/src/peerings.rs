//! The node's own records of its peerings, beside those of the control plane.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pinecone_controlplane::PeerStatus;
use pinecone_dataplane::{CloseReason, PortCounters, PortId};
use pinecone_transports::{RelayTask, Scheme, StaticPeerId};
use pinecone_wire::PublicKey;
use tokio::sync::oneshot;

use crate::closings::Closings;
use crate::{Counter, Direction, LinkType, Peer, PeerBandwidth, Traffic, report};

/// The peerings by port, and counts of those that have ended.
#[derive(Default)]
pub(crate) struct Peerings {
    by_port: BTreeMap<PortId, Entry>,
    next_serial: u64,
    closings: Closings,
}

/// A peering.
pub(crate) struct Peering {
    pub(crate) key: PublicKey,
    pub(crate) link: LinkType,
    pub(crate) remote: String,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) direction: Direction,
    pub(crate) priority: u8,
    pub(crate) static_peer: Option<StaticPeerId>,
    /// The task that relays its stream, if there is one.
    pub(crate) relay: Option<RelayTask>,
    pub(crate) since: SystemTime,
    /// The time at which it came up, on the node's clock.
    pub(crate) up_at: Duration,
    pub(crate) counters: Arc<PortCounters>,
}

struct Entry {
    peering: Peering,
    /// Distinguishes it from earlier and later peerings on the same port.
    serial: u64,
    /// Its traffic up to the last [`Peerings::bandwidth`].
    reported: Traffic,
    /// Set once the control plane has ended it, until the data plane has closed it.
    closing: bool,
    /// Callers that wait until it is closed.
    waiting: Vec<oneshot::Sender<bool>>,
}

impl Peerings {
    /// Adds a peering and returns its serial number.
    pub(crate) fn add(&mut self, port: PortId, peering: Peering) -> u64 {
        let serial = self.next_serial;
        self.next_serial += 1;
        let entry = Entry {
            peering,
            serial,
            reported: Traffic::default(),
            closing: false,
            waiting: Vec::new(),
        };
        self.by_port.insert(port, entry);
        serial
    }

    /// Marks the peering on a port as closing.
    pub(crate) fn closing(&mut self, port: PortId) {
        if let Some(entry) = self.by_port.get_mut(&port) {
            entry.closing = true;
        }
    }

    /// Lets a caller wait until a peering is closed. Returns whether there is such a peering; if not, the
    /// caller has its reply.
    pub(crate) fn wait_for_close(&mut self, port: PortId, reply: oneshot::Sender<bool>) -> bool {
        match self.by_port.get_mut(&port).filter(|entry| !entry.closing) {
            Some(entry) => {
                entry.waiting.push(reply);
                true
            }
            None => {
                let _ = reply.send(false);
                false
            }
        }
    }

    /// Lets a caller wait until the peering with a static peer is closed. Returns its port if it is to be
    /// closed; without a peering, the caller has its reply.
    pub(crate) fn wait_for_static_peer(
        &mut self,
        id: StaticPeerId,
        reply: oneshot::Sender<bool>,
    ) -> Option<PortId> {
        let mut entries = self.by_port.iter_mut();
        let Some((&port, entry)) = entries.find(|(_, entry)| entry.peering.static_peer == Some(id))
        else {
            let _ = reply.send(true);
            return None;
        };
        entry.waiting.push(reply);
        (!entry.closing).then_some(port)
    }

    /// Releases the stream of a peering that is relayed. Returns whether there is a peering with this serial
    /// number on the port.
    pub(crate) fn release_stream(&mut self, port: PortId, serial: u64) -> bool {
        let entry = self.by_port.get_mut(&port);
        let Some(entry) = entry.filter(|entry| entry.serial == serial && !entry.closing) else {
            return false;
        };
        entry.peering.relay = None;
        true
    }

    /// Removes a peering that the data plane has closed.
    pub(crate) fn remove(&mut self, port: PortId, reason: &CloseReason) -> Option<Removed> {
        let entry = self.by_port.remove(&port)?;
        self.closings.count(reason);
        let Peering {
            key,
            remote,
            static_peer,
            relay,
            ..
        } = entry.peering;
        if let Some(relay) = relay {
            // The relay still passes on the bytes that were sent before the peering was closed.
            relay.detach();
        }
        Some(Removed {
            key,
            remote,
            static_peer,
            waiting: entry.waiting,
        })
    }

    /// Returns the traffic of each peering since the last call.
    pub(crate) fn bandwidth(&mut self) -> Vec<PeerBandwidth> {
        let up = self.by_port.iter_mut().filter(|(_, entry)| !entry.closing);
        up.map(|(&port, entry)| {
            let moved = entry.peering.counters.snapshot().traffic();
            let earlier = std::mem::replace(&mut entry.reported, moved);
            PeerBandwidth {
                port,
                key: entry.peering.key,
                traffic: moved.since(&earlier),
            }
        })
        .collect()
    }

    /// Lists the peerings that are up, lowest port first, with their status in the control plane.
    pub(crate) fn list(&self, uptime: Duration, decided: Vec<PeerStatus>) -> Vec<Peer> {
        let decided: BTreeMap<_, _> = decided.into_iter().map(|p| (p.port, p)).collect();
        let up = self.by_port.iter().filter(|(_, entry)| !entry.closing);
        up.map(|(&port, Entry { peering, .. })| {
            let counters = peering.counters.snapshot();
            let decided = decided.get(&port);
            Peer {
                port,
                key: peering.key,
                remote: peering.remote.clone(),
                direction: peering.direction,
                link: peering.link,
                scheme: peering.scheme,
                priority: peering.priority,
                standby: decided.is_some_and(|p| p.standby),
                connected_since: peering.since,
                connected_for: uptime.saturating_sub(peering.up_at),
                coordinates: decided.and_then(|p| p.coordinates.clone()),
                root: decided.and_then(|p| p.root.map(|(root, _)| root)),
                traffic: counters.traffic(),
                drops: report::drops(&counters),
                delivered_frames: counters.delivered_frames,
                expired_route_frames: counters.expired_route_frames,
                detoured_frames: counters.detoured_frames,
                queued_bytes: counters.queued_bytes,
                queued_frames: counters.queued_frames,
            }
        })
        .collect()
    }

    /// Counts of the peerings that have ended, by reason.
    pub(crate) fn counters(&self) -> impl Iterator<Item = Counter> + '_ {
        self.closings.counters()
    }
}

/// A peering that has ended.
pub(crate) struct Removed {
    pub(crate) key: PublicKey,
    pub(crate) remote: String,
    pub(crate) static_peer: Option<StaticPeerId>,
    waiting: Vec<oneshot::Sender<bool>>,
}

impl Removed {
    /// Replies to the callers that wait until it is closed.
    pub(crate) fn reply(self) {
        for reply in self.waiting {
            let _ = reply.send(true);
        }
    }
}
