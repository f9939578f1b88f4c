//! Peerings on standby.
//!
//! If several peerings with the same key have announced themselves, the node uses only those with the highest priority.
//! The others are on standby: their announcements are kept here and neither in the RIB nor among the candidates for a
//! parent, so that nothing is routed to them. When the last peering that is used ends, the best of them are used again,
//! with the announcements that they have made meanwhile.

use std::collections::BTreeMap;

use pinecone_fib::PortId;
use pinecone_wire::PublicKey;

use crate::context::Context;
use crate::rib::Announced;

/// The last announcements of peerings on standby.
#[derive(Default)]
pub(super) struct Standby(BTreeMap<PortId, Box<Announced>>);

impl Standby {
    /// Returns the last announcement of a peering, if it is on standby.
    pub(super) fn announced(&self, port: PortId) -> Option<&Announced> {
        self.0.get(&port).map(|announced| &**announced)
    }

    pub(super) fn insert(&mut self, port: PortId, announced: Announced) {
        self.0.insert(port, Box::new(announced));
    }

    pub(super) fn remove(&mut self, port: PortId) -> Option<Announced> {
        self.0.remove(&port).map(|announced| *announced)
    }

    /// Removes the peerings with the node that has `key` that have the highest priority.
    pub(super) fn take_best(&mut self, cx: &Context, key: &PublicKey) -> Vec<(PortId, Announced)> {
        let priority_of = |port: &PortId| {
            let peer = cx.peers.get(*port);
            peer.filter(|peer| peer.key == *key)
                .map(|peer| peer.priority)
        };
        let highest = self.0.keys().filter_map(priority_of).max();
        let all = self.0.keys().copied();
        let best: Vec<_> = all
            .filter(|port| highest.is_some() && priority_of(port) == highest)
            .collect();
        let take = |port| Some((port, self.remove(port)?));
        best.into_iter().filter_map(take).collect()
    }
}
