//! Probes: traffic frames that follow the forwarding tables as they are at one moment.

use std::collections::HashMap;

use pinecone_fib::PortId;
use pinecone_wire::{Coordinates, FrameType, TrafficLayout, Watermark};

use super::frames::{Address, traffic};
use super::medium::Medium;
use super::nodes::Nodes;
use crate::forward::{Outcome, forward};
use crate::ids::NodeId;
use crate::loss::Loss;
use crate::random::Random;

/// The way in which a frame is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Routing by key alone, over SNEK.
    Snek,
    /// Routing by the destination's coordinates, and by key where the tree has no next hop.
    Tree,
}

/// The outcome of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The number of links that it took, or the reason why it did not arrive.
    pub result: Result<u32, Loss>,
    /// Set if it passed an adversary.
    pub met_adversary: bool,
}

/// Forwards a frame from node to node, without any time passing. Each node decides by its own
/// tables, as a worker would, and adversaries drop the frame as they would drop a real one.
pub(super) fn walk(
    nodes: &mut Nodes,
    medium: &mut Medium,
    random: &mut Random,
    (from, to): (NodeId, NodeId),
    way: Way,
) -> Probe {
    let nowhere = Coordinates::default();
    let destination = match way {
        Way::Snek => nowhere.clone(),
        Way::Tree => nodes.coordinates(to),
    };
    let source = Address {
        key: nodes.key(from),
        coordinates: &nowhere,
    };
    let destination = Address {
        key: nodes.key(to),
        coordinates: &destination,
    };
    let mut frame = traffic(&source, &destination, &[]);
    let mut met_adversary = nodes.is_adversary(from) || nodes.is_adversary(to);
    let (mut at, mut ingress) = (from, PortId::LOCAL);
    let mut hops = 0;
    let mut visited = Visited::default();
    let result = loop {
        medium.counts.revisits += u64::from(visited.repeats(at, &frame));
        let Some(node) = nodes.get_mut(at) else {
            break Err(Loss::LinkDown);
        };
        let hop_limiting = node.options().hop_limiting;
        match forward(node.tables(), ingress, &mut frame, hop_limiting) {
            Err(_) => break Err(Loss::Malformed),
            Ok(Outcome::Lost(loss)) => break Err(loss),
            Ok(Outcome::Deliver) if at == to => break Ok(hops),
            Ok(Outcome::Deliver) => break Err(Loss::WrongNode),
            Ok(Outcome::Send(port, rescue)) => {
                medium.counts.rescues.count(rescue);
                let before = at;
                let end = node.port(port).ok_or(Loss::PeeringOver);
                match end.and_then(|end| medium.links.far_end(end)) {
                    Ok((next, its_port)) => (at, ingress) = (next, its_port),
                    Err(loss) => break Err(loss),
                }
                let next = nodes.get(at);
                if let Some(adversary) = next.and_then(|next| next.adversary.as_ref()) {
                    met_adversary = true;
                    if adversary.drops(FrameType::Traffic, before, random) {
                        break Err(Loss::Adversary);
                    }
                }
            }
        }
        hops += 1;
        if hops as usize > nodes.len() {
            break Err(Loss::Loop);
        }
    };
    Probe {
        result,
        met_adversary,
    }
}

/// The nodes that a frame has visited, and its watermark there.
#[derive(Default)]
struct Visited(HashMap<NodeId, Watermark>);

impl Visited {
    /// Records a visit. Reports whether the frame visited this node before with a watermark that
    /// was at least as good, which means that it is in a loop. A frame that is routed by
    /// coordinates is not recorded, as it has no watermark.
    fn repeats(&mut self, at: NodeId, frame: &[u8]) -> bool {
        let layout = TrafficLayout::parse(frame);
        let Some(layout) = layout.ok().filter(|layout| !layout.has_destination()) else {
            return false;
        };
        let now = layout.watermark(frame);
        let before = self.0.insert(at, now);
        before.is_some_and(|before| !before.is_worse_than(&now))
    }
}
