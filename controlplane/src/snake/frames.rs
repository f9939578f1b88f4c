//! The bootstrap frames that the node sends.

use pinecone_fib::PortId;
use pinecone_wire::timing::ROUTE_LIFETIME;
use pinecone_wire::{PublicKey, SignedBody, Watermark, frame};

use crate::context::Context;
use crate::peers::Brought;
use crate::rib::{BootstrapHop, Route};
use crate::verify::Bootstrap;

/// Forwards a bootstrap from `source` to `hop`. `detoured` is set if this is a detour. If the next hop may swallow the
/// bootstrap, it is doubled; returns the port of the second copy.
pub(super) fn forward(
    cx: &mut Context,
    source: PortId,
    bootstrap: &Bootstrap,
    hop: Option<BootstrapHop>,
    detoured: bool,
) -> Option<PortId> {
    let Some(hop) = hop else {
        cx.counters.bootstraps_ended += 1;
        return None;
    };
    if hop.port == source {
        cx.counters.bootstraps_backwards += 1;
        return None;
    }
    if !detoured && hop.watermark.is_worse_than(&bootstrap.watermark) {
        cx.counters.bootstraps_watermark += 1;
        return None;
    }
    cx.counters.bootstraps_forwarded += 1;
    cx.counters.bootstraps_detoured += u64::from(detoured);
    let Bootstrap {
        header, key, body, ..
    } = bootstrap;
    push_bootstrap(cx, hop.port, *header, key, &hop.watermark, body);
    double(cx, source, &hop, *header, key, body)
}

/// Sends a second copy of a bootstrap from `source` another way, if the peer at `hop` may swallow it. Returns the port
/// of the copy.
pub(super) fn double(
    cx: &mut Context,
    source: PortId,
    hop: &BootstrapHop,
    header: (u8, u8),
    key: &PublicKey,
    body: &SignedBody,
) -> Option<PortId> {
    if !may_swallow(cx, hop.port, &hop.watermark.key) {
        return None;
    }
    let around = cx.rib.bootstrap_around(key, &[source, hop.port])?;
    cx.counters.bootstraps_doubled += 1;
    push_bootstrap(cx, around.port, header, key, &around.watermark, body);
    Some(around.port)
}

/// Sends a bootstrap that came from `source` and was sent to the ports `sent` also along the old path of its key, whose
/// route was `before`.
pub(super) fn correct(
    cx: &mut Context,
    before: &Route,
    source: PortId,
    sent: [Option<PortId>; 2],
    header: (u8, u8),
    body: &SignedBody,
) {
    let onward = before.destination.filter(|port| *port != before.source);
    let watermark = Watermark {
        key: before.key,
        sequence: 0,
    };
    for port in [Some(before.source), onward].into_iter().flatten() {
        if port != source && !sent.contains(&Some(port)) && cx.corrects_paths_with(port) {
            cx.counters.bootstraps_corrected += 1;
            push_bootstrap(cx, port, header, &before.key, &watermark, body);
        }
    }
}

/// Sends a bootstrap frame.
pub(super) fn push_bootstrap(
    cx: &mut Context,
    port: PortId,
    header: (u8, u8),
    key: &PublicKey,
    watermark: &Watermark,
    body: &SignedBody,
) {
    let mut frame = Vec::new();
    let built = frame::push_bootstrap(&mut frame, header, key, watermark, &body.encode());
    cx.send_built(port, frame, built);
}

/// Reports whether a peer may swallow bootstraps towards `above`: it has been there for a while and has not brought
/// any that would show that it forwards them.
fn may_swallow(cx: &Context, port: PortId, above: &PublicKey) -> bool {
    cx.peers.get(port).is_some_and(|peer| {
        let enough = match peer.key == *above {
            true => Brought::Own,
            false => Brought::Others,
        };
        peer.brought < enough && peer.connected + ROUTE_LIFETIME <= cx.now.monotonic
    })
}
