//! The snake: bootstraps and the routes they set up (protocol section 5).
//!
//! # Which bootstraps are taken
//!
//! Beyond what the protocol asks (the root exactly ours, signed, newer than the live route), a
//! bootstrap is refused if its sequence is
//! - further ahead of our clock, and of the [network's time](crate::network_time), than
//!   [`Config::max_sequence_lead`](crate::Config), or
//! - not above the last sequence taken from that key, whatever root that was under, while the
//!   route lives and for [`Config::sequence_memory`](crate::Config) after.
//!
//! So a node whose clock is behind is never compared with ours, only with itself; a node that
//! restarts carries on, as sequences are Unix time; and a node whose clock was set back gets through
//! once its old route and its memory have run out (70 s), as a refused bootstrap prolongs neither.
//!
//! # When we bootstrap, and which routes we keep
//!
//! In seven things we do better than the protocol asks, none of which shows on the wire but by
//! frames that come sooner or get further:
//! - After a change we bootstrap not once but thrice, within three seconds. A bootstrap finds its
//!   way by the routes that others have set up, and after a change those are still to come; the
//!   next regular one is five seconds away, and the snake would put itself in order a link every
//!   five seconds.
//! - A lost peering takes with it the routes that came by it, but not those that went on to it:
//!   what is behind them is still there. They live on for as long as they would have.
//! - Where there is a second peering with the same node, the routes of the first move over.
//! - When a route to a new key comes, the bootstrap of the key right below it, if that came just
//!   now, is handed over to it: that is where the next one will go, and five seconds are long where
//!   every key waits for the one above it. A node that has it already drops it.
//! - A bootstrap that would go back where it came from has met what is left of a path that is broken.
//!   It goes on to the next key above that lies another way. It cannot go round in circles, as no
//!   node takes it twice.
//! - A bootstrap that goes on to a peer that has brought none goes another way, too: see below.
//! - A route that has expired is kept aside for [a moment](crate::expired), for traffic
//!   that follows it already and would be dropped otherwise.
//!
//! # Peers that may swallow bootstraps
//!
//! What is swallowed nobody can miss: a node whose bootstraps go by one that passes none on cannot be
//! reached by key, and never hears of it. But who passes bootstraps on brings some sooner or later. So
//! one that goes on to a peer that has been there for [`ROUTE_LIFETIME`] and never brought any but its own
//! is doubled: it also goes towards the next key above, by a way that, as announced, does not pass that
//! peer ([`Rib::bootstrap_around`](crate::rib::Rib::bootstrap_around)). A peer that is
//! itself the key to get to need only have brought its own, as a leaf has none to pass on. Each node
//! takes a bootstrap once, so that both ways leave a tree, and where they meet the later one ends.
//!
//! # Corrections
//!
//! With [`Config::correct_paths`](crate::Config), a bootstrap that comes another way than the last
//! one of its key goes to where that came from, too, and one that goes on another way to where that
//! went on to: there lies the old path, which may be broken anywhere, and whose routes would draw
//! frames to the break for up to ten seconds. What is sent there is a correction. Its watermark is its
//! own key, closer than which there is nothing, so that by the protocol whoever gets it takes it and
//! passes it on no further. We pass it on along the old path alone. Each node takes a bootstrap once
//! and points to where it came from, so that what it leaves is a tree whatever ways it goes; and where
//! paths stay the same, nothing is sent. Where a peering ends, [notices](crate::breaks) are sent, too.
//! Corrections go only to peers that offer to correct paths, too.
//!
//! A correction may overtake the bootstrap itself, which then comes with a sequence that is known
//! already. It still goes on up the snake, once, as the nodes above have not heard of it. The route stays
//! as it is, so that the tree remains one.

use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::timing::{BOOTSTRAP_INTERVAL, ROUTE_LIFETIME};
use pinecone_wire::{PublicKey, SignedBody, Watermark, frame};
use tracing::{debug, warn};

use crate::breaks::Breaks;
use crate::peers::Brought;
use crate::recent::RecentBootstraps;
use crate::replay_cache::ReplayCache;
use crate::rib::{BootstrapHop, Room, Route};
use crate::{ControlPlane, Event};

/// Whether a bootstrap has come before, but as a correction only.
fn was_corrected(known: Option<Route>, body: &SignedBody) -> bool {
    known.is_some_and(|route| route.corrected && route.sequence == body.sequence)
}

/// Delays between the bootstraps that follow the first one after a change.
const EAGER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// Clocks that differ are logged no more often than this.
const COMPLAINT_GAP: Duration = Duration::from_secs(60);

/// What the node knows of the snake.
#[derive(Default)]
pub(crate) struct Snake {
    replay_cache: ReplayCache,
    descending: Option<Descending>,
    /// The maintenance at which we last bootstrapped; none: do so at the next one.
    last_bootstrap: Option<Duration>,
    /// Where the last bootstrap went, and the key it was meant to get to.
    ascending: Option<(PortId, PublicKey)>,
    /// How many bootstraps are still sent sooner than usual: see the text above.
    eager: usize,
    /// Bootstraps that may be handed over.
    recent: RecentBootstraps,
    pub(crate) breaks: Breaks,
    pub(crate) last_sequence: u64,
    highest_sequence: u64,
    /// When bootstraps from the future were last complained of.
    last_complaint: Option<Duration>,
}

/// The node below us.
struct Descending {
    key: PublicKey,
    source: PortId,
    root: (PublicKey, u64),
    last_seen: Duration,
}

impl Snake {
    pub(crate) fn descending(&self) -> Option<PublicKey> {
        self.descending.as_ref().map(|descending| descending.key)
    }

    /// Something changed: bootstrap at the next maintenance.
    pub(crate) fn bootstrap_soon(&mut self) {
        self.last_bootstrap = None;
        self.eager = EAGER.len();
    }

    /// How long after the last bootstrap the next is due.
    fn bootstrap_gap(&self) -> Duration {
        let passed = EAGER.len() - self.eager.min(EAGER.len());
        EAGER.get(passed).copied().unwrap_or(BOOTSTRAP_INTERVAL)
    }

    pub(crate) fn sequences_forgotten(&self) -> u64 {
        self.replay_cache.evicted()
    }
}

impl ControlPlane {
    /// A bootstrap that was admitted and is well signed.
    pub(crate) fn handle_bootstrap(
        &mut self,
        port: PortId,
        header: (u8, u8),
        key: PublicKey,
        watermark: Watermark,
        body: &SignedBody,
        room: Room,
    ) {
        let mut hop = self.rib.bootstrap_hop(&key, &watermark);
        // Nothing is closer than the key itself: by the protocol this one goes no further.
        let correction = watermark.key == key;
        let detoured = !correction && hop.is_some_and(|hop| hop.port == port);
        if detoured {
            hop = self.rib.bootstrap_detour(&key, port);
        }
        let hop = hop.filter(|_| !correction);
        let next = hop.map(|hop| hop.port);
        let forward =
            |plane: &mut Self| plane.pass_on(port, header, &key, &watermark, body, (hop, detoured));
        if was_corrected(self.rib.routes().get(&key), body) {
            // The route leads along the way by which the bootstrap came first. What is above still
            // waits for it.
            self.rib.pass_on(&key, next);
            forward(self);
            return;
        }
        if let Room::Evict(from) = room {
            self.evict_route(from);
        }
        let now = self.now.monotonic;
        let recent = self.snake.recent.push(now, body);
        let before = self.install_route(Route {
            key,
            source: port,
            destination: next,
            sequence: body.sequence,
            last_seen: now,
            told: false,
            corrected: correction,
            recent,
        });
        if let Some(before) = &before {
            self.snake.recent.supersede(before);
        }
        self.consider_descending(port, key);
        if before.is_none_or(|before| before.source != port)
            && let Some(peer) = self.peers.get_mut(port)
        {
            peer.brought = peer.brought.max(match peer.key == key {
                true => Brought::Own,
                false => Brought::Others,
            });
        }
        if before.is_none() {
            self.hand_over(&key);
        }
        let doubled = forward(self);
        if let Some(before) = before {
            self.correct(&before, port, [next, doubled], header, body);
        }
    }

    /// Sends a bootstrap that came from `source` on, if it goes on. `hop` is where, with which
    /// watermark, and whether that is a detour. Returns the other port that it went to, if it was
    /// doubled.
    fn pass_on(
        &mut self,
        source: PortId,
        header: (u8, u8),
        key: &PublicKey,
        before: &Watermark,
        body: &SignedBody,
        (hop, detoured): (Option<BootstrapHop>, bool),
    ) -> Option<PortId> {
        match hop {
            None => self.counters.bootstraps_ended += 1,
            Some(hop) if hop.port == source => self.counters.bootstraps_backwards += 1,
            Some(hop) if !detoured && hop.watermark.is_worse_than(before) => {
                self.counters.bootstraps_watermark += 1;
            }
            Some(hop) => {
                self.counters.bootstraps_forwarded += 1;
                self.counters.bootstraps_detoured += u64::from(detoured);
                self.push_bootstrap(hop.port, header, key, &hop.watermark, body);
                return self.double(source, hop.port, header, key, &hop.watermark.key, body);
            }
        }
        None
    }

    /// Once a second: clears a descending node that is no longer valid, and bootstraps if it is
    /// time. `due` is when this should have run.
    pub(crate) fn maintain_snake(&mut self, due: Duration) {
        if self.snake.descending.is_some() && !self.has_valid_descending() {
            self.set_descending(None);
        }
        self.snake.replay_cache.expire(self.now.monotonic);
        if self.tree.parent().is_none() {
            return;
        }
        let own = self.own;
        let Some(hop) = self.rib.bootstrap_hop(&own, &Watermark::START) else {
            return;
        };
        let ascending = Some((hop.port, hop.watermark.key));
        if self.snake.ascending != ascending {
            // A better way up is a change like others: waiting for it costs a round at every node.
            self.snake.bootstrap_soon();
        }
        let last = self.snake.last_bootstrap;
        let gap = self.snake.bootstrap_gap();
        if last.is_none_or(|last| due.saturating_sub(last) >= gap) {
            if last.is_some() {
                self.snake.eager = self.snake.eager.saturating_sub(1);
            }
            self.snake.last_bootstrap = Some(due);
            self.snake.ascending = ascending;
            self.bootstrap(hop.port, &hop.watermark);
        }
    }

    /// Removes the routes that have lived their time.
    pub(crate) fn expire_routes(&mut self) {
        let now = self.now.monotonic;
        while let Some(route) = self.rib.expire_route(now) {
            self.forget_route(&route);
        }
        self.rib.forget_expired(now);
    }

    /// A peering with the node `peer` is gone, and every route that came by it, unless there is
    /// another peering with that node.
    pub(crate) fn forget_routes(&mut self, port: PortId, peer: PublicKey) {
        let other = self.rib.peering_with(&peer);
        if other.is_none() {
            self.report_breaks(port);
        }
        self.rib.move_destination(port, other);
        if let Some(other) = other {
            self.rib.move_source(port, other);
            // What is too much for one peering is too much for this one.
            while self.rib.routes().learned_from(other) > self.config.max_routes_per_peer {
                self.evict_route(other);
            }
            if let Some(descending) = &mut self.snake.descending
                && descending.source == port
            {
                descending.source = other;
            }
        }
        while let Some(route) = self.rib.routes().oldest_from(port) {
            self.remove_route(&route.key);
        }
        self.rib.forget_expired_of(port);
        if self
            .snake
            .descending
            .as_ref()
            .is_some_and(|d| d.source == port)
        {
            self.set_descending(None);
        }
    }

    /// Unix milliseconds, and more than the last time.
    fn next_sequence(&mut self) -> u64 {
        let sequence = self.sequence_after(self.snake.last_sequence);
        self.snake.last_sequence = sequence;
        self.snake.highest_sequence = self.snake.highest_sequence.max(sequence);
        self.own_key.sent(sequence);
        sequence
    }

    fn bootstrap(&mut self, next: PortId, watermark: &Watermark) {
        let sequence = self.next_sequence();
        let position = self.tree.position();
        let body = self
            .signer
            .sign_body(sequence, position.root, position.root_sequence);
        self.counters.signatures_made += 1;
        self.counters.bootstraps_sent += 1;
        let own = self.own;
        self.push_bootstrap(next, (0, 0), &own, watermark, &body);
        self.double(PortId::LOCAL, next, (0, 0), &own, &watermark.key, &body);
    }

    /// Sends a bootstrap that came from `source` and goes on to `next`, towards `above`, another way,
    /// too, if `next` is mute. Returns the port that leads there.
    fn double(
        &mut self,
        source: PortId,
        next: PortId,
        header: (u8, u8),
        key: &PublicKey,
        above: &PublicKey,
        body: &SignedBody,
    ) -> Option<PortId> {
        if !self.is_mute(next, above) {
            return None;
        }
        let around = self.rib.bootstrap_around(key, &[source, next])?;
        self.counters.bootstraps_doubled += 1;
        self.push_bootstrap(around.port, header, key, &around.watermark, body);
        Some(around.port)
    }

    /// Whether a bootstrap towards `above` that goes to this peer may get no further.
    fn is_mute(&self, port: PortId, above: &PublicKey) -> bool {
        self.peers.get(port).is_some_and(|peer| {
            let enough = match peer.key == *above {
                true => Brought::Own,
                false => Brought::Others,
            };
            peer.brought < enough && peer.connected + ROUTE_LIFETIME <= self.now.monotonic
        })
    }

    pub(crate) fn push_bootstrap(
        &mut self,
        port: PortId,
        header: (u8, u8),
        key: &PublicKey,
        watermark: &Watermark,
        body: &SignedBody,
    ) {
        let mut frame = Vec::new();
        let pushed = frame::push_bootstrap(&mut frame, header, key, watermark, &body.encode());
        self.send_built(port, frame, pushed);
    }

    /// Whether a bootstrap would be taken if its signature verifies, and what must give way.
    pub(crate) fn admit_bootstrap(
        &mut self,
        port: PortId,
        key: &PublicKey,
        watermark: &Watermark,
        body: &SignedBody,
    ) -> Option<Room> {
        if *key == self.own {
            self.counters.bootstraps_own += 1;
            if self.is_own_body_elsewhere(body, self.snake.highest_sequence) {
                self.counters.bootstraps_own_elsewhere += 1;
            }
            return None;
        }
        let position = self.tree.position();
        if (body.root, body.root_sequence) != (position.root, position.root_sequence) {
            self.counters.bootstraps_other_root += 1;
            return None;
        }
        if let Some(lead) = self.excessive_lead(body.sequence) {
            self.counters.bootstraps_future += 1;
            let now = self.now.monotonic;
            let last = self.snake.last_complaint;
            if last.is_none_or(|last| now >= last + COMPLAINT_GAP) {
                self.snake.last_complaint = Some(now);
                warn!(%port, %key, lead_ms = lead, "bootstrap dropped: its clock is ahead, or ours behind");
            }
            return None;
        }
        let (snake, routes) = (&self.snake, self.rib.routes());
        let known = routes.get(key);
        if watermark.key != *key && was_corrected(known, body) {
            return Some(Room::Free);
        }
        let last = match known {
            Some(route) => Some(route.sequence),
            None => snake.replay_cache.get(self.now.monotonic, key),
        };
        // A sequence taken only by the network's time may have been that of a clock that has since been
        // set right.
        let (config, now) = (&self.config, self.now.unix_ms);
        let last = last.filter(|last| {
            config.excessive_lead(*last, now).is_none()
                || config.excessive_lead(body.sequence, now).is_some()
        });
        if last.is_some_and(|last| body.sequence <= last) {
            self.counters.bootstraps_stale += 1;
            return None;
        }
        let room = match known {
            Some(route) if route.source == port => Room::Free,
            // A route that changes its source leaves the total as it is.
            Some(_) => routes.room(port, usize::MAX, config.max_routes_per_peer),
            None => routes.room(port, config.max_routes, config.max_routes_per_peer),
        };
        if room == Room::None {
            self.counters.routes_refused += 1;
            return None;
        }
        Some(room)
    }

    /// Sends the bootstrap of the key right below `above`, to which there is a route now, on to it.
    fn hand_over(&mut self, above: &PublicKey) {
        let now = self.now.monotonic;
        let Some(key) = self.rib.key_below(above) else {
            return;
        };
        let Some(route) = self.rib.routes().get(&key) else {
            return;
        };
        let Some(body) = self.snake.recent.get(now, &route) else {
            return;
        };
        let position = self.tree.position();
        let alive = (body.root, body.root_sequence) == (position.root, position.root_sequence);
        let source = route.source;
        let Some(hop) = self.rib.bootstrap_hop(&key, &Watermark::START) else {
            return;
        };
        // A key that a peer announced has no sequence, and was known before there was a route.
        let new = hop.watermark.key == *above && hop.watermark.sequence != 0;
        if alive && new && hop.port != source {
            self.counters.bootstraps_handed_over += 1;
            self.push_bootstrap(hop.port, (0, 0), &key, &hop.watermark, &body);
        }
    }

    /// Sends a bootstrap that came from `source` and was sent to `sent` to where the last one of its key,
    /// whose route was `before`, came from and went on to.
    fn correct(
        &mut self,
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
            if port != source && !sent.contains(&Some(port)) && self.corrects_paths_with(port) {
                self.counters.bootstraps_corrected += 1;
                self.push_bootstrap(port, header, &before.key, &watermark, body);
            }
        }
    }

    /// The route that its key had before.
    fn install_route(&mut self, route: Route) -> Option<Route> {
        let before = self.rib.insert_route(route);
        if before.is_none() {
            self.snake.replay_cache.remove(&route.key);
            self.event(Event::RouteAdded(route.key));
        }
        before
    }

    fn remove_route(&mut self, key: &PublicKey) {
        if let Some(route) = self.rib.remove_route(key) {
            self.forget_route(&route);
        }
    }

    /// Keeps the sequence of a route that was removed, and tells subscribers.
    fn forget_route(&mut self, route: &Route) {
        self.snake.recent.supersede(route);
        let until = self.now.monotonic + self.config.sequence_memory;
        let max = self.config.max_remembered_sequences;
        self.snake
            .replay_cache
            .insert(&route.key, route.sequence, until, max);
        self.event(Event::RouteRemoved(route.key));
    }

    fn evict_route(&mut self, from: PortId) {
        if let Some(route) = self.rib.routes().oldest_from(from) {
            self.counters.routes_evicted += 1;
            self.remove_route(&route.key);
        }
    }

    fn has_valid_descending(&self) -> bool {
        let position = self.tree.position();
        self.snake.descending.as_ref().is_some_and(|descending| {
            self.now.monotonic < descending.last_seen + ROUTE_LIFETIME
                && descending.root == (position.root, position.root_sequence)
        })
    }

    /// Whether the node that just bootstrapped is the one below us.
    fn consider_descending(&mut self, source: PortId, key: PublicKey) {
        let nearer = match self.snake.descending() {
            Some(known) if self.has_valid_descending() => key >= known,
            _ => true,
        };
        if key >= self.own || !nearer {
            return;
        }
        let position = self.tree.position();
        self.set_descending(Some(Descending {
            key,
            source,
            root: (position.root, position.root_sequence),
            last_seen: self.now.monotonic,
        }));
    }

    fn set_descending(&mut self, descending: Option<Descending>) {
        let before = self.snake.descending();
        self.snake.descending = descending;
        let after = self.snake.descending();
        if before != after {
            match after {
                Some(key) => debug!(%key, "descending node changed"),
                None => debug!("no descending node"),
            }
            self.snake.bootstrap_soon();
            self.event(Event::DescendingChanged(after));
        }
    }
}
