//! Where adversaries lay hands on frames.

use pinecone_wire::FrameType;

use super::frames::kind_of;
use super::{Happening, Network};
use crate::adversary::Identity;
use crate::ids::NodeId;
use crate::loss::Loss;
use crate::node::PeeringEnd;
use crate::time;

impl Network {
    /// What becomes of a frame that a node sends: nothing if it drops it, another if it lies.
    pub(super) fn pass_adversary(
        &mut self,
        id: NodeId,
        from: PeeringEnd,
        frame: Vec<u8>,
    ) -> Option<Vec<u8>> {
        if !self.is_adversary(id) {
            return Some(frame);
        }
        // Traffic is dropped where it comes in, not a second time on its way out.
        if kind_of(&frame) == FrameType::Traffic {
            return Some(frame);
        }
        if self.drops(id, from, &frame) {
            return None;
        }
        let port = self.end(from)?.port;
        let who = self.identity(id)?;
        let adversary = self.node(id)?.adversary.as_ref()?;
        Some(adversary.rewrite(port, frame, &who))
    }

    /// What becomes of a frame that comes to a node.
    pub(super) fn meet_adversary(
        &mut self,
        id: NodeId,
        to: PeeringEnd,
        frame: Vec<u8>,
    ) -> Option<Vec<u8>> {
        if !self.is_adversary(id) {
            return Some(frame);
        }
        let kind = kind_of(&frame);
        if kind == FrameType::Traffic && self.drops(id, to, &frame) {
            return None;
        }
        if let Some(adversary) = self.node_mut(id)?.adversary.as_mut() {
            adversary.hear(kind, &frame);
        }
        Some(frame)
    }

    /// An adversary does what it does of its own accord.
    pub(super) fn mischief(&mut self, id: NodeId) {
        let Some(who) = self.identity(id) else {
            return;
        };
        let mut random = self.mischief.clone();
        let Some(node) = self.node_mut(id) else {
            return;
        };
        let Some(adversary) = node.adversary.as_mut() else {
            return;
        };
        let frames = match node.alive {
            true => adversary.act(&who, &mut random),
            false => Vec::new(),
        };
        let interval = adversary.interval();
        let ports: Vec<_> = node.peerings().map(|(port, _)| port).collect();
        self.mischief = random;
        for port in ports {
            for frame in &frames {
                self.counts.adversary_sent += 1;
                self.send(id, port, frame.clone());
            }
        }
        self.settle(id);
        if let Some(interval) = interval {
            self.queue
                .push(self.now + interval, Happening::Mischief(id));
        }
    }

    fn drops(&mut self, id: NodeId, at: PeeringEnd, frame: &[u8]) -> bool {
        let other = PeeringEnd {
            end: 1 - at.end,
            ..at
        };
        let Some(with) = self.end(other).map(|end| end.node) else {
            return false;
        };
        let Some(node) = self.nodes.get(id as usize) else {
            return false;
        };
        let drops = node
            .adversary
            .as_ref()
            .is_some_and(|a| a.drops(kind_of(frame), with, &mut self.mischief));
        if drops {
            self.counts.adversary_dropped += 1;
            self.lose(frame, Loss::Adversary);
        }
        drops
    }

    fn identity(&self, id: NodeId) -> Option<Identity> {
        let node = self.node(id)?;
        let status = node.plane.status();
        Some(Identity {
            key: node.key(),
            secret: self.options.signatures.then(|| node.secret()),
            root: status.root,
            root_sequence: status.root_sequence,
            unix_ms: time::now(self.now).unix_ms,
        })
    }
}
