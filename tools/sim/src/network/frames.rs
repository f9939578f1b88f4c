//! Frames: sent, arriving, and walked through the tables to see where they would get to.

use std::collections::HashMap;

use pinecone_fib::PortId;
use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{
    Coordinates, FrameHeader, FrameType, PublicKey, TrafficFields, TrafficLayout, Watermark, ping,
};

use super::{Happening, Network};
use crate::forward::{Outcome, forward};
use crate::ids::NodeId;
use crate::link::{Class, Sent};
use crate::loss::Loss;
use crate::node::PeeringEnd;

/// What every frame of our own starts with (protocol section 7).
const HOP_LIMIT: u8 = 10;

/// How a frame finds its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// By key alone: the snake.
    Snek,
    /// By the destination's coordinates, and by key where the tree knows no way.
    Tree,
}

/// Where a frame gets to that is walked through the tables as they are at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How many links it took, or why it did not get there.
    pub result: Result<u32, Loss>,
    /// Whether it came by an adversary.
    pub met_adversary: bool,
}

impl Network {
    /// Walks a traffic frame from node to node, each deciding by its own tables as a worker would,
    /// in no time at all. Adversaries drop it as they would drop a real one.
    pub fn probe(&mut self, from: NodeId, to: NodeId, way: Way) -> Probe {
        let destination = match way {
            Way::Snek => Coordinates::default(),
            Way::Tree => self.coordinates(to),
        };
        let mut met_adversary = self.is_adversary(from) || self.is_adversary(to);
        let mut frame = traffic(self.key(from), self.key(to), &destination, &[]);
        let (mut at, mut ingress) = (from, PortId::LOCAL);
        let mut hops = 0;
        let mut visited = Visited::default();
        let result = loop {
            let hop_limiting = self.options.hop_limiting;
            self.counts.revisits += u64::from(visited.comes_round(at, &frame));
            let Some(node) = self.nodes.get_mut(at as usize) else {
                break Err(Loss::LinkDown);
            };
            match forward(node.plane.tables(), ingress, &mut frame, hop_limiting) {
                Err(_) => break Err(Loss::Malformed),
                Ok(Outcome::Lost(loss)) => break Err(loss),
                Ok(Outcome::Deliver) if at == to => break Ok(hops),
                Ok(Outcome::Deliver) => break Err(Loss::WrongNode),
                Ok(Outcome::Send(port, rescue)) => {
                    self.counts.rescues.count(rescue);
                    let before = at;
                    match self.other_end(at, port) {
                        Ok((next, its_port)) => (at, ingress) = (next, its_port),
                        Err(loss) => break Err(loss),
                    }
                    let next = self.nodes.get(at as usize);
                    if let Some(adversary) = next.and_then(|next| next.adversary.as_ref()) {
                        met_adversary = true;
                        if adversary.drops(FrameType::Traffic, before, &mut self.probing) {
                            break Err(Loss::Adversary);
                        }
                    }
                }
            }
            hops += 1;
            if hops as usize > self.nodes.len() {
                break Err(Loss::Loop);
            }
        };
        Probe {
            result,
            met_adversary,
        }
    }

    /// A node sends a frame out of one of its ports.
    pub(super) fn send(&mut self, id: NodeId, port: PortId, frame: Vec<u8>) {
        let now = self.now;
        let kind = kind_of(&frame);
        let class = match kind {
            FrameType::Traffic => Class::Traffic,
            _ => Class::Protocol,
        };
        let Some(from) = self.node(id).and_then(|node| node.port(port)) else {
            return self.lose(&frame, Loss::PeeringOver);
        };
        let Some(frame) = self.pass_adversary(id, from, frame) else {
            return;
        };
        let Some(peering) = self.peerings.get_mut(from.peering as usize) else {
            return;
        };
        let Some(link) = self.links.get(peering.link as usize) else {
            return;
        };
        self.counts.sent(kind, frame.len());
        if peering.dead {
            return self.lose(&frame, Loss::LinkDown);
        }
        let way = &mut peering.ways[usize::from(from.end)];
        let keepalives = way.count_keepalives(now);
        let sent = way.send(now, frame.len(), class, &link.options, &mut self.random);
        self.add_keepalives(keepalives);
        let to = PeeringEnd {
            end: 1 - from.end,
            ..from
        };
        match sent {
            Sent::Arrives(at) => self.queue.push(at, Happening::Frame { to, frame }),
            Sent::TooLate(at) => {
                let timed_out = true;
                let close = Happening::Close { at: to, timed_out };
                self.queue.push(at.max(now), close);
                self.lose(&frame, Loss::LinkDown);
            }
            Sent::QueueFull => self.lose(&frame, Loss::QueueFull),
            Sent::Stuck => {
                self.counts.peerings_timed_out += 1;
                self.lose(&frame, Loss::LinkDown);
                // The node is settled by the caller, who may be doing so right now.
                self.close_end(from);
            }
        }
    }

    /// A frame has arrived at one end of a peering.
    pub(super) fn arrive(&mut self, to: PeeringEnd, frame: Vec<u8>) {
        let dead = |n: &Self| n.peerings.get(to.peering as usize).is_none_or(|p| p.dead);
        if dead(self) {
            return self.lose(&frame, Loss::LinkDown);
        }
        let Some(end) = self.end(to).filter(|end| end.open).copied() else {
            return self.lose(&frame, Loss::PeeringOver);
        };
        let Some(frame) = self.meet_adversary(end.node, to, frame) else {
            return;
        };
        if kind_of(&frame) == FrameType::Traffic {
            self.route(end.node, end.port, frame);
        } else {
            self.with_plane(end.node, |plane, now| plane.frame(now, end.port, &frame));
        }
    }

    /// A node decides about a traffic frame.
    pub(super) fn route(&mut self, id: NodeId, ingress: PortId, mut frame: Vec<u8>) {
        let hop_limiting = self.options.hop_limiting;
        let Some(node) = self.node_mut(id) else {
            return;
        };
        match forward(node.plane.tables(), ingress, &mut frame, hop_limiting) {
            Ok(Outcome::Deliver) => self.deliver(id, &frame),
            Ok(Outcome::Send(..)) if hops_of_ping(&frame) > self.nodes.len() => {
                self.lose(&frame, Loss::Loop);
            }
            Ok(Outcome::Send(port, rescue)) => {
                self.counts.rescues.count(rescue);
                self.send(id, port, frame);
            }
            Ok(Outcome::Lost(loss)) => self.lose(&frame, loss),
            Err(_) => {
                self.lose(&frame, Loss::Malformed);
                self.counts.peerings_refused += 1;
                if let Some(end) = self.node(id).and_then(|node| node.port(ingress)) {
                    self.close_end(end);
                    self.settle(id);
                }
            }
        }
    }

    /// Notes that a frame did not get there.
    pub(super) fn lose(&mut self, frame: &[u8], loss: Loss) {
        if kind_of(frame) != FrameType::Traffic {
            self.counts.protocol_lost += u64::from(loss != Loss::Adversary);
            return;
        }
        self.counts.losses.count(loss);
        self.lose_ping(frame, loss);
    }

    /// Who is at the other end of a port, and which port that is to him.
    fn other_end(&self, node: NodeId, port: PortId) -> Result<(NodeId, PortId), Loss> {
        let end = self.node(node).and_then(|node| node.port(port));
        let end = end.ok_or(Loss::PeeringOver)?;
        let peering = self.peerings.get(end.peering as usize);
        let peering = peering.filter(|p| !p.dead).ok_or(Loss::LinkDown)?;
        let other = &peering.ends[1 - usize::from(end.end)];
        match other.open {
            true => Ok((other.node, other.port)),
            false => Err(Loss::PeeringOver),
        }
    }
}

/// The nodes that a frame has come to, and its watermark there.
#[derive(Default)]
struct Visited(HashMap<NodeId, Watermark>);

impl Visited {
    /// Whether the frame has been at this node before, with a watermark that was as good as now.
    /// Coordinates have no watermark.
    fn comes_round(&mut self, at: NodeId, frame: &[u8]) -> bool {
        let layout = TrafficLayout::parse(frame);
        let Some(layout) = layout.ok().filter(|layout| !layout.has_destination()) else {
            return false;
        };
        let now = layout.watermark(frame);
        let before = self.0.insert(at, now);
        before.is_some_and(|before| !before.is_worse_than(&now))
    }
}

/// How many nodes have passed a ping on.
fn hops_of_ping(frame: &[u8]) -> usize {
    let ping = ping::Ping::decode(payload_of(frame));
    ping.map_or(0, |ping| usize::from(ping.hops))
}

/// A traffic frame as its origin makes it.
pub(super) fn traffic(
    source: PublicKey,
    destination: PublicKey,
    coordinates: &Coordinates,
    payload: &[u8],
) -> Vec<u8> {
    traffic_from(
        source,
        &Coordinates::default(),
        destination,
        coordinates,
        payload,
    )
}

/// The same, saying where its origin is.
pub(super) fn traffic_from(
    source_key: PublicKey,
    source: &Coordinates,
    destination_key: PublicKey,
    destination: &Coordinates,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    let fields = TrafficFields {
        extra: 0,
        hop_limit: HOP_LIMIT,
        destination,
        source,
        destination_key,
        source_key,
        watermark: Watermark::START,
        payload,
    };
    // What is too long is empty, and then malformed.
    let _ = push_traffic(&mut frame, &fields);
    frame
}

pub(super) fn kind_of(frame: &[u8]) -> FrameType {
    match FrameHeader::decode(frame) {
        Ok(Some(header)) => header.kind,
        _ => FrameType::Unknown(u8::MAX),
    }
}

/// The payload of a traffic frame.
pub(super) fn payload_of(frame: &[u8]) -> &[u8] {
    TrafficLayout::parse(frame).map_or(&[], |layout| layout.payload(frame))
}
