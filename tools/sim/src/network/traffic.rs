//! Frames that arrive at nodes, and traffic that nodes forward, deliver and originate.

use pinecone_fib::PortId;
use pinecone_wire::{FrameType, TrafficLayout, ping};

use super::frames::{Address, hops_of_ping, kind_of, traffic};
use super::medium::{Medium, Observation};
use super::nodes::Nodes;
use crate::forward::{Outcome, forward};
use crate::ids::NodeId;
use crate::loss::Loss;
use crate::node::PeeringEnd;

/// Handles a frame that arrives at one end of a peering.
pub(super) fn arrive(nodes: &mut Nodes, medium: &mut Medium, to: PeeringEnd, frame: Vec<u8>) {
    if medium.links.is_silent(to) {
        return medium.lose(&frame, Loss::LinkDown);
    }
    let Some(end) = medium.links.end(to).filter(|end| end.open).copied() else {
        return medium.lose(&frame, Loss::PeeringOver);
    };
    let (node, port) = (end.node, end.port);
    let arrival = Observation::Frame {
        node,
        port,
        frame: &frame,
    };
    medium.observe(arrival);
    if !nodes.tamper_with_received(medium, node, to, &frame) {
        return;
    }
    if kind_of(&frame) == FrameType::Traffic {
        route(nodes, medium, node, port, frame);
    } else {
        nodes.drive(medium, node, |plane, now| plane.frame(now, port, &frame));
    }
}

/// Sends a ping. Returns its number.
pub(super) fn ping(nodes: &mut Nodes, medium: &mut Medium, from: NodeId, to: NodeId) -> usize {
    let (source, destination) = ((from, nodes.key(from)), (to, nodes.key(to)));
    let (number, payload) = medium.pings.add(source, destination, medium.now);
    originate(nodes, medium, from, to, &payload);
    number
}

/// Delivers, forwards or drops a traffic frame at a node.
fn route(nodes: &mut Nodes, medium: &mut Medium, id: NodeId, ingress: PortId, mut frame: Vec<u8>) {
    let most_hops = nodes.len();
    let Some(node) = nodes.get_mut(id) else {
        return;
    };
    let hop_limiting = node.options().hop_limiting;
    match forward(node.tables(), ingress, &mut frame, hop_limiting) {
        Ok(Outcome::Deliver) => deliver(nodes, medium, id, &frame),
        Ok(Outcome::Send(..)) if hops_of_ping(&frame) > most_hops => {
            medium.lose(&frame, Loss::Loop);
        }
        Ok(Outcome::Send(port, rescue)) => {
            medium.counts.rescues.count(rescue);
            nodes.send(medium, id, port, frame);
        }
        Ok(Outcome::Lost(loss)) => medium.lose(&frame, loss),
        Err(_) => {
            medium.lose(&frame, Loss::Malformed);
            medium.counts.peerings_refused += 1;
            if let Some(end) = nodes.get(id).and_then(|node| node.port(ingress)) {
                nodes.close(medium, end);
                nodes.perform_effects(medium, id);
            }
        }
    }
}

/// Handles traffic at the node where it ends: records pings and answers them.
fn deliver(nodes: &mut Nodes, medium: &mut Medium, id: NodeId, frame: &[u8]) {
    let Ok(layout) = TrafficLayout::parse(frame) else {
        return medium.lose(frame, Loss::Malformed);
    };
    let Some(node) = nodes.get_mut(id) else {
        return;
    };
    if layout.destination_key(frame) != node.key() {
        return medium.lose(frame, Loss::WrongNode);
    }
    let source = layout.source(frame);
    if !source.is_empty() {
        let (now, source_key) = (node.clock(medium.now), layout.source_key(frame));
        node.cache().insert(now, source_key, source.into());
    }
    let Some(ping) = ping::Ping::decode(layout.payload(frame)) else {
        return;
    };
    if let Some((origin, answer)) = medium.pings.arrive(&ping, medium.now) {
        originate(nodes, medium, id, origin, &answer);
    }
}

/// Sends a payload as a node's sessions would: by the destination's coordinates if they are known,
/// and otherwise by key.
fn originate(nodes: &mut Nodes, medium: &mut Medium, from: NodeId, to: NodeId, payload: &[u8]) {
    let key = nodes.key(to);
    let coordinates = nodes.coordinates(from);
    let Some(node) = nodes.get_mut(from).filter(|node| node.alive) else {
        return;
    };
    let now = node.clock(medium.now);
    let source = Address {
        key: node.key(),
        coordinates: &coordinates,
    };
    let cache = node.cache();
    let coordinates = cache.get(now, &key).unwrap_or_default();
    cache.sent_to(now, &key);
    let destination = Address {
        key,
        coordinates: &coordinates,
    };
    let frame = traffic(&source, &destination, payload);
    route(nodes, medium, from, PortId::LOCAL, frame);
}
