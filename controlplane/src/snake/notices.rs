//! Notices of broken paths, with [`Config::correct_paths`](crate::Config).
//!
//! When a peering ends, only its two nodes know which paths used it. The keys of those paths would set them up anew
//! with their next bootstraps, up to five seconds later. So a node that loses a peering sends a notice for every route
//! whose bootstraps were forwarded over it, to the port that they came from. The next node forwards the notice
//! likewise, until the key itself hears that its path is broken, and bootstraps.
//!
//! Nodes that know a way over the broken link are not notified. They would remove their routes, and more frames would
//! arrive (in the scenario `mobility` 98.3 % instead of 98.0 %), but a liar could remove others' routes.
//!
//! # Format
//!
//! A notice is a bootstrap of the key with the sequence of the route, the key and that sequence as its watermark, and
//! zeros for a signature. No bootstrap has such a watermark, as its path ends above its key. Notices go only to peers
//! whose handshakes offer to understand them, and are accepted only from them: a deployed node never sees one.
//!
//! # Termination, and what a liar can do
//!
//! A node acts on a notice only if it arrives from the port that the last bootstrap of that key was forwarded to, and
//! only once for every bootstrap. It forwards the notice to the port that this bootstrap came from. That way leads to
//! the key and not in circles, as no node accepts a bootstrap twice. A notice changes no route. A liar can make keys
//! whose paths lead through it bootstrap more often, at most three times as often, as each heeds no more than one
//! notice in five seconds. [`Config::max_break_notices`](crate::Config::max_break_notices) limits what a node sends in
//! a second.

use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::timing::BOOTSTRAP_INTERVAL;
use pinecone_wire::{PublicKey, Signature, SignedBody, Watermark};

use super::frames::push_bootstrap;
use crate::context::Context;
use crate::position::Position;
use crate::rib::Route;
use crate::verify::Bootstrap;

/// The time for which [`Config::max_break_notices`](crate::Config::max_break_notices) applies.
const WINDOW: Duration = Duration::from_secs(1);

/// The rates of notices sent and heeded.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// The start of the current window, and the number of notices in it.
    window: Option<Duration>,
    sent: usize,
    /// The time at which the node last bootstrapped because of a notice.
    renewed: Option<Duration>,
}

/// Reports whether a bootstrap is a notice.
pub(crate) fn is_notice(bootstrap: &Bootstrap) -> bool {
    let Bootstrap {
        key,
        watermark,
        body,
        ..
    } = bootstrap;
    watermark.key == *key && watermark.sequence != 0 && watermark.sequence == body.sequence
}

impl Notices {
    /// Sends notices because a peering was lost, and with it the way on for the paths that used it.
    pub(super) fn report_loss(&mut self, cx: &mut Context, position: &Position, port: PortId) {
        if !cx.config.correct_paths {
            return;
        }
        while let Some(route) = cx.rib.routes().first_going_to(port) {
            cx.rib.forget_destination(&route.key);
            // Otherwise the route is removed with the peering.
            if route.source != port {
                self.send(cx, position, route.source, &route);
            }
        }
    }

    /// Forwards a notice about another key.
    pub(super) fn forward(
        &mut self,
        cx: &mut Context,
        position: &Position,
        port: PortId,
        key: &PublicKey,
        sequence: u64,
    ) {
        let Some(route) = cx.rib.routes().get(key) else {
            return;
        };
        let matches = route.destination == Some(port) && route.sequence == sequence;
        // Its sender knows already.
        if matches && !route.told && route.source != port {
            cx.rib.set_told(key);
            self.send(cx, position, route.source, &route);
        }
    }

    /// Reports whether the node may bootstrap because of a notice, and counts it.
    pub(super) fn take_renewal(&mut self, now: Duration) -> bool {
        let rested = self
            .renewed
            .is_none_or(|last| now >= last + BOOTSTRAP_INTERVAL);
        if rested {
            self.renewed = Some(now);
        }
        rested
    }

    fn send(&mut self, cx: &mut Context, position: &Position, to: PortId, route: &Route) {
        if !cx.corrects_paths_with(to) {
            return;
        }
        if !self.may_send(cx) {
            cx.counters.break_notices_held_back += 1;
            return;
        }
        cx.counters.break_notices_sent += 1;
        let body = SignedBody {
            sequence: route.sequence,
            root: position.root,
            root_sequence: position.root_sequence,
            signature: Signature([0; 64]),
        };
        let watermark = Watermark {
            key: route.key,
            sequence: route.sequence,
        };
        push_bootstrap(cx, to, (0, 0), &route.key, &watermark, &body);
    }

    fn may_send(&mut self, cx: &Context) -> bool {
        let now = cx.now.monotonic;
        if self.window.is_none_or(|start| now >= start + WINDOW) {
            self.window = Some(now);
            self.sent = 0;
        }
        self.sent += 1;
        self.sent <= cx.config.max_break_notices
    }
}
