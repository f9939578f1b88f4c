//! Telling others that their paths are broken, with [`Config::correct_paths`](crate::Config).
//!
//! When a peering ends, nobody but the two nodes that had it knows which paths went over it. Those
//! whose paths they are set them up anew with their next bootstraps, up to five seconds later. So a
//! node that loses a peering sends, for every route whose bootstraps went on over it, a notice to
//! where they came from. That node passes it on likewise, until the key itself hears that its path is
//! broken, and bootstraps.
//!
//! Those who know a way over the broken link are not told. They would take their routes out, and more
//! would arrive (in `mobility`, 98.3 % in place of 98.0), but a liar could take out others' routes.
//!
//! # What a notice looks like
//!
//! It is a bootstrap of that key with the sequence that the route has, the key and that sequence as
//! its watermark, and zeros for a signature. No bootstrap has a watermark like that, as its way ends
//! above its key. It goes only to peers whose handshakes offer to understand it, and is heard from them
//! alone: a deployed node never sees one.
//!
//! # Why nothing goes round for ever, and what a liar can do
//!
//! A node acts on a notice only if it comes from where the last bootstrap of that key went on to, and
//! once for every bootstrap. It passes it on to where that came from, which goes to the key and not in
//! circles, as no node takes a bootstrap twice. No route changes by a notice. One who lies can make
//! keys whose paths lead through him bootstrap more often, up to thrice, as each heeds no more than
//! one in five seconds. What a node sends in a second is bounded by
//! [`Config::max_break_notices`](crate::Config::max_break_notices).

use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::timing::BOOTSTRAP_INTERVAL;
use pinecone_wire::{Extensions, PublicKey, Signature, SignedBody, Watermark};

use crate::ControlPlane;
use crate::peers::Peer;
use crate::rib::Route;

/// How long [`Config::max_break_notices`](crate::Config::max_break_notices) are meant for.
const WINDOW: Duration = Duration::from_secs(1);

/// What the node has said and heard of broken paths.
#[derive(Debug, Default)]
pub(crate) struct Breaks {
    /// Since when notices are counted, and how many there were.
    window: Option<Duration>,
    sent: usize,
    /// When we last bootstrapped because of one.
    renewed: Option<Duration>,
}

/// Whether a bootstrap is a notice.
pub(crate) fn is_notice(key: &PublicKey, watermark: &Watermark, body: &SignedBody) -> bool {
    watermark.key == *key && watermark.sequence != 0 && watermark.sequence == body.sequence
}

impl ControlPlane {
    /// This peering is gone, and with it the way on for what went over it: tells where that came from.
    pub(crate) fn report_breaks(&mut self, port: PortId) {
        if !self.config.correct_paths {
            return;
        }
        while let Some(route) = self.rib.routes().first_going_to(port) {
            self.rib.forget_destination(&route.key);
            // Else it goes with the peering.
            if route.source != port {
                self.send_notice(route.source, &route);
            }
        }
    }

    /// A notice came.
    pub(crate) fn handle_notice(&mut self, port: PortId, key: PublicKey, sequence: u64) {
        if key == self.own {
            self.renew_path(sequence);
            return;
        }
        let Some(route) = self.rib.routes().get(&key) else {
            return;
        };
        let matches = route.destination == Some(port) && route.sequence == sequence;
        // Back to where it came from would be no news.
        if matches && !route.told && route.source != port {
            self.rib.set_told(&key);
            self.send_notice(route.source, &route);
        }
    }

    /// The path that our bootstrap with this sequence set up is broken.
    fn renew_path(&mut self, sequence: u64) {
        let now = self.now.monotonic;
        let breaks = &mut self.snake.breaks;
        let rested = breaks
            .renewed
            .is_none_or(|last| now >= last + BOOTSTRAP_INTERVAL);
        if rested && sequence == self.snake.last_sequence {
            breaks.renewed = Some(now);
            self.counters.paths_renewed += 1;
            self.snake.bootstrap_soon();
        }
    }

    /// Whether both sides of a peering offered to correct paths: other peers are sent no frame that a
    /// deployed node would not send.
    pub(crate) fn corrects_paths_with(&self, port: PortId) -> bool {
        let offered = |peer: &Peer| peer.extensions.contains(Extensions::BREAK_NOTICES);
        self.config.correct_paths && self.peers.get(port).is_some_and(offered)
    }

    fn send_notice(&mut self, to: PortId, route: &Route) {
        if !self.corrects_paths_with(to) {
            return;
        }
        if !self.may_send_notice() {
            self.counters.break_notices_held_back += 1;
            return;
        }
        self.counters.break_notices_sent += 1;
        let position = self.tree.position();
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
        self.push_bootstrap(to, (0, 0), &route.key, &watermark, &body);
    }

    fn may_send_notice(&mut self) -> bool {
        let now = self.now.monotonic;
        let breaks = &mut self.snake.breaks;
        if breaks.window.is_none_or(|start| now >= start + WINDOW) {
            breaks.window = Some(now);
            breaks.sent = 0;
        }
        breaks.sent += 1;
        breaks.sent <= self.config.max_break_notices
    }
}
