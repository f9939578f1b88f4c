//! Reports of the node's state for operators.

use pinecone_wire::PublicKey;

use super::ControlPlane;
use crate::rib::Announced;
use crate::{Counters, PeerStatus, Status};

impl ControlPlane {
    /// Returns the node's own key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.cx.own
    }

    /// Returns the state of the node.
    #[must_use]
    pub fn status(&self) -> Status {
        let position = self.tree.position();
        let peers = &self.cx.peers;
        let parent = self.tree.parent();
        Status {
            key: self.cx.own,
            root: position.root,
            root_sequence: position.root_sequence,
            own_sequence: self.tree.own_sequence(),
            parent: parent.and_then(|port| Some((port, peers.get(port)?.key))),
            waiting: self.tree.is_waiting(),
            coordinates: position.coordinates.clone(),
            descending: self.snake.descending(),
            clock_behind_ms: self.cx.network_time.disagreement(),
            peers: peers.len(),
            routes: self.cx.rib.routes().len(),
        }
    }

    /// Returns the state of all live peerings, in order of ports.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        let rib = &self.cx.rib;
        self.cx
            .peers
            .iter()
            .map(|(port, peer)| (port, peer, self.tree.announced(&self.cx, port)))
            .map(|(port, peer, announced)| PeerStatus {
                port,
                key: peer.key,
                link: peer.link,
                priority: peer.priority,
                standby: self.tree.is_on_standby(port),
                up: self.cx.now.monotonic.saturating_sub(peer.connected),
                root: announced.map(Announced::root),
                coordinates: announced.map(|a| a.peer_coordinates.clone()),
                parent: self.tree.parent() == Some(port),
                routes: rib.routes().learned_from(port),
            })
            .collect()
    }

    /// Returns the counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            keys_dropped: self.cx.signer.keys_dropped(),
            signatures_dropped: self.cx.signer.signatures_dropped(),
            sequences_forgotten: self.snake.sequences_evicted(),
            ..self.cx.counters
        }
    }
}
