//! The SNEK routes a node knows, indexed by key, age, source and destination (protocol section 5).
//! Nothing here is a scan: all lists are linked through the slots.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use pinecone_dataplane::PortId;
use pinecone_wire::PublicKey;

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
}

/// Whether a route of a new key may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// If the oldest route of this peering gives way.
    Evict(PortId),
    None,
}

/// All routes.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    by_key: HashMap<PublicKey, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Least recently seen first.
    by_age: List,
    by_source: BTreeMap<PortId, List>,
    by_destination: BTreeMap<PortId, List>,
    /// How many routes each source brought, most last.
    sizes: BTreeSet<(usize, PortId)>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    route: Route,
    links: [Link; 3],
}

/// Which list a link belongs to.
#[derive(Clone, Copy)]
enum By {
    Age = 0,
    Source = 1,
    Destination = 2,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    previous: Option<u32>,
    next: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    first: Option<u32>,
    last: Option<u32>,
    len: usize,
}

impl Routes {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn get(&self, key: &PublicKey) -> Option<&Route> {
        self.by_key.get(key).map(|slot| &self.slot(*slot).route)
    }

    /// How many routes `source` brought.
    pub(crate) fn learned_from(&self, source: PortId) -> usize {
        self.by_source.get(&source).map_or(0, |list| list.len)
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
            Some(&(most, port)) if most > own + 1 => Room::Evict(port),
            _ => Room::None,
        }
    }

    /// Inserts or replaces. Whether the key is new.
    pub(crate) fn insert(&mut self, route: Route) -> bool {
        let new = self.remove(&route.key).is_none();
        let slot = Slot {
            route,
            links: [Link::default(); 3],
        };
        let at = match self.free.pop() {
            Some(at) => {
                *self.slot_mut(at) = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.by_key.insert(route.key, at);
        let mut by_age = self.by_age;
        self.link(By::Age, &mut by_age, at);
        self.by_age = by_age;
        let mut list = self.by_source.remove(&route.source).unwrap_or_default();
        self.sizes.remove(&(list.len, route.source));
        self.link(By::Source, &mut list, at);
        self.sizes.insert((list.len, route.source));
        self.by_source.insert(route.source, list);
        if let Some(port) = route.destination {
            let mut list = self.by_destination.remove(&port).unwrap_or_default();
            self.link(By::Destination, &mut list, at);
            self.by_destination.insert(port, list);
        }
        new
    }

    pub(crate) fn remove(&mut self, key: &PublicKey) -> Option<Route> {
        let at = self.by_key.remove(key)?;
        let route = self.slot(at).route;
        let mut by_age = self.by_age;
        self.unlink(By::Age, &mut by_age, at);
        self.by_age = by_age;
        if let Some(mut list) = self.by_source.remove(&route.source) {
            self.sizes.remove(&(list.len, route.source));
            self.unlink(By::Source, &mut list, at);
            if list.len > 0 {
                self.sizes.insert((list.len, route.source));
                self.by_source.insert(route.source, list);
            }
        }
        if let Some(port) = route.destination
            && let Some(mut list) = self.by_destination.remove(&port)
        {
            self.unlink(By::Destination, &mut list, at);
            if list.len > 0 {
                self.by_destination.insert(port, list);
            }
        }
        self.free.push(at);
        Some(route)
    }

    /// The route that has not been seen for the longest time.
    pub(crate) fn oldest(&self) -> Option<&Route> {
        self.by_age.first.map(|at| &self.slot(at).route)
    }

    /// The same, of those that `source` brought.
    pub(crate) fn oldest_from(&self, source: PortId) -> Option<&Route> {
        let first = self.by_source.get(&source)?.first?;
        Some(&self.slot(first).route)
    }

    /// The routes whose bootstraps went on to `port` went on to `other`, or nowhere.
    pub(crate) fn move_destination(&mut self, port: PortId, other: Option<PortId>) {
        let mut gone = self.by_destination.remove(&port).unwrap_or_default();
        while let Some(at) = gone.first {
            self.unlink(By::Destination, &mut gone, at);
            self.slot_mut(at).route.destination = other;
            if let Some(other) = other {
                let mut list = self.by_destination.remove(&other).unwrap_or_default();
                self.link(By::Destination, &mut list, at);
                self.by_destination.insert(other, list);
            }
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
        let mut keys = Vec::with_capacity(gone.len);
        while let Some(at) = gone.first {
            self.unlink(By::Source, &mut gone, at);
            self.link(By::Source, &mut list, at);
            let route = &mut self.slot_mut(at).route;
            route.source = other;
            keys.push(route.key);
        }
        if list.len > 0 {
            self.sizes.insert((list.len, other));
            self.by_source.insert(other, list);
        }
        keys
    }

    fn slot(&self, at: u32) -> &Slot {
        &self.slots[at as usize]
    }

    fn slot_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.slots[at as usize]
    }

    /// Puts a slot at the end of a list.
    fn link(&mut self, by: By, list: &mut List, at: u32) {
        self.slot_mut(at).links[by as usize] = Link {
            previous: list.last,
            next: None,
        };
        match list.last {
            Some(last) => self.slot_mut(last).links[by as usize].next = Some(at),
            None => list.first = Some(at),
        }
        list.last = Some(at);
        list.len += 1;
    }

    fn unlink(&mut self, by: By, list: &mut List, at: u32) {
        let Link { previous, next } = self.slot(at).links[by as usize];
        match previous {
            Some(previous) => self.slot_mut(previous).links[by as usize].next = next,
            None => list.first = next,
        }
        match next {
            Some(next) => self.slot_mut(next).links[by as usize].previous = previous,
            None => list.last = previous,
        }
        list.len -= 1;
    }
}

/// The last sequences of keys whose route is gone, so that their bootstraps cannot be replayed.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    by_key: HashMap<PublicKey, (u64, Duration)>,
    /// In order of forgetting; an entry counts only while `by_key` agrees with it.
    queue: VecDeque<(Duration, PublicKey)>,
    forgotten: u64,
}

impl Remembered {
    /// Remembers a sequence until `until`, which never lies before that of an earlier call.
    pub(crate) fn insert(&mut self, key: PublicKey, sequence: u64, until: Duration, max: usize) {
        while self.queue.len() >= max {
            match self.pop() {
                Some(true) => self.forgotten += 1,
                Some(false) => {}
                None => return,
            }
        }
        self.by_key.insert(key, (sequence, until));
        self.queue.push_back((until, key));
    }

    /// The last sequence of `key`, if it is to be remembered still.
    pub(crate) fn get(&self, now: Duration, key: &PublicKey) -> Option<u64> {
        self.by_key
            .get(key)
            .filter(|(_, until)| now < *until)
            .map(|(sequence, _)| *sequence)
    }

    /// The key has a route again.
    pub(crate) fn remove(&mut self, key: &PublicKey) {
        self.by_key.remove(key);
    }

    /// Forgets what is due.
    pub(crate) fn forget(&mut self, now: Duration) {
        while self.queue.front().is_some_and(|(until, _)| *until <= now) {
            self.pop();
        }
    }

    /// How many were forgotten early.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Drops the head of the queue; whether it still counted.
    fn pop(&mut self) -> Option<bool> {
        let (until, key) = self.queue.pop_front()?;
        let counts = self.by_key.get(&key).is_some_and(|(_, u)| *u == until);
        if counts {
            self.by_key.remove(&key);
        }
        Some(counts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn route(key: u8, source: u32, destination: u32, sequence: u64) -> Route {
        Route {
            key: PublicKey([key; 32]),
            source: PortId(source),
            destination: (destination != 0).then_some(PortId(destination)),
            sequence,
            last_seen: secs(sequence),
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u32, u32),
        Remove(u8),
        RemovePort(u32),
        MovePort(u32, u32),
        RemoveOldest,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..20u8, 1..5u32, 0..5u32).prop_map(|(k, s, d)| Step::Insert(k, s, d)),
            2 => (0..20u8).prop_map(Step::Remove),
            1 => (1..5u32).prop_map(Step::RemovePort),
            1 => (1..5u32, 1..5u32).prop_map(|(from, to)| Step::MovePort(from, to)),
            1 => Just(Step::RemoveOldest),
        ]
    }

    proptest! {
        /// Against a plain list in order of age.
        #[test]
        fn every_index_agrees_with_a_plain_list(
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let mut routes = Routes::default();
            let mut model: Vec<Route> = Vec::new();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(key, source, destination) => {
                        let route = route(key, source, destination, n as u64);
                        let known = model.iter().position(|r| r.key == route.key);
                        prop_assert_eq!(routes.insert(route), known.is_none());
                        known.map(|at| model.remove(at));
                        model.push(route);
                    }
                    Step::Remove(key) => {
                        let key = PublicKey([key; 32]);
                        let known = model.iter().position(|r| r.key == key);
                        prop_assert_eq!(routes.remove(&key), known.map(|at| model.remove(at)));
                    }
                    Step::RemovePort(port) => {
                        let port = PortId(port);
                        routes.move_destination(port, None);
                        while let Some(key) = routes.oldest_from(port).map(|r| r.key) {
                            routes.remove(&key);
                        }
                        model.retain(|r| r.source != port);
                        for route in &mut model {
                            route.destination = route.destination.filter(|to| *to != port);
                        }
                    }
                    Step::MovePort(from, to) if from == to => {}
                    Step::MovePort(from, to) => {
                        let (from, to) = (PortId(from), PortId(to));
                        routes.move_destination(from, Some(to));
                        let keys = routes.move_source(from, to);
                        let moved = model.iter().filter(|r| r.source == from);
                        let mut expected: Vec<_> = moved.map(|r| r.key).collect();
                        expected.sort_unstable();
                        let mut found = keys.clone();
                        found.sort_unstable();
                        prop_assert_eq!(found, expected);
                        for route in &mut model {
                            if route.source == from {
                                route.source = to;
                            }
                            if route.destination == Some(from) {
                                route.destination = Some(to);
                            }
                        }
                    }
                    Step::RemoveOldest => {
                        prop_assert_eq!(routes.oldest(), model.first());
                        if !model.is_empty() {
                            let oldest = model.remove(0);
                            prop_assert_eq!(routes.remove(&oldest.key), Some(oldest));
                        }
                    }
                }
                prop_assert_eq!(routes.len(), model.len());
                prop_assert_eq!(routes.by_age.len, model.len());
                for route in &model {
                    prop_assert_eq!(routes.get(&route.key), Some(route));
                }
                let mut most = 0;
                for port in (0..5).map(PortId) {
                    let of_port = || model.iter().filter(|r| r.source == port);
                    prop_assert_eq!(routes.learned_from(port), of_port().count());
                    // Moved ones stand behind those that were there before.
                    prop_assert_eq!(
                        routes.oldest_from(port).is_some(),
                        of_port().next().is_some()
                    );
                    most = most.max(of_port().count());
                    let on = |r: &&Route| r.destination == Some(port);
                    prop_assert_eq!(
                        routes.by_destination.get(&port).map_or(0, |list| list.len),
                        model.iter().filter(on).count()
                    );
                }
                prop_assert_eq!(routes.sizes.last().map_or(0, |(n, _)| *n), most);
            }
        }
    }

    #[test]
    fn room_is_made_at_the_expense_of_the_one_with_most() {
        let mut routes = Routes::default();
        for key in 0..8 {
            routes.insert(route(key, 1, 0, u64::from(key)));
        }
        routes.insert(route(8, 2, 0, 8));
        routes.insert(route(9, 2, 0, 9));
        let room = |routes: &Routes, port| routes.room(PortId(port), 10, 9);
        assert_eq!(room(&routes, 1), Room::None, "it has the most itself");
        assert_eq!(room(&routes, 2), Room::Evict(PortId(1)));
        assert_eq!(room(&routes, 3), Room::Evict(PortId(1)));
        assert_eq!(routes.room(PortId(2), 11, 9), Room::Free);
        assert_eq!(routes.room(PortId(1), 11, 8), Room::None, "its own share");
    }

    #[test]
    fn sequences_are_remembered_until_then_and_not_too_many() {
        let mut remembered = Remembered::default();
        let key = |n: u8| PublicKey([n; 32]);
        for n in 0..5 {
            remembered.insert(key(n), u64::from(n), secs(10 + u64::from(n)), 4);
        }
        assert_eq!(remembered.get(secs(0), &key(0)), None);
        assert_eq!(remembered.forgotten(), 1);
        assert_eq!(remembered.get(secs(10), &key(1)), Some(1));
        assert_eq!(remembered.get(secs(11), &key(1)), None);
        remembered.remove(&key(2));
        assert_eq!(remembered.get(secs(0), &key(2)), None);
        remembered.insert(key(3), 33, secs(20), 4);
        remembered.forget(secs(19));
        assert_eq!(remembered.get(secs(19), &key(3)), Some(33));
        assert_eq!(remembered.by_key.len(), 1);
        assert_eq!(remembered.queue.len(), 1);
    }
}
