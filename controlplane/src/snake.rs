//! The snake: bootstraps, and the routes that they set up (protocol section 5).
//!
//! # Which bootstraps are accepted
//!
//! The protocol asks that the root is exactly the one that this node follows, the signature good, and the sequence
//! newer than the live route's. Beyond that, a bootstrap is refused if its sequence is
//! - further ahead of this node's clock, and of the [network's time](crate::network_time), than
//!   [`Config::max_sequence_lead`](crate::Config), or
//! - not above the last accepted sequence of that key, under whatever root, while the route lives and for
//!   [`Config::sequence_memory`](crate::Config) after that.
//!
//! So the sequences of a node whose clock is behind are compared only with each other. A node that restarts carries on,
//! as sequences are Unix time. A node whose clock was set back gets through once its old route and the memory of it have
//! expired (70 s), as a refused bootstrap prolongs neither.
//!
//! # When the node bootstraps, and which routes it keeps
//!
//! The node does better than the protocol asks in seven ways. On the wire they show only as frames that are sent sooner
//! or get further:
//! - After a change it bootstraps three times within three seconds, not once. A bootstrap finds its way by routes that
//!   others have set up, and after a change those do not exist yet. The next regular bootstrap is five seconds away, so
//!   the snake would otherwise repair one link every five seconds.
//! - When a peering is lost, the routes that came from it are removed, but not those whose bootstraps were forwarded
//!   over it. The nodes that they lead to are still there, and the routes live as long as they would have.
//! - If there is a second peering with the same node, the routes of the first move to it.
//! - When a route to a new key is added, the latest bootstrap of the key right below it is handed over to the new key,
//!   as its next bootstrap will be sent there anyway. Five seconds are long, as every key waits for the one above it. A
//!   node that has that bootstrap already drops it.
//! - A bootstrap whose next hop is the port that it came from has met the rest of a broken path. It is forwarded to the
//!   next key above that another port leads to. It cannot loop, as no node accepts it twice.
//! - A bootstrap that is forwarded to a peer that has brought none is also sent another way: see below.
//! - Traffic that would otherwise be dropped may follow a route for [a moment](crate::rib) after it has expired.
//!
//! # Peers that may swallow bootstraps
//!
//! No node notices that a bootstrap is swallowed: a node whose bootstraps pass a peer that forwards none cannot be
//! reached by key and never hears of it. But a peer that forwards bootstraps sooner or later brings some. So a
//! bootstrap that is forwarded to a peer that has been there for
//! [`ROUTE_LIFETIME`](pinecone_wire::timing::ROUTE_LIFETIME) and has brought only its own is doubled. The copy is also
//! sent towards the next key above, by a way that, as announced, does not pass that peer
//! ([`Rib::bootstrap_around`](crate::rib::Rib::bootstrap_around)). If the peer itself has the next key, its own
//! bootstraps are enough, as a leaf has no others to forward. Each node accepts a bootstrap once, so both ways together
//! leave a tree, and where they meet the later one ends.
//!
//! # Corrections
//!
//! With [`Config::correct_paths`](crate::Config), a bootstrap that arrives from another port than the last one of its
//! key is also sent to the port that the last one came from. One that is forwarded to another port than the last one is
//! also sent to the port that the last one was forwarded to. The old path lies there. It may be broken anywhere, and
//! its routes would draw frames to the break for up to ten seconds. The copy sent there is a correction. Its watermark
//! is its own key, and no key is closer to a key than itself, so by the protocol a receiver accepts it and does not
//! forward it. This node forwards it along the old path only. Each node accepts a bootstrap once and points to the port
//! that it came from, so the bootstrap leaves a tree, whatever ways it takes. As long as paths do not change, nothing
//! is sent. When a peering ends, [notices] are sent, too. Corrections go only to peers that offer to correct paths.
//!
//! A correction may overtake the bootstrap itself, which then arrives with a known sequence. It is still forwarded up
//! the snake, once, as the nodes above have not seen it. The route stays as it is, so that the tree remains one.

mod admission;
mod descending;
mod frames;
mod notices;
mod schedule;

use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::{PublicKey, Watermark};
use tracing::debug;

pub(crate) use self::admission::Acceptance;
use self::admission::Admission;
use self::descending::Descending;
use self::frames::{correct, double, forward, push_bootstrap};
use self::notices::Notices;
pub(crate) use self::notices::is_notice;
use self::schedule::Schedule;
use crate::Event;
use crate::context::Context;
use crate::position::Position;
use crate::recent::RecentBootstraps;
use crate::rib::{BootstrapHop, Route};
use crate::sequences::OwnSequences;
use crate::verify::Bootstrap;

/// The node's place on the snake, and its own bootstraps.
#[derive(Default)]
pub(crate) struct Snake {
    admission: Admission,
    descending: Option<Descending>,
    schedule: Schedule,
    /// Bootstraps that may be handed over.
    recent: RecentBootstraps,
    notices: Notices,
    sequences: OwnSequences,
}

impl Snake {
    /// Returns the key of the descending node.
    pub(crate) fn descending(&self) -> Option<PublicKey> {
        self.descending.map(|descending| descending.key)
    }

    /// Returns the number of sequences of removed routes that were evicted before they expired.
    pub(crate) fn sequences_evicted(&self) -> u64 {
        self.admission.evicted()
    }

    /// Schedules a bootstrap for the next maintenance, because something changed.
    pub(crate) fn bootstrap_soon(&mut self) {
        self.schedule.soon();
    }

    /// Returns the effect of a bootstrap if its signature is good, or `None` if it is refused.
    pub(crate) fn admit(
        &mut self,
        cx: &mut Context,
        position: &Position,
        port: PortId,
        bootstrap: &Bootstrap,
    ) -> Option<Acceptance> {
        let highest = self.sequences.highest();
        self.admission.admit(cx, position, port, bootstrap, highest)
    }

    /// Handles a bootstrap that was [admitted](Self::admit) since the state last changed, and whose signature is good.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Context,
        position: &Position,
        port: PortId,
        bootstrap: &Bootstrap,
        acceptance: Acceptance,
    ) {
        let Bootstrap {
            header,
            key,
            watermark,
            body,
        } = bootstrap;
        let mut hop = cx.rib.bootstrap_hop(key, watermark);
        // No key is closer to the key than itself, so by the protocol this bootstrap is not forwarded.
        let correction = watermark.key == *key;
        let detoured = !correction && hop.is_some_and(|hop| hop.port == port);
        if detoured {
            hop = cx.rib.bootstrap_detour(key, port);
        }
        let hop = hop.filter(|_| !correction);
        let next = hop.map(|hop| hop.port);
        match acceptance {
            Acceptance::Forward => {
                // The route stays at the port that the bootstrap came from first. The nodes above still wait for the
                // bootstrap.
                cx.rib.pass_on(key, next);
                forward(cx, port, bootstrap, hop, detoured);
                return;
            }
            Acceptance::Route { evict: Some(from) } => self.evict_route(cx, from),
            Acceptance::Route { evict: None } => {}
        }
        let now = cx.now.monotonic;
        let route = Route {
            key: *key,
            source: port,
            destination: next,
            sequence: body.sequence,
            last_seen: now,
            told: false,
            corrected: correction,
            recent: self.recent.push(now, body),
        };
        let before = self.insert_route(cx, route);
        self.consider_descending(cx, position, &route);
        if before.is_none_or(|before| before.source != port) {
            cx.peers.record_brought(port, key);
        }
        if before.is_none() {
            self.hand_over(cx, position, key);
        }
        let doubled = forward(cx, port, bootstrap, hop, detoured);
        if let Some(before) = before {
            correct(cx, &before, port, [next, doubled], *header, body);
        }
    }

    /// Handles a notice that the path of `key` is broken, which its bootstrap with this sequence set up.
    pub(crate) fn receive_notice(
        &mut self,
        cx: &mut Context,
        position: &Position,
        port: PortId,
        key: &PublicKey,
        sequence: u64,
    ) {
        if *key != cx.own {
            self.notices.forward(cx, position, port, key, sequence);
        } else if sequence == self.sequences.last() && self.notices.take_renewal(cx.now.monotonic) {
            cx.counters.paths_renewed += 1;
            self.bootstrap_soon();
        }
    }

    /// Does what is due once a second: clears a descending node that is no longer valid, and bootstraps if it is time
    /// and the node has a parent. `due` is when this was due.
    pub(crate) fn maintain(
        &mut self,
        cx: &mut Context,
        position: &Position,
        has_parent: bool,
        due: Duration,
    ) {
        let now = cx.now.monotonic;
        if (self.descending).is_some_and(|descending| !descending.is_valid(now, position)) {
            self.set_descending(cx, None);
        }
        self.admission.expire(now);
        if !has_parent {
            return;
        }
        let Some(hop) = cx.rib.bootstrap_hop(&cx.own, &Watermark::START) else {
            return;
        };
        if self.schedule.take(due, &hop) {
            self.bootstrap(cx, position, &hop);
        }
    }

    /// Removes expired routes.
    pub(crate) fn expire_routes(&mut self, cx: &mut Context) {
        let now = cx.now.monotonic;
        while let Some(route) = cx.rib.expire_route(now) {
            self.route_removed(cx, &route);
        }
        cx.rib.forget_expired(now);
    }

    /// Handles the end of the peering `port` with the node that has the key `peer`. Its routes are removed, unless there
    /// is another peering with that node.
    pub(crate) fn peer_removed(
        &mut self,
        cx: &mut Context,
        position: &Position,
        port: PortId,
        peer: &PublicKey,
    ) {
        let other = cx.rib.peering_with(peer);
        if other.is_none() {
            self.notices.report_loss(cx, position, port);
        }
        cx.rib.move_destination(port, other);
        if let Some(other) = other {
            cx.rib.move_source(port, other);
            // The routes of both may exceed the limit for one.
            while cx.rib.routes().learned_from(other) > cx.config.max_routes_per_peer {
                self.evict_route(cx, other);
            }
            if let Some(descending) = &mut self.descending
                && descending.source == port
            {
                descending.source = other;
            }
        }
        while let Some(route) = cx.rib.routes().oldest_from(port) {
            self.remove_route(cx, &route.key);
        }
        cx.rib.forget_expired_of(port);
        if (self.descending).is_some_and(|descending| descending.source == port) {
            self.set_descending(cx, None);
        }
    }

    /// Sends a bootstrap of this node.
    fn bootstrap(&mut self, cx: &mut Context, position: &Position, hop: &BootstrapHop) {
        let sequence = self.sequences.next(cx);
        let body = cx.sign_body(sequence, position);
        cx.counters.bootstraps_sent += 1;
        let own = cx.own;
        push_bootstrap(cx, hop.port, (0, 0), &own, &hop.watermark, &body);
        double(cx, PortId::LOCAL, hop, (0, 0), &own, &body);
    }

    /// Hands the bootstrap of the key right below `above`, to which a route was added, over to `above`.
    fn hand_over(&mut self, cx: &mut Context, position: &Position, above: &PublicKey) {
        let Some(key) = cx.rib.key_below(above) else {
            return;
        };
        let Some(route) = cx.rib.routes().get(&key) else {
            return;
        };
        let Some(body) = self.recent.get(cx.now.monotonic, &route) else {
            return;
        };
        let Some(hop) = cx.rib.bootstrap_hop(&key, &Watermark::START) else {
            return;
        };
        // A key that a peer announced has no sequence, and was known before there was a route to it.
        let new = hop.watermark.key == *above && hop.watermark.sequence != 0;
        if position.has_root_of(&body) && new && hop.port != route.source {
            cx.counters.bootstraps_handed_over += 1;
            push_bootstrap(cx, hop.port, (0, 0), &key, &hop.watermark, &body);
        }
    }

    /// Inserts or replaces a route. Returns the previous route of its key.
    fn insert_route(&mut self, cx: &mut Context, route: Route) -> Option<Route> {
        let before = cx.rib.insert_route(route);
        match &before {
            Some(before) => self.recent.supersede(before),
            None => {
                self.admission.route_added(&route.key);
                cx.effects.event(Event::RouteAdded(route.key));
            }
        }
        before
    }

    fn evict_route(&mut self, cx: &mut Context, from: PortId) {
        if let Some(route) = cx.rib.routes().oldest_from(from) {
            cx.counters.routes_evicted += 1;
            self.remove_route(cx, &route.key);
        }
    }

    fn remove_route(&mut self, cx: &mut Context, key: &PublicKey) {
        if let Some(route) = cx.rib.remove_route(key) {
            self.route_removed(cx, &route);
        }
    }

    fn route_removed(&mut self, cx: &mut Context, route: &Route) {
        self.recent.supersede(route);
        self.admission.route_removed(cx, route);
        cx.effects.event(Event::RouteRemoved(route.key));
    }

    /// Makes the node that has just bootstrapped the descending node, if it is the nearest one below this node.
    fn consider_descending(&mut self, cx: &mut Context, position: &Position, route: &Route) {
        let now = cx.now.monotonic;
        let is_nearest = match &self.descending {
            Some(known) if known.is_valid(now, position) => route.key >= known.key,
            _ => true,
        };
        if route.key < cx.own && is_nearest {
            let descending = Descending {
                key: route.key,
                source: route.source,
                root: position.root(),
                last_seen: now,
            };
            self.set_descending(cx, Some(descending));
        }
    }

    fn set_descending(&mut self, cx: &mut Context, descending: Option<Descending>) {
        let before = self.descending();
        self.descending = descending;
        let after = self.descending();
        if before != after {
            match after {
                Some(key) => debug!(%key, "descending node changed"),
                None => debug!("no descending node"),
            }
            self.bootstrap_soon();
            cx.effects.event(Event::DescendingChanged(after));
        }
    }
}
