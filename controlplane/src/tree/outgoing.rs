//! The node's own announcement.

use std::sync::Arc;

use pinecone_fib::PortId;
use pinecone_wire::{Signature, announcement};

use crate::context::Context;

/// The announcement that the node sends to its peers, signed when it is needed.
#[derive(Default)]
pub(super) struct Outgoing(Option<Signed>);

/// An announcement with the signature that serves every port.
struct Signed {
    payload: Arc<[u8]>,
    signature: Signature,
}

impl Outgoing {
    /// Discards the announcement, because the parent or the root has changed.
    pub(super) fn invalidate(&mut self) {
        self.0 = None;
    }

    /// Sends the announcement to one peer. `own_sequence` is the node's sequence if it has no parent.
    pub(super) fn send_to(
        &mut self,
        cx: &mut Context,
        port: PortId,
        parent: Option<PortId>,
        own_sequence: u64,
    ) {
        let signed = self
            .0
            .get_or_insert_with(|| Signed::new(cx, parent, own_sequence));
        signed.push(cx, port);
    }

    /// Signs the announcement anew and sends it to all peers.
    pub(super) fn send_to_all(
        &mut self,
        cx: &mut Context,
        parent: Option<PortId>,
        own_sequence: u64,
    ) {
        let signed = self.0.insert(Signed::new(cx, parent, own_sequence));
        let ports: Vec<_> = cx.peers.iter().map(|(port, _)| port).collect();
        for port in ports {
            signed.push(cx, port);
        }
    }
}

impl Signed {
    fn new(cx: &mut Context, parent: Option<PortId>, own_sequence: u64) -> Self {
        cx.counters.signatures_made += 1;
        let payload: Arc<[u8]> = parent.and_then(|port| cx.rib.announced(port)).map_or_else(
            || announcement::root_payload(&cx.own, own_sequence).into(),
            |announced| announced.announcement.payload().into(),
        );
        Self {
            signature: cx.signer.sign_announcement(&payload),
            payload,
        }
    }

    /// Sends the announcement to one peer, unless it was the last one sent there. A deployed node takes a repeat from
    /// its parent for bad news.
    fn push(&self, cx: &mut Context, port: PortId) {
        let Some(told) = cx.peers.told_mut(port) else {
            return;
        };
        if told.as_ref() == Some(&self.payload) {
            cx.counters.announcements_unchanged += 1;
            return;
        }
        let mut frame = Vec::new();
        let built = announcement::push_frame(
            &mut frame,
            &self.payload,
            u64::from(port.0),
            &cx.own,
            &self.signature,
        );
        if built.is_ok() {
            *told = Some(Arc::clone(&self.payload));
        }
        cx.send_built(port, frame, built);
    }
}
