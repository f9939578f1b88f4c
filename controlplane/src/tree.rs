//! The spanning tree: the choice of a parent, and the node's own announcements (protocol section 4).

mod action;
mod candidates;
mod damping;
mod flaps;
mod outgoing;
mod standby;
#[cfg(test)]
mod tests;

use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::timing::{REPARENT_DELAY, ROOT_ANNOUNCEMENT_INTERVAL};
use pinecone_wire::{Announcement, AnnouncementError, Coordinates, PublicKey};
use tracing::{debug, info};

use self::action::{Action, Update};
use self::candidates::Candidates;
use self::damping::Damping;
use self::outgoing::Outgoing;
use self::standby::Standby;
use crate::context::Context;
use crate::position::Position;
use crate::rib::{Adjacency, Announced};
use crate::{CloseReason, Event};

/// Maximum number of signatures of an announcement that is followed. A frame holds about 675, so this leaves ample room
/// for those of the nodes behind this one.
const MAX_FOLLOWED: usize = 500;

/// The node's position in the tree, and its candidates for a parent.
pub(crate) struct Tree {
    own_sequence: u64,
    parent: Option<PortId>,
    /// The parent's key as last reported to subscribers.
    reported_parent: Option<PublicKey>,
    position: Position,
    /// The time at which to select a parent again, after the last one was dropped for bad news.
    waiting: Option<Duration>,
    /// The time at which the node announces itself with a new sequence, if it is the root.
    root_due: Duration,
    /// The arrival number of the next announcement.
    arrivals: u64,
    candidates: Candidates,
    standby: Standby,
    damping: Damping,
    /// Set if the parent has moved to a higher root of which the peers have not been told yet.
    untold: bool,
    outgoing: Outgoing,
}

/// The consequences of an announcement for other parts of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Received {
    /// Set if a new parent was selected: bootstrap soon.
    pub(crate) new_parent: bool,
    /// Set if this is the first announcement from its key: answer with a broadcast.
    pub(crate) first_of_key: bool,
    /// The peerings with the same key that are on standby from now on. The RIB has forgotten their announcements.
    pub(crate) outranked: Vec<PortId>,
}

impl Tree {
    /// Creates the tree of a node without peers, which is its own root.
    pub(crate) fn new(own: PublicKey) -> Self {
        Self {
            own_sequence: 1,
            parent: None,
            reported_parent: None,
            position: Position {
                root: own,
                root_sequence: 1,
                coordinates: Coordinates::default(),
            },
            waiting: None,
            root_due: Duration::MAX,
            arrivals: 0,
            candidates: Candidates::default(),
            standby: Standby::default(),
            damping: Damping::new(own),
            untold: false,
            outgoing: Outgoing::default(),
        }
    }

    /// Starts the timer for the node's own announcements.
    pub(crate) fn start(&mut self, now: Duration) {
        self.root_due = now + ROOT_ANNOUNCEMENT_INTERVAL;
    }

    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    pub(crate) fn parent(&self) -> Option<PortId> {
        self.parent
    }

    /// Returns the node's own sequence as a root.
    pub(crate) fn own_sequence(&self) -> u64 {
        self.own_sequence
    }

    /// Reports whether the node waits before it selects another parent.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Decides whether an announcement will be accepted if its signatures are good.
    ///
    /// # Errors
    /// The reason to close the peering.
    pub(crate) fn admit(
        &self,
        cx: &mut Context,
        port: PortId,
        key: &PublicKey,
        announcement: &Announcement,
    ) -> Result<(), CloseReason> {
        if let Err(error) = announcement.check(key) {
            return Err(refuse(cx, error));
        }
        let (root, found) = (announcement.root(), announcement.root_sequence());
        match self.announced(cx, port).map(Announced::root) {
            Some((before, last)) if before == root && last > found => {
                cx.counters.announcements_replayed += 1;
                Err(CloseReason::Replay { found, last })
            }
            _ => Ok(()),
        }
    }

    /// Handles an announcement that was admitted and whose signatures are good.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Context,
        port: PortId,
        announcement: Announcement,
    ) -> Received {
        let mut received = Received::default();
        let Some(peer) = cx.peers.get(port) else {
            return received;
        };
        let (key, priority, first) = (peer.key, peer.priority, peer.announced.is_none());
        let from_parent = self.parent == Some(port);
        if from_parent && is_repeated(cx, port, &announcement) {
            cx.counters.announcements_repeated += 1;
            return received;
        }
        let too_long = announcement.entries().len() > MAX_FOLLOWED;
        cx.counters.announcements_too_long += u64::from(too_long);
        let (root, root_sequence) = (announcement.root(), announcement.root_sequence());
        let update = Update {
            from_parent,
            unfit: too_long || announcement.is_signed_by(&cx.own),
            root: root.cmp(&self.position.root),
            sequence: root_sequence.cmp(&self.position.root_sequence),
        };
        received.first_of_key = first && cx.rib.peering_with(&key).is_none();
        let announced = Announced {
            peer_coordinates: announcement.peer_coordinates(),
            announcement,
            received: cx.now.monotonic,
            order: self.arrivals,
            unfit: update.unfit,
        };
        self.arrivals += 1;
        let used = cx
            .rib
            .peering_with(&key)
            .and_then(|used| cx.peers.get(used));
        if used.is_some_and(|used| used.priority > priority) {
            cx.peers.record_announcement(port, announced.order);
            self.standby.insert(port, announced);
            return received;
        }
        received.outranked = outranked(cx, &key, priority);
        self.store(cx, port, announced);
        for lower in &received.outranked {
            if let Some(announced) = cx.rib.withdraw(*lower) {
                self.candidates.remove(*lower, &announced);
                self.standby.insert(*lower, announced);
            }
        }
        if (self.parent).is_some_and(|parent| received.outranked.contains(&parent)) {
            received.new_parent = self.replace_parent(cx, port, update);
        } else if !self.is_waiting() {
            received.new_parent = self.act(cx, port, update, first);
        }
        received
    }

    /// Follows the peering with the parent that has outranked the one that was followed, unless it brings bad news.
    /// Returns whether a new parent was selected.
    fn replace_parent(&mut self, cx: &mut Context, port: PortId, update: Update) -> bool {
        if update.unfit || update.root.is_ne() || update.sequence.is_lt() {
            return self.parent_lost(cx);
        }
        self.take_parent(cx, port);
        true
    }

    /// Returns the last announcement of a peering, which may be on standby.
    pub(crate) fn announced<'a>(&'a self, cx: &'a Context, port: PortId) -> Option<&'a Announced> {
        let used = cx.rib.announced(port);
        used.or_else(|| self.standby.announced(port))
    }

    /// Reports whether a peering is not used because another one with the same key has a higher priority.
    pub(crate) fn is_on_standby(&self, port: PortId) -> bool {
        self.standby.announced(port).is_some()
    }

    /// Uses the best peerings on standby with the node that has `key`, if no other peering with it is left. Call it when
    /// a peering has ended, before [`Self::peer_removed`].
    pub(crate) fn end_standby(&mut self, cx: &mut Context, ended: PortId, key: &PublicKey) {
        self.standby.remove(ended);
        if cx.rib.peering_with(key).is_some() {
            return;
        }
        for (port, announced) in self.standby.take_best(cx, key) {
            debug!(%port, %key, "peering on standby is used");
            self.insert(cx, port, announced);
        }
    }

    /// Sends this node's announcement to one peer.
    pub(crate) fn announce_to(&mut self, cx: &mut Context, port: PortId) {
        self.outgoing
            .send_to(cx, port, self.parent, self.own_sequence);
    }

    /// Handles the end of a peering that was already removed, and whose last announcement is `announced`. Returns
    /// whether a new parent was selected.
    #[must_use]
    pub(crate) fn peer_removed(
        &mut self,
        cx: &mut Context,
        port: PortId,
        announced: Option<&Announced>,
    ) -> bool {
        if let Some(announced) = announced {
            self.candidates.remove(port, announced);
        }
        if cx.peers.is_empty() {
            self.reset(cx);
            return false;
        }
        if self.parent != Some(port) {
            return false;
        }
        self.parent_lost(cx)
    }

    /// Selects another parent in place of one that has ended or must not be followed any more. Returns whether there is
    /// one.
    fn parent_lost(&mut self, cx: &mut Context) -> bool {
        let (root, least) = self.position.root();
        let best = (self.candidates).best(cx, &mut self.damping, &root);
        if best.is_some_and(|best| best.root == root && best.root_sequence < least) {
            // Peers close a peering on which a root's sequence decreases, so the node is root in between.
            self.become_root_and_wait(cx);
            return false;
        }
        self.select_parent(cx)
    }

    /// Does what is due. Returns whether a new parent was selected.
    #[must_use]
    pub(crate) fn tick(&mut self, cx: &mut Context) -> bool {
        let now = cx.now.monotonic;
        let mut new_parent = false;
        if self.waiting.is_some_and(|at| at <= now) {
            self.waiting = None;
            self.damping.cancel();
            new_parent |= self.select_parent(cx);
            self.damping
                .record_root(now, &cx.config, self.position.root);
        }
        if self.damping.take_due(now) {
            if !self.is_waiting() {
                new_parent |= self.select_parent(cx);
            }
            if self.untold {
                self.announce_to_all(cx);
            }
        }
        if self.parent.is_none() && self.root_due <= now {
            self.become_root(cx);
        }
        new_parent
    }

    /// Returns the time at which [`Self::tick`] next has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let root_due = self.parent.is_none().then_some(self.root_due);
        [self.waiting, self.damping.deferred(), root_due]
            .into_iter()
            .flatten()
            .min()
    }

    fn store(&mut self, cx: &mut Context, port: PortId, announced: Announced) {
        self.standby.remove(port);
        cx.peers.record_announcement(port, announced.order);
        self.insert(cx, port, announced);
    }

    /// Adds an announcement to the RIB and to the candidates.
    fn insert(&mut self, cx: &mut Context, port: PortId, announced: Announced) {
        let Some(peer) = cx.peers.get(port) else {
            return;
        };
        let (key, link) = (peer.key, peer.link);
        self.candidates.insert(port, &announced);
        let adjacency = Adjacency {
            key,
            link,
            announced,
        };
        if let Some(before) = cx.rib.announce(port, adjacency) {
            self.candidates.remove(port, &before);
        }
    }

    /// Reacts to an announcement. Returns whether a new parent was selected.
    fn act(&mut self, cx: &mut Context, port: PortId, update: Update, first: bool) -> bool {
        match update.action() {
            Action::Drop => {}
            Action::AcceptUpdate => {
                let told = update.root.is_eq() || self.damping.may_rise(cx);
                self.move_to(cx, Some(port));
                if told {
                    self.announce_to_all(cx);
                } else {
                    self.untold = true;
                }
            }
            Action::AcceptNewParent => {
                if !self.is_held(cx, port) && self.damping.may_rise(cx) {
                    self.take_parent(cx, port);
                    return true;
                }
            }
            Action::InformPeer if first => {}
            Action::InformPeer => self.announce_to(cx, port),
            Action::SelectParent => return self.select_parent(cx),
            Action::SelectParentWithWait => self.become_root_and_wait(cx),
        }
        false
    }

    /// Reports whether the root that a peer follows flaps too much to take that peer as the parent now.
    fn is_held(&mut self, cx: &mut Context, port: PortId) -> bool {
        let Some((root, _)) = cx.rib.announced(port).map(Announced::root) else {
            return false;
        };
        let held = self.damping.held_until(cx, &root, &self.position.root);
        if let Some(until) = held {
            cx.counters.root_flaps_damped += 1;
            self.damping.defer(until);
        }
        held.is_some()
    }

    /// Selects the best parent, or none. Returns whether it is a new one.
    fn select_parent(&mut self, cx: &mut Context) -> bool {
        let (root, root_sequence) = self.current_root(cx);
        let least = if cx.own > root {
            (cx.own, 0)
        } else {
            (root, root_sequence)
        };
        let best = self
            .candidates
            .best(cx, &mut self.damping, &self.position.root)
            .filter(|best| (best.root, best.root_sequence) >= least)
            .map(|best| best.port);
        match best {
            Some(port) if self.parent == Some(port) => false,
            Some(port) => {
                self.take_parent(cx, port);
                true
            }
            None => {
                if self.parent.is_some() {
                    self.become_root(cx);
                }
                false
            }
        }
    }

    /// Returns the root that the parent has announced, or the node itself if there is no parent or it was just lost.
    fn current_root(&self, cx: &Context) -> (PublicKey, u64) {
        self.parent
            .and_then(|port| cx.rib.announced(port))
            .map_or((cx.own, self.own_sequence), Announced::root)
    }

    fn take_parent(&mut self, cx: &mut Context, port: PortId) {
        self.move_to(cx, Some(port));
        self.announce_to_all(cx);
    }

    /// Drops the parent, and selects another after a delay.
    fn become_root_and_wait(&mut self, cx: &mut Context) {
        self.waiting = Some(cx.now.monotonic + REPARENT_DELAY);
        self.become_root(cx);
    }

    fn become_root(&mut self, cx: &mut Context) {
        self.own_sequence += 1;
        self.root_due = cx.now.monotonic + ROOT_ANNOUNCEMENT_INTERVAL;
        self.move_to(cx, None);
        self.announce_to_all(cx);
    }

    /// Starts afresh after the last peering has ended. Keeps the node's own sequence.
    fn reset(&mut self, cx: &mut Context) {
        self.waiting = None;
        self.damping.cancel();
        self.become_root(cx);
        // There are no peers that flapping roots could disturb.
        self.damping.forget_flaps();
    }

    /// Follows `parent` by its last announcement: determines the resulting position, and reports changes to the RIB
    /// and to subscribers.
    fn move_to(&mut self, cx: &mut Context, parent: Option<PortId>) {
        let announced = parent.and_then(|port| {
            let peer = cx.peers.get(port)?;
            Some((peer.key, cx.rib.announced(port)?))
        });
        let (parent_key, position) = match announced {
            Some((key, Announced { announcement, .. })) => (
                Some(key),
                Position {
                    root: announcement.root(),
                    root_sequence: announcement.root_sequence(),
                    coordinates: announcement.coordinates(),
                },
            ),
            None => (
                None,
                Position {
                    root: cx.own,
                    root_sequence: self.own_sequence,
                    coordinates: Coordinates::default(),
                },
            ),
        };
        self.outgoing.invalidate();
        self.parent = parent;
        cx.rib.set_parent(parent);
        cx.rib
            .set_position(position.root(), position.coordinates.clone());
        let before = std::mem::replace(&mut self.position, position);
        if self.reported_parent != parent_key {
            self.reported_parent = parent_key;
            match parent_key {
                Some(key) => info!(%key, "following a parent"),
                None => info!("following no parent: root"),
            }
            cx.effects
                .event(Event::ParentChanged { parent: parent_key });
        }
        if !self.is_waiting() {
            let now = cx.now.monotonic;
            self.damping
                .record_root(now, &cx.config, self.position.root);
        }
        report_move(cx, &before, &self.position);
    }

    fn announce_to_all(&mut self, cx: &mut Context) {
        self.untold = false;
        self.outgoing
            .send_to_all(cx, self.parent, self.own_sequence);
    }
}

/// Returns the peerings with the node that has `key` that are used and have a lower priority than this.
fn outranked(cx: &Context, key: &PublicKey, priority: u8) -> Vec<PortId> {
    let used = cx.rib.peerings_with(key);
    let is_lower = |port: &PortId| {
        let peer = cx.peers.get(*port);
        peer.is_some_and(|peer| peer.priority < priority)
    };
    used.filter(is_lower).collect()
}

/// Counts an announcement that is refused. Returns the reason to close the peering.
pub(crate) fn refuse(cx: &mut Context, error: AnnouncementError) -> CloseReason {
    cx.counters.announcements_refused += 1;
    error.into()
}

/// Reports whether `announcement` is identical to the last one from `port`.
fn is_repeated(cx: &Context, port: PortId, announcement: &Announcement) -> bool {
    let last = cx.rib.announced(port);
    last.is_some_and(|last| last.announcement.payload() == announcement.payload())
}

/// Reports a change of position to subscribers.
fn report_move(cx: &mut Context, before: &Position, after: &Position) {
    if before.root != after.root {
        cx.counters.root_changes += 1;
        info!(root = %after.root, sequence = after.root_sequence, "root changed");
    }
    if before.root() != after.root() {
        debug!(root = %after.root, sequence = after.root_sequence, "root announced itself");
        cx.effects.event(Event::RootChanged {
            root: after.root,
            sequence: after.root_sequence,
        });
    }
    if before.coordinates != after.coordinates {
        info!(coordinates = %after.coordinates, "coordinates changed");
        cx.effects
            .event(Event::CoordinatesChanged(after.coordinates.clone()));
    }
}
