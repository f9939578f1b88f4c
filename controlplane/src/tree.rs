//! The spanning tree: whom we follow, and what we announce (protocol section 4).

mod action;
mod flaps;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::timing::{ANNOUNCEMENT_LIFETIME, REPARENT_DELAY, ROOT_ANNOUNCEMENT_INTERVAL};
use pinecone_wire::{
    Announcement, AnnouncementError, Coordinates, PublicKey, Signature, announcement,
};
use tracing::{debug, info};

use self::action::{Action, Update};
use self::flaps::Flaps;
use crate::rib::{Adjacency, Announced};
use crate::{CloseReason, ControlPlane, Event};

/// Signatures of the longest announcement that is followed. A frame holds about 675, so those behind
/// us have ample room for theirs.
const MAX_FOLLOWED: usize = 500;

/// The node's place in the tree, and what it needs to find a better one.
pub(crate) struct Tree {
    own_sequence: u64,
    parent: Option<PortId>,
    /// The parent that subscribers know of.
    parent_key: Option<PublicKey>,
    position: Position,
    /// The parent brought bad news: when to select another.
    waiting: Option<Duration>,
    /// Moves to higher roots come too fast: when to make the next, and whether the parent has
    /// made one that we have not told of yet.
    deferred: Option<Duration>,
    untold: bool,
    /// When we announce ourselves anew, where we are root.
    root_due: Duration,
    /// The arrival number of the next announcement.
    arrivals: u64,
    /// What we announce; made when asked for.
    outgoing: Option<Outgoing>,
    /// The announcements of live peers that do not loop, best last.
    candidates: BTreeSet<Candidate>,
    /// When we last moved to higher roots.
    moves: VecDeque<Duration>,
    /// Roots that came and went.
    flaps: Flaps,
    /// The root that we followed last, other than while waiting.
    settled_root: PublicKey,
}

/// The root that we follow and how we stand to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) root: PublicKey,
    pub(crate) root_sequence: u64,
    pub(crate) coordinates: Coordinates,
}

/// One signature serves every port.
struct Outgoing {
    payload: Arc<[u8]>,
    signature: Signature,
}

/// Ordered by how good a parent it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    root: PublicKey,
    root_sequence: u64,
    order: Reverse<u64>,
    port: PortId,
}

impl Tree {
    pub(crate) fn new(own: PublicKey) -> Self {
        Self {
            own_sequence: 1,
            parent: None,
            parent_key: None,
            position: Position {
                root: own,
                root_sequence: 1,
                coordinates: Coordinates::default(),
            },
            waiting: None,
            deferred: None,
            untold: false,
            root_due: Duration::MAX,
            arrivals: 0,
            outgoing: None,
            candidates: BTreeSet::new(),
            moves: VecDeque::new(),
            flaps: Flaps::default(),
            settled_root: own,
        }
    }

    pub(crate) fn start(&mut self, now: Duration) {
        self.root_due = now + ROOT_ANNOUNCEMENT_INTERVAL;
    }

    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    pub(crate) fn parent(&self) -> Option<PortId> {
        self.parent
    }

    pub(crate) fn own_sequence(&self) -> u64 {
        self.own_sequence
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }
}

impl Candidate {
    fn new(port: PortId, announced: &Announced) -> Option<Self> {
        (!announced.unfit).then_some(Self {
            root: announced.announcement.root(),
            root_sequence: announced.announcement.root_sequence(),
            order: Reverse(announced.order),
            port,
        })
    }

    /// Worse than any that follows this root, and better than all that follow lower ones.
    fn below_all_of(root: PublicKey) -> Self {
        Self {
            root,
            root_sequence: 0,
            order: Reverse(u64::MAX),
            port: PortId(0),
        }
    }
}

impl ControlPlane {
    /// Whether an announcement would be taken if its signatures verify; if not, the peering ends.
    pub(crate) fn admit_announcement(&mut self, port: PortId, announcement: &Announcement) -> bool {
        let Some(peer) = self.peers.get(port) else {
            return false;
        };
        if let Err(error) = announcement.check(&peer.key) {
            self.refuse_announcement(port, error);
            return false;
        }
        let (root, found) = (announcement.root(), announcement.root_sequence());
        if let Some(before) = self.rib.announced(port)
            && before.announcement.root() == root
            && before.announcement.root_sequence() > found
        {
            let last = before.announcement.root_sequence();
            self.counters.announcements_replayed += 1;
            self.close(port, CloseReason::Replay { found, last });
            return false;
        }
        true
    }

    /// An announcement that was admitted, with the index of its first bad signature. Nothing of its
    /// peering came between.
    pub(crate) fn handle_announcement(
        &mut self,
        port: PortId,
        announcement: Announcement,
        verdict: Result<(), usize>,
    ) {
        let Some(peer) = self.peers.get(port) else {
            return;
        };
        let key = peer.key;
        if let Err(index) = verdict {
            return self.refuse_announcement(port, AnnouncementError::Signature { index });
        }
        self.signer.trust(&announcement);
        self.look_for_own_key(&announcement);
        let from_parent = self.tree.parent == Some(port);
        if from_parent && self.is_repeated(port, &announcement) {
            self.counters.announcements_repeated += 1;
            return;
        }
        let too_long = announcement.entries().len() > MAX_FOLLOWED;
        self.counters.announcements_too_long += u64::from(too_long);
        let (root, root_sequence) = (announcement.root(), announcement.root_sequence());
        let position = &self.tree.position;
        let update = Update {
            from_parent,
            unfit: too_long || announcement.is_signed_by(&self.own),
            root: root.cmp(&position.root),
            sequence: root_sequence.cmp(&position.root_sequence),
        };
        let first = !self.has_announced(port);
        let first_of_key = first && self.rib.peering_with(&key).is_none();
        self.store_announcement(port, announcement, update.unfit);
        if !self.tree.is_waiting() {
            self.act(port, update, first);
        }
        if first_of_key {
            self.broadcast_to(port);
        }
    }

    pub(crate) fn refuse_announcement(&mut self, port: PortId, error: AnnouncementError) {
        self.counters.announcements_refused += 1;
        self.close(port, error.into());
    }

    /// Sends our announcement to one peer.
    pub(crate) fn send_announcement(&mut self, port: PortId) {
        let outgoing = match self.tree.outgoing.take() {
            Some(outgoing) => outgoing,
            None => self.sign_outgoing(),
        };
        self.push_announcement(port, &outgoing);
        self.tree.outgoing = Some(outgoing);
    }

    /// A peer is gone, and everything that it announced.
    pub(crate) fn forget_announcement(&mut self, port: PortId, announced: Option<&Announced>) {
        if let Some(candidate) = announced.and_then(|a| Candidate::new(port, a)) {
            self.tree.candidates.remove(&candidate);
        }
        if self.peers.is_empty() {
            self.reset_tree();
        } else if self.tree.parent == Some(port) {
            let position = &self.tree.position;
            let (root, least) = (position.root, position.root_sequence);
            let best = self.best_candidate();
            if best.is_some_and(|best| best.root == root && best.root_sequence < least) {
                // Peers close a peering on which a root's sequence falls, so we are root in between.
                self.become_root_and_wait();
            } else {
                self.select_parent();
            }
        }
    }

    /// Runs what is due in the tree.
    pub(crate) fn tick_tree(&mut self) {
        let now = self.now.monotonic;
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        if due(self.tree.waiting) {
            self.tree.waiting = None;
            self.tree.deferred = None;
            self.select_parent();
            self.settle_root();
        }
        if due(self.tree.deferred) {
            self.tree.deferred = None;
            if !self.tree.is_waiting() {
                self.select_parent();
            }
            if self.tree.untold {
                self.announce_to_all();
            }
        }
        if self.tree.parent.is_none() && due(Some(self.tree.root_due)) {
            self.become_root();
        }
    }

    pub(crate) fn next_tree_deadline(&self) -> Option<Duration> {
        let root_due = self.tree.parent.is_none().then_some(self.tree.root_due);
        [self.tree.waiting, self.tree.deferred, root_due]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether `announcement` is the one that `port` brought last, to the byte.
    fn is_repeated(&self, port: PortId, announcement: &Announcement) -> bool {
        let last = self.rib.announced(port);
        last.is_some_and(|last| last.announcement.payload() == announcement.payload())
    }

    fn store_announcement(&mut self, port: PortId, announcement: Announcement, unfit: bool) {
        let announced = Announced {
            peer_coordinates: announcement.peer_coordinates(),
            announcement,
            received: self.now.monotonic,
            order: self.tree.arrivals,
            unfit,
        };
        self.tree.arrivals += 1;
        self.put_announcement(port, announced);
    }

    fn put_announcement(&mut self, port: PortId, announced: Announced) {
        let Some(peer) = self.peers.get(port) else {
            return;
        };
        let (key, link) = (peer.key, peer.link);
        self.tree
            .candidates
            .extend(Candidate::new(port, &announced));
        self.peers.announce(port, announced.order);
        let adjacency = Adjacency {
            key,
            link,
            announced,
        };
        let before = self.rib.announce(port, adjacency);
        if let Some(before) = before.and_then(|before| Candidate::new(port, &before)) {
            self.tree.candidates.remove(&before);
        }
    }

    fn act(&mut self, port: PortId, update: Update, first: bool) {
        match update.action() {
            Action::Drop => {}
            Action::AcceptUpdate => {
                let told = update.root.is_eq() || self.may_rise();
                self.move_to(Some(port));
                if told {
                    self.announce_to_all();
                } else {
                    self.tree.untold = true;
                }
            }
            Action::AcceptNewParent => {
                if !self.is_held(port) && self.may_rise() {
                    self.take_parent(port);
                }
            }
            Action::InformPeer if first => {}
            Action::InformPeer => self.send_announcement(port),
            Action::SelectParent => {
                self.select_parent();
            }
            Action::SelectParentWithWait => {
                self.become_root_and_wait();
            }
        }
    }

    /// Whether we may move to a higher root at once; else that is put off.
    fn may_rise(&mut self) -> bool {
        let now = self.now.monotonic;
        let window = self.config.root_change_window;
        let moves = &mut self.tree.moves;
        while moves.front().is_some_and(|at| *at + window <= now) {
            moves.pop_front();
        }
        if moves.len() < self.config.max_root_changes {
            moves.push_back(now);
            return true;
        }
        self.counters.root_changes_damped += 1;
        let at = now + self.config.root_change_delay;
        self.tree.deferred.get_or_insert(at);
        false
    }

    /// The best peer to have as the parent.
    fn best_candidate(&mut self) -> Option<Candidate> {
        let now = self.now.monotonic;
        let mut bound = Bound::Unbounded;
        loop {
            let (root, found) = {
                let mut candidates = self.tree.candidates.range((Bound::Unbounded, bound)).rev();
                let root = candidates.clone().next()?.root;
                let lives = |candidate: &&Candidate| {
                    self.rib
                        .announced(candidate.port)
                        .is_some_and(|announced| now < announced.received + ANNOUNCEMENT_LIFETIME)
                };
                let same = |candidate: &&Candidate| candidate.root == root;
                (
                    root,
                    candidates.by_ref().take_while(same).find(lives).copied(),
                )
            };
            match self.held_until(&root) {
                // It is due when the hold ends, whoever announces it then.
                Some(until) if found.is_some() => self.defer(until),
                Some(_) => {}
                None if found.is_some() => return found,
                None => {}
            }
            bound = Bound::Excluded(Candidate::below_all_of(root));
        }
    }

    /// Takes the best parent there is, or none. Whether it is a new one.
    fn select_parent(&mut self) -> bool {
        let (root, root_sequence) = self.current_root();
        let least = if self.own > root {
            (self.own, 0)
        } else {
            (root, root_sequence)
        };
        let best = self
            .best_candidate()
            .filter(|best| (best.root, best.root_sequence) >= least)
            .map(|best| best.port);
        match best {
            Some(port) if self.tree.parent == Some(port) => false,
            Some(port) => {
                self.take_parent(port);
                true
            }
            None => {
                if self.tree.parent.is_some() {
                    self.become_root();
                }
                false
            }
        }
    }

    /// The root by what the parent announced; ourselves where there is none, or it was just lost.
    fn current_root(&self) -> (PublicKey, u64) {
        self.tree
            .parent
            .and_then(|port| self.rib.announced(port))
            .map_or((self.own, self.tree.own_sequence), Announced::root)
    }

    fn take_parent(&mut self, port: PortId) {
        self.move_to(Some(port));
        self.announce_to_all();
        self.snake.bootstrap_soon();
    }

    /// Drops the parent, and selects another after a while.
    fn become_root_and_wait(&mut self) {
        self.tree.waiting = Some(self.now.monotonic + REPARENT_DELAY);
        self.become_root();
    }

    fn become_root(&mut self) {
        self.tree.own_sequence += 1;
        self.tree.root_due = self.now.monotonic + ROOT_ANNOUNCEMENT_INTERVAL;
        self.move_to(None);
        self.announce_to_all();
    }

    /// The last peer is gone: starts afresh, with the own sequence kept.
    fn reset_tree(&mut self) {
        self.tree.waiting = None;
        self.tree.deferred = None;
        self.become_root();
        // Nobody is there to be disturbed.
        self.tree.flaps.clear();
    }

    /// Follows `parent`, by what it announced last: works out where that puts us, and tells the
    /// tables and the subscribers what changed.
    fn move_to(&mut self, parent: Option<PortId>) {
        let announced = parent.and_then(|port| {
            let peer = self.peers.get(port)?;
            Some((peer.key, self.rib.announced(port)?))
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
                    root: self.own,
                    root_sequence: self.tree.own_sequence,
                    coordinates: Coordinates::default(),
                },
            ),
        };
        self.tree.outgoing = None;
        self.tree.parent = parent;
        self.rib.set_parent(parent);
        self.rib.set_position(
            (position.root, position.root_sequence),
            position.coordinates.clone(),
        );
        let before = std::mem::replace(&mut self.tree.position, position);
        let after = self.tree.position.clone();
        if self.tree.parent_key != parent_key {
            self.tree.parent_key = parent_key;
            match parent_key {
                Some(key) => info!(%key, "following a parent"),
                None => info!("following no parent: root"),
            }
            self.event(Event::ParentChanged { parent: parent_key });
        }
        if before.root != after.root {
            self.counters.root_changes += 1;
            info!(root = %after.root, sequence = after.root_sequence, "root changed");
        }
        if (before.root, before.root_sequence) != (after.root, after.root_sequence) {
            debug!(root = %after.root, sequence = after.root_sequence, "root announced itself");
            self.event(Event::RootChanged {
                root: after.root,
                sequence: after.root_sequence,
            });
        }
        if !self.tree.is_waiting() {
            self.settle_root();
        }
        if before.coordinates != after.coordinates {
            info!(coordinates = %after.coordinates, "coordinates changed");
            self.event(Event::CoordinatesChanged(after.coordinates));
        }
    }

    fn announce_to_all(&mut self) {
        self.tree.untold = false;
        let outgoing = self.sign_outgoing();
        let ports: Vec<_> = self.peers.iter().map(|(port, _)| port).collect();
        for port in ports {
            self.push_announcement(port, &outgoing);
        }
        self.tree.outgoing = Some(outgoing);
    }

    /// Sends our announcement to one peer, unless it was the last one sent there. A deployed node
    /// takes a repeat from its parent for bad news.
    fn push_announcement(&mut self, port: PortId, outgoing: &Outgoing) {
        let Some(peer) = self.peers.get_mut(port) else {
            return;
        };
        if peer.told.as_ref() == Some(&outgoing.payload) {
            self.counters.announcements_unchanged += 1;
            return;
        }
        let mut frame = Vec::new();
        let pushed = announcement::push_frame(
            &mut frame,
            &outgoing.payload,
            u64::from(port.0),
            &self.own,
            &outgoing.signature,
        );
        if pushed.is_ok() {
            peer.told = Some(Arc::clone(&outgoing.payload));
        }
        self.send_built(port, frame, pushed);
    }

    fn sign_outgoing(&mut self) -> Outgoing {
        self.counters.signatures_made += 1;
        let payload: Arc<[u8]> = self
            .tree
            .parent
            .and_then(|port| self.rib.announced(port))
            .map_or_else(
                || announcement::root_payload(&self.own, self.tree.own_sequence).into(),
                |announced| announced.announcement.payload().into(),
            );
        Outgoing {
            signature: self.signer.sign_announcement(&payload),
            payload,
        }
    }
}
