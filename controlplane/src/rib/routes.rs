//! The SNEK routes of a node, indexed by key, age, source and destination (protocol section 5).
//!
//! No operation scans: all lists are linked through the slots.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::PublicKey;

use crate::key_index::KeyIndex;

/// A SNEK route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) key: PublicKey,
    /// The port that its bootstrap came from, to which frames for the key are sent.
    pub(crate) source: PortId,
    /// The port that the bootstrap was forwarded to, if it did not end here.
    pub(crate) destination: Option<PortId>,
    pub(crate) sequence: u64,
    pub(crate) last_seen: Duration,
    /// Set if the key has been notified since its last bootstrap that the path is broken beyond `destination`.
    pub(crate) told: bool,
    /// Set if its last bootstrap came only as a correction, which is not forwarded up the snake.
    pub(crate) corrected: bool,
    /// The place of its last bootstrap in [`RecentBootstraps`](crate::recent::RecentBootstraps).
    pub(crate) recent: u32,
}

/// The room for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// A slot is free.
    Free,
    /// The oldest route from this port must be evicted.
    Evict(PortId),
    /// The route must be refused.
    None,
}

/// The routes of a node. There may be millions. Each takes a slot and a place in the index: about 100 bytes.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    by_key: KeyIndex,
    slots: Slots,
    free: Vec<u32>,
    /// The slots, least recently seen first.
    by_age: List,
    by_source: BTreeMap<PortId, List>,
    by_destination: BTreeMap<PortId, List>,
    /// The number of routes from each source, the largest last.
    sizes: BTreeSet<(u32, PortId)>,
}

#[derive(Debug, Default)]
struct Slots(Vec<Slot>);

/// Maximum number of routes that are moved to smaller memory. Moving more would block the control plane for
/// milliseconds.
const MOST_MOVED: usize = 16_384;
/// Minimum number of slots that is worth shrinking.
const LEAST_SHRUNK: usize = if cfg!(test) { 4 } else { 64 };
/// Sentinel: no slot, or no port.
const NONE: u32 = u32::MAX;
/// The bit of [`Slot::last_seen`] for [`Route::told`].
const TOLD: u64 = 1 << 63;
/// The bit of [`Slot::last_seen`] for [`Route::corrected`].
const CORRECTED: u64 = 1 << 62;

/// A route, and its links in three lists. Packed, as there may be millions.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Slot {
    key: PublicKey,
    sequence: u64,
    /// The time of the last bootstrap in nanoseconds, enough for 146 years. The top bits are [`TOLD`] and
    /// [`CORRECTED`].
    last_seen: u64,
    source: u32,
    destination: u32,
    recent: u32,
    links: [Link; 3],
}

const _: () = assert!(size_of::<Slot>() == 84);

/// The list that a link belongs to.
#[derive(Clone, Copy)]
enum By {
    Age = 0,
    Source = 1,
    Destination = 2,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
    len: u32,
}

impl Routes {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn get(&self, key: &PublicKey) -> Option<Route> {
        let at = self.find(key)?;
        Some(self.slots.get(at).route())
    }

    /// Returns the number of routes from `source`.
    pub(crate) fn learned_from(&self, source: PortId) -> usize {
        self.by_source
            .get(&source)
            .map_or(0, |list| list.len as usize)
    }

    /// Returns the room for a route of a new key from `source`. A source has at most `max_per_peer` routes. Once there
    /// are `max` routes, a new one evicts another from a source that has more.
    pub(crate) fn room(&self, source: PortId, max: usize, max_per_peer: usize) -> Room {
        let own = self.learned_from(source);
        if own >= max_per_peer {
            return Room::None;
        }
        if self.len() < max {
            return Room::Free;
        }
        match self.sizes.last() {
            Some(&(most, port)) if most as usize > own + 1 => Room::Evict(port),
            _ => Room::None,
        }
    }

    /// Inserts or replaces a route. Returns the previous route of its key.
    pub(crate) fn insert(&mut self, route: Route) -> Option<Route> {
        let known = self.find(&route.key);
        let before = known.map(|at| self.slots.get(at).route());
        if let Some(at) = known {
            if self.slots.get(at).source == route.source.0 {
                self.refresh(at, &route);
                return before;
            }
            self.unlink_all(at);
        }
        let slot = Slot::new(&route);
        let at = match known.or_else(|| self.free.pop()) {
            Some(at) => {
                *self.slots.get_mut(at) = slot;
                at
            }
            None => {
                if self.slots.0.len() == self.slots.0.capacity() {
                    // Doubling would leave half of the memory unused, at every node of a simulated network.
                    self.slots.0.reserve_exact(8 + self.slots.0.len() / 8);
                }
                self.slots.0.push(slot);
                (self.slots.0.len() - 1) as u32
            }
        };
        if known.is_none() {
            self.by_key.insert(&route.key, at);
        }
        self.slots.link(By::Age, &mut self.by_age, at);
        let list = self.by_source.entry(route.source).or_default();
        self.sizes.remove(&(list.len, route.source));
        self.slots.link(By::Source, list, at);
        self.sizes.insert((list.len, route.source));
        self.link_destination(at);
        before
    }

    pub(crate) fn remove(&mut self, key: &PublicKey) -> Option<Route> {
        let holds = |at| self.slots.get(at).key == *key;
        let at = self.by_key.remove(key, holds)?;
        self.unlink_all(at);
        self.free.push(at);
        let route = self.slots.get(at).route();
        self.shrink();
        Some(route)
    }

    /// Returns the least recently seen route.
    pub(crate) fn oldest(&self) -> Option<Route> {
        self.first_of(&self.by_age)
    }

    /// Returns the least recently seen route from `source`.
    pub(crate) fn oldest_from(&self, source: PortId) -> Option<Route> {
        self.first_of(self.by_source.get(&source)?)
    }

    /// Returns one of the routes whose bootstraps were forwarded to `port`.
    pub(crate) fn first_going_to(&self, port: PortId) -> Option<Route> {
        self.first_of(self.by_destination.get(&port)?)
    }

    /// Records that `key` has been notified that its path is broken.
    pub(crate) fn set_told(&mut self, key: &PublicKey) {
        if let Some(at) = self.find(key) {
            self.slots.get_mut(at).last_seen |= TOLD;
        }
    }

    /// Records that the last bootstrap of `key` is forwarded to `destination`, after it had come as a correction.
    pub(crate) fn pass_on(&mut self, key: &PublicKey, destination: Option<PortId>) {
        if let Some(at) = self.find(key) {
            self.unlink_destination(at);
            let slot = self.slots.get_mut(at);
            slot.last_seen &= !CORRECTED;
            slot.destination = destination.map_or(NONE, |port| port.0);
            self.link_destination(at);
        }
    }

    /// Records that the bootstraps of `key` are forwarded to no port.
    pub(crate) fn forget_destination(&mut self, key: &PublicKey) {
        if let Some(at) = self.find(key) {
            self.unlink_destination(at);
            self.slots.get_mut(at).destination = NONE;
        }
    }

    /// Changes the destination of all routes with the destination `port` to `other`.
    pub(crate) fn move_destination(&mut self, port: PortId, other: Option<PortId>) {
        let mut gone = self.by_destination.remove(&port).unwrap_or_default();
        while gone.len > 0 {
            let at = gone.first;
            self.slots.unlink(By::Destination, &mut gone, at);
            self.slots.get_mut(at).destination = other.map_or(NONE, |other| other.0);
            self.link_destination(at);
        }
    }

    /// Changes the source of all routes from `port` to `other`, behind those that are there already. Returns their keys.
    pub(crate) fn move_source(&mut self, port: PortId, other: PortId) -> Vec<PublicKey> {
        let Some(mut gone) = self.by_source.remove(&port) else {
            return Vec::new();
        };
        self.sizes.remove(&(gone.len, port));
        let mut list = self.by_source.remove(&other).unwrap_or_default();
        self.sizes.remove(&(list.len, other));
        let mut keys = Vec::with_capacity(gone.len as usize);
        while gone.len > 0 {
            let at = gone.first;
            self.slots.unlink(By::Source, &mut gone, at);
            self.slots.link(By::Source, &mut list, at);
            let slot = self.slots.get_mut(at);
            slot.source = other.0;
            keys.push(slot.key);
        }
        if list.len > 0 {
            self.sizes.insert((list.len, other));
            self.by_source.insert(other, list);
        }
        keys
    }

    /// Moves the routes to smaller memory if they use less than two thirds of it. After a start or a change of root
    /// there are many more routes than later.
    fn shrink(&mut self) {
        let (used, slots) = (self.len(), self.slots.0.len());
        if 3 * used >= 2 * slots || slots < LEAST_SHRUNK || used > MOST_MOVED {
            return;
        }
        let mut old = std::mem::take(&mut self.slots);
        self.slots.0.reserve_exact(8 + used + used / 8);
        self.by_key = KeyIndex::default();
        self.free = Vec::new();
        let mut from = self.by_age.first;
        while from != NONE {
            let slot = old.get_mut(from);
            let to = self.slots.0.len() as u32;
            self.by_key.insert(&slot.key, to);
            self.slots.0.push(*slot);
            from = slot.links[By::Age as usize].next;
            // The new place.
            slot.recent = to;
        }
        let moved = |at: &mut u32| {
            if *at != NONE {
                *at = old.get(*at).recent;
            }
        };
        for slot in &mut self.slots.0 {
            let mut links = slot.links;
            for link in &mut links {
                moved(&mut link.previous);
                moved(&mut link.next);
            }
            slot.links = links;
        }
        let lists = (self.by_source.values_mut()).chain(self.by_destination.values_mut());
        for list in lists.chain([&mut self.by_age]) {
            moved(&mut list.first);
            moved(&mut list.last);
        }
    }

    fn find(&self, key: &PublicKey) -> Option<u32> {
        self.by_key.find(key, |at| self.slots.get(at).key == *key)
    }

    fn first_of(&self, list: &List) -> Option<Route> {
        (list.len > 0).then(|| self.slots.get(list.first).route())
    }

    /// Replaces a route by one from the same source, which is the common case.
    fn refresh(&mut self, at: u32, route: &Route) {
        self.slots.unlink(By::Age, &mut self.by_age, at);
        self.slots.link(By::Age, &mut self.by_age, at);
        if let Some(list) = self.by_source.get_mut(&route.source) {
            self.slots.unlink(By::Source, list, at);
            self.slots.link(By::Source, list, at);
        }
        let fresh = Slot::new(route);
        let moved = self.slots.get(at).destination != fresh.destination;
        if moved {
            self.unlink_destination(at);
        }
        let slot = self.slots.get_mut(at);
        slot.sequence = fresh.sequence;
        slot.last_seen = fresh.last_seen;
        slot.recent = fresh.recent;
        slot.destination = fresh.destination;
        if moved {
            self.link_destination(at);
        }
    }

    fn unlink_all(&mut self, at: u32) {
        self.slots.unlink(By::Age, &mut self.by_age, at);
        let source = PortId(self.slots.get(at).source);
        if let Some(list) = self.by_source.get_mut(&source) {
            self.sizes.remove(&(list.len, source));
            self.slots.unlink(By::Source, list, at);
            if list.len > 0 {
                self.sizes.insert((list.len, source));
            } else {
                self.by_source.remove(&source);
            }
        }
        self.unlink_destination(at);
    }

    fn link_destination(&mut self, at: u32) {
        let port = self.slots.get(at).destination;
        if port != NONE {
            let list = self.by_destination.entry(PortId(port)).or_default();
            self.slots.link(By::Destination, list, at);
        }
    }

    fn unlink_destination(&mut self, at: u32) {
        let port = PortId(self.slots.get(at).destination);
        if let Some(list) = self.by_destination.get_mut(&port) {
            self.slots.unlink(By::Destination, list, at);
            if list.len == 0 {
                self.by_destination.remove(&port);
            }
        }
    }
}

impl Slots {
    fn get(&self, at: u32) -> &Slot {
        &self.0[at as usize]
    }

    fn get_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.0[at as usize]
    }

    /// Appends a slot to a list.
    fn link(&mut self, by: By, list: &mut List, at: u32) {
        self.get_mut(at).links[by as usize] = Link {
            previous: list.last,
            next: NONE,
        };
        match list.last {
            NONE => list.first = at,
            last => self.get_mut(last).links[by as usize].next = at,
        }
        list.last = at;
        list.len += 1;
    }

    fn unlink(&mut self, by: By, list: &mut List, at: u32) {
        // A stale link could refer to another route's slot, or to none, when routes move.
        let link = &mut self.get_mut(at).links;
        let Link { previous, next } = link[by as usize];
        link[by as usize] = Link::default();
        match previous {
            NONE => list.first = next,
            previous => self.get_mut(previous).links[by as usize].next = next,
        }
        match next {
            NONE => list.last = previous,
            next => self.get_mut(next).links[by as usize].previous = previous,
        }
        list.len -= 1;
    }
}

impl Slot {
    /// Creates a slot that is in no list.
    fn new(route: &Route) -> Self {
        Self {
            key: route.key,
            sequence: route.sequence,
            last_seen: nanos(route.last_seen)
                | if route.told { TOLD } else { 0 }
                | if route.corrected { CORRECTED } else { 0 },
            source: route.source.0,
            destination: route.destination.map_or(NONE, |port| port.0),
            recent: route.recent,
            links: [Link::default(); 3],
        }
    }

    fn route(&self) -> Route {
        Route {
            key: self.key,
            source: PortId(self.source),
            destination: (self.destination != NONE).then_some(PortId(self.destination)),
            sequence: self.sequence,
            last_seen: Duration::from_nanos(self.last_seen & !(TOLD | CORRECTED)),
            told: self.last_seen & TOLD != 0,
            corrected: self.last_seen & CORRECTED != 0,
            recent: self.recent,
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos())
        .unwrap_or(CORRECTED)
        .min(CORRECTED - 1)
}

impl Default for Link {
    fn default() -> Self {
        Self {
            previous: NONE,
            next: NONE,
        }
    }
}

impl Default for List {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
            len: 0,
        }
    }
}

#[cfg(test)]
mod tests;
