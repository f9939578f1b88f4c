//! The beginning and end of peerings.

use pinecone_controlplane::NewPeer;
use pinecone_fib::{LinkType, PortId};

use super::medium::{Medium, Scheduled};
use super::nodes::Nodes;
use crate::ids::LinkId;
use crate::link::How;
use crate::node::PeeringEnd;

/// Makes the nodes of a link peers, whose handshake ends now.
pub(super) fn connect(nodes: &mut Nodes, medium: &mut Medium, id: LinkId) {
    let now = medium.now;
    let Some(ids) = medium.links.end_handshake(id, now) else {
        return;
    };
    if !ids.iter().all(|&node| nodes.is_alive(node)) {
        return;
    }
    let peers = ids.map(|node| {
        nodes.get(node).map(|node| NewPeer {
            key: node.key(),
            link: LinkType::Remote,
            extensions: node.options().config.extensions(),
            priority: 0,
        })
    });
    let [Some(first), Some(second)] = peers else {
        return;
    };
    let mut ports = [PortId::LOCAL; 2];
    for (end, peer) in [second, first].into_iter().enumerate() {
        let Some(node) = nodes.get_mut(ids[end]) else {
            return;
        };
        let clock = node.clock(now);
        match node.plane.connect(clock, peer) {
            Ok(port) => ports[end] = port,
            Err(_) => {
                if end == 1 {
                    nodes.drive(medium, ids[0], |plane, now| plane.closed(now, ports[0]));
                }
                return;
            }
        }
    }
    let Some(peering) = medium.links.open(id, now, ports) else {
        return;
    };
    medium.counts.peerings += 1;
    for ((node, port), end) in ids.into_iter().zip(ports).zip(0..2) {
        if let Some(node) = nodes.get_mut(node) {
            node.set_port(port, Some(PeeringEnd { peering, end }));
        }
    }
    // Both ends must know each other before the first frame is sent.
    for node in ids {
        nodes.perform_effects(medium, node);
    }
}

/// Ends the peering over a link because the link or one of its nodes goes down.
pub(super) fn interrupt(nodes: &mut Nodes, medium: &mut Medium, id: LinkId, how: How) {
    let Some(peering) = medium.links.interrupt(id) else {
        return;
    };
    match how {
        How::Closed => {
            for end in 0..2 {
                let at = PeeringEnd { peering, end };
                let open = medium.links.end(at).filter(|end| end.open);
                if let Some(node) = open.map(|end| end.node) {
                    nodes.forget(medium, at);
                    nodes.perform_effects(medium, node);
                }
            }
        }
        How::Silent => {
            for (at, noticed) in medium.links.silence(peering, medium.now) {
                let timed_out = true;
                let close = Scheduled::Close { at, timed_out };
                medium.queue.push(noticed, close);
            }
        }
    }
}

/// Closes one end of a peering that has noticed that the peering is over.
pub(super) fn close(nodes: &mut Nodes, medium: &mut Medium, at: PeeringEnd, timed_out: bool) {
    let open = medium.links.end(at).filter(|end| end.open);
    let Some(node) = open.map(|end| end.node) else {
        return;
    };
    if timed_out {
        medium.counts.peerings_timed_out += 1;
    }
    nodes.close(medium, at);
    nodes.perform_effects(medium, node);
}
