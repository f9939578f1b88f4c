//! The SNEK routes a node knows, indexed by key, age, source and destination (protocol section 5).
//! Nothing here is a scan: all lists are linked through the slots.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::PublicKey;

use crate::key_index::KeyIndex;

/// A SNEK route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) key: PublicKey,
    /// The peering that its bootstrap came from: where frames for the key go.
    pub(crate) source: PortId,
    /// Where the bootstrap went on to, if it did not end here.
    pub(crate) destination: Option<PortId>,
    pub(crate) sequence: u64,
    pub(crate) last_seen: Duration,
    /// Whether it has been told, since then, that its path is broken where its bootstraps go on.
    pub(crate) told: bool,
    /// Whether its last bootstrap has come as a correction only, which goes no further up the snake.
    pub(crate) corrected: bool,
    /// Where [`Recent`](crate::recent::RecentBootstraps) has the bootstrap that it was last seen by.
    pub(crate) recent: u32,
}

/// Whether a route of a new key may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// If the oldest route of this peering gives way.
    Evict(PortId),
    None,
}

/// All routes. There may be millions, each of which takes a slot and a place in the index: about 100
/// bytes.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    by_key: KeyIndex,
    slots: Slots,
    free: Vec<u32>,
    /// Least recently seen first.
    by_age: List,
    by_source: BTreeMap<PortId, List>,
    by_destination: BTreeMap<PortId, List>,
    /// How many routes each source brought, most last.
    sizes: BTreeSet<(u32, PortId)>,
}

#[derive(Debug, Default)]
struct Slots(Vec<Slot>);

/// More routes than this stay where they are: moving them would hold up the control plane for
/// milliseconds.
const MOST_MOVED: usize = 16_384;
/// Room for fewer than this is too little to give back.
const LEAST_SHRUNK: usize = if cfg!(test) { 4 } else { 64 };
/// No slot, or no port.
const NONE: u32 = u32::MAX;
/// The bit of [`Slot::last_seen`] that says whether a route has been told that its path is broken.
const TOLD: u64 = 1 << 63;
/// The bit of [`Slot::last_seen`] for [`Route::corrected`].
const CORRECTED: u64 = 1 << 62;

/// A route, and its place in three lists. Packed, as there may be millions.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Slot {
    key: PublicKey,
    sequence: u64,
    /// In nanoseconds: enough for 146 years. The top bits are [`TOLD`] and [`CORRECTED`].
    last_seen: u64,
    source: u32,
    destination: u32,
    recent: u32,
    links: [Link; 3],
}

const _: () = assert!(size_of::<Slot>() == 84);

/// Which list a link belongs to.
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

    /// How many routes `source` brought.
    pub(crate) fn learned_from(&self, source: PortId) -> usize {
        self.by_source
            .get(&source)
            .map_or(0, |list| list.len as usize)
    }

    /// Whether a route of a new key from `source` may be taken: not beyond its own share, and
    /// when all is full only at the expense of a peering that brought more.
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

    /// Inserts or replaces. The route that its key had before.
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
                    // Doubling would leave half of it unused, at every node of a simulated network.
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

    /// The route that has not been seen for the longest time.
    pub(crate) fn oldest(&self) -> Option<Route> {
        self.first_of(&self.by_age)
    }

    /// The same, of those that `source` brought.
    pub(crate) fn oldest_from(&self, source: PortId) -> Option<Route> {
        self.first_of(self.by_source.get(&source)?)
    }

    /// One of the routes whose bootstraps went on to `port`.
    pub(crate) fn first_going_to(&self, port: PortId) -> Option<Route> {
        self.first_of(self.by_destination.get(&port)?)
    }

    /// The key has been told that its path is broken.
    pub(crate) fn set_told(&mut self, key: &PublicKey) {
        if let Some(at) = self.find(key) {
            self.slots.get_mut(at).last_seen |= TOLD;
        }
    }

    /// The bootstrap that the route was last seen by goes on to `destination`, after it had come as a
    /// correction.
    pub(crate) fn pass_on(&mut self, key: &PublicKey, destination: Option<PortId>) {
        if let Some(at) = self.find(key) {
            self.unlink_destination(at);
            let slot = self.slots.get_mut(at);
            slot.last_seen &= !CORRECTED;
            slot.destination = destination.map_or(NONE, |port| port.0);
            self.link_destination(at);
        }
    }

    /// The bootstraps of `key` went on to nowhere.
    pub(crate) fn forget_destination(&mut self, key: &PublicKey) {
        if let Some(at) = self.find(key) {
            self.unlink_destination(at);
            self.slots.get_mut(at).destination = NONE;
        }
    }

    /// The routes whose bootstraps went on to `port` went on to `other`, or nowhere.
    pub(crate) fn move_destination(&mut self, port: PortId, other: Option<PortId>) {
        let mut gone = self.by_destination.remove(&port).unwrap_or_default();
        while gone.len > 0 {
            let at = gone.first;
            self.slots.unlink(By::Destination, &mut gone, at);
            self.slots.get_mut(at).destination = other.map_or(NONE, |other| other.0);
            self.link_destination(at);
        }
    }

    /// The routes that `port` brought are `other`'s, behind those that are already. Their keys.
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

    /// Moves the routes to smaller memory where they use less than two thirds of what they have: after
    /// a start or a change of the root there are many more than later.
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
            // Where it is now.
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

    /// A route from the same source as before. Most are this.
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

    /// Puts a slot at the end of a list.
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
        // A link left behind would name a slot that may be another's, or gone, when routes move.
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
    /// In no list yet.
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
