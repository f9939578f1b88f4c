//! The nodes of a network, and what they do to the medium between them.

use pinecone_controlplane::{ControlPlane, Effect, Event, Now};
use pinecone_fib::PortId;
use pinecone_wire::timing::STATIC_PEER_INTERVAL;
use pinecone_wire::{Coordinates, FrameType, PublicKey};

use super::frames::kind_of;
use super::medium::{Medium, Observation, Scheduled, Stuck};
use crate::ids::{LinkId, NodeId};
use crate::loss::Loss;
use crate::node::{Node, PeeringEnd};
use crate::random::{Random, Stream};
use crate::time::{self, Nanos};

/// Time after the end of a peering until it is dialled again.
const REDIAL: Nanos = time::nanos(STATIC_PEER_INTERVAL);

pub(super) struct Nodes {
    list: Vec<Node>,
    adversaries: Random,
}

impl Nodes {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            list: Vec::new(),
            adversaries: Random::new(seed, Stream::Adversaries),
        }
    }

    pub(super) fn reserve(&mut self, nodes: usize) {
        self.list.reserve_exact(nodes);
    }

    pub(super) fn add(&mut self, node: Node) -> NodeId {
        self.list.push(node);
        (self.list.len() - 1) as NodeId
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.list.get(id as usize)
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.list.get_mut(id as usize)
    }

    pub(super) fn is_alive(&self, id: NodeId) -> bool {
        self.get(id).is_some_and(|node| node.alive)
    }

    pub(super) fn key(&self, id: NodeId) -> PublicKey {
        self.get(id).map(Node::key).unwrap_or_default()
    }

    pub(super) fn coordinates(&self, id: NodeId) -> Coordinates {
        let status = self.get(id).map(|node| node.plane.status());
        status.map(|status| status.coordinates).unwrap_or_default()
    }

    pub(super) fn is_adversary(&self, id: NodeId) -> bool {
        self.get(id).is_some_and(|node| node.adversary.is_some())
    }

    /// Calls a node's control plane, and performs the effects.
    pub(super) fn drive<R>(
        &mut self,
        medium: &mut Medium,
        id: NodeId,
        act: impl FnOnce(&mut ControlPlane, Now) -> R,
    ) -> Option<R> {
        let node = self.get_mut(id)?;
        let now = node.clock(medium.now);
        let result = act(&mut node.plane, now);
        self.perform_effects(medium, id);
        Some(result)
    }

    /// Performs the effects of a node's control plane, and schedules its next tick.
    ///
    /// # Panics
    /// If the control plane asks for a tick in the past.
    pub(super) fn perform_effects(&mut self, medium: &mut Medium, id: NodeId) {
        if let Some(node) = self.get_mut(id) {
            node.publish();
        }
        while let Some(effect) = self.get_mut(id).and_then(|n| n.plane.poll_effect()) {
            match effect {
                Effect::Send { port, frame } => self.send(medium, id, port, frame),
                Effect::Close { port, reason } => {
                    medium.counts.peerings_refused += 1;
                    let node = id;
                    medium.observe(Observation::Refused {
                        node,
                        port,
                        reason: &reason,
                    });
                    if let Some(end) = self.get(id).and_then(|n| n.port(port)) {
                        self.close(medium, end);
                    }
                }
                Effect::Event(Event::ParentChanged { parent: Some(_) }) => {
                    medium.counts.reparentings += 1;
                }
                Effect::Event(Event::RootChanged { sequence: _, root }) => {
                    if let Some(node) = self.get_mut(id)
                        && std::mem::replace(&mut node.root, root) != root
                    {
                        node.clear_cache();
                        medium.counts.root_changes += 1;
                    }
                }
                Effect::Event(_) => {}
            }
        }
        let Some(node) = self.get_mut(id).filter(|node| node.alive) else {
            return;
        };
        // Closing a peering above may have changed the tables again.
        node.publish();
        let due = node.plane.next_deadline().map(time::nanos);
        if let Some(due) = due
            && due < node.scheduled
        {
            assert!(
                due >= medium.now,
                "node {id} has a deadline at {due}, before {}",
                medium.now
            );
            node.scheduled = due;
            medium.queue.push(due, Scheduled::Tick(id));
        }
    }

    /// Sends a frame out of one of a node's ports.
    pub(super) fn send(&mut self, medium: &mut Medium, id: NodeId, port: PortId, frame: Vec<u8>) {
        let Some(from) = self.get(id).and_then(|node| node.port(port)) else {
            return medium.lose(&frame, Loss::PeeringOver);
        };
        let Some(frame) = self.tamper_with_sent(medium, id, (port, from), frame) else {
            return;
        };
        if let Err(Stuck) = medium.transmit(from, frame) {
            // The caller performs the node's effects, or is doing so.
            self.close(medium, from);
        }
    }

    /// Begins to connect the nodes of a link, `after` some time, if both are up and not connected.
    pub(super) fn dial(&self, medium: &mut Medium, id: LinkId, after: Nanos) {
        let Some(link) = medium.links.get(id) else {
            return;
        };
        if !link.ends.iter().all(|&node| self.is_alive(node)) {
            return;
        }
        let now = medium.now;
        if let Some(ready) = medium.links.begin_handshake(id, now, after) {
            medium.queue.push(ready, Scheduled::Connect(id));
        }
    }

    /// Closes an end of a peering, if it is open. The other end notices one latency later, and the
    /// link is dialled again after a while. The caller performs the node's effects.
    pub(super) fn close(&mut self, medium: &mut Medium, at: PeeringEnd) {
        if !medium.links.is_open(at) {
            return;
        }
        self.forget(medium, at);
        let Some((id, held)) = medium.links.release(at) else {
            return;
        };
        let Some(latency) = medium.links.get(id).map(|link| link.options.latency) else {
            return;
        };
        if !medium.links.is_silent(at) {
            let other = Scheduled::Close {
                at: at.other(),
                timed_out: false,
            };
            medium.queue.push(medium.now + latency, other);
        }
        if held {
            self.dial(medium, id, REDIAL);
        }
    }

    /// Closes an end of a peering without telling the other end.
    pub(super) fn forget(&mut self, medium: &mut Medium, at: PeeringEnd) {
        let Some(end) = medium.close(at) else {
            return;
        };
        if let Some(node) = self.get_mut(end.node).filter(|node| node.alive) {
            node.set_port(end.port, None);
            let now = node.clock(medium.now);
            node.plane.closed(now, end.port);
        }
    }

    /// Returns the frame that a node sends in place of `frame`: nothing if it is an adversary that
    /// drops the frame, and another one if it forges it.
    fn tamper_with_sent(
        &mut self,
        medium: &mut Medium,
        id: NodeId,
        (port, from): (PortId, PeeringEnd),
        frame: Vec<u8>,
    ) -> Option<Vec<u8>> {
        // Traffic is dropped on arrival, not a second time when it is sent.
        if !self.is_adversary(id) || kind_of(&frame) == FrameType::Traffic {
            return Some(frame);
        }
        if self.drops(medium, id, from, &frame) {
            return None;
        }
        let node = self.get(id)?;
        let adversary = node.adversary.as_ref()?;
        Some(adversary.rewrite(port, frame, &node.identity(medium.now)))
    }

    /// Lets a node that is an adversary drop or record a frame that it received. Reports whether
    /// the frame remains.
    pub(super) fn tamper_with_received(
        &mut self,
        medium: &mut Medium,
        id: NodeId,
        at: PeeringEnd,
        frame: &[u8],
    ) -> bool {
        if !self.is_adversary(id) {
            return true;
        }
        let kind = kind_of(frame);
        if kind == FrameType::Traffic && self.drops(medium, id, at, frame) {
            return false;
        }
        if let Some(adversary) = self.get_mut(id).and_then(|node| node.adversary.as_mut()) {
            adversary.record(kind, frame);
        }
        true
    }

    /// Sends the frames of an adversary's next batch, and schedules the one after it.
    pub(super) fn misbehave(&mut self, medium: &mut Medium, id: NodeId) {
        let Some(node) = self.list.get_mut(id as usize) else {
            return;
        };
        let (identity, alive) = (node.identity(medium.now), node.alive);
        let Some(adversary) = node.adversary.as_mut() else {
            return;
        };
        let frames = match alive {
            true => adversary.batch(&identity, &mut self.adversaries),
            false => Vec::new(),
        };
        let interval = adversary.interval();
        let ports: Vec<_> = node.peerings().map(|(port, _)| port).collect();
        for port in ports {
            for frame in &frames {
                medium.counts.adversary_sent += 1;
                self.send(medium, id, port, frame.clone());
            }
        }
        self.perform_effects(medium, id);
        if let Some(interval) = interval {
            let next = medium.now + interval;
            medium.queue.push(next, Scheduled::Misbehave(id));
        }
    }

    /// Reports whether an adversary drops a frame at its end of a peering, and counts it if so.
    fn drops(&mut self, medium: &mut Medium, id: NodeId, at: PeeringEnd, frame: &[u8]) -> bool {
        let Some(peer) = medium.links.end(at.other()).map(|end| end.node) else {
            return false;
        };
        let Some(node) = self.list.get(id as usize) else {
            return false;
        };
        let drops = (node.adversary.as_ref())
            .is_some_and(|a| a.drops(kind_of(frame), peer, &mut self.adversaries));
        if drops {
            medium.counts.adversary_dropped += 1;
            medium.lose(frame, Loss::Adversary);
        }
        drops
    }
}
