//! The tree table: a trie of the peers' coordinates (protocol section 4).
//!
//! Each prefix of a peer's coordinates holds the best two candidates at or below it, so that the peer
//! nearest to a destination is found by walking the destination's coordinates. The second candidate
//! serves frames that came from the first.
//!
//! Every prefix has a number that is never used again. The index finds a prefix by its parent's
//! number and its own last port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::{Coordinates, PublicKey};

use crate::hop::NextHop;
use crate::index::Index;
use crate::port::PortId;

/// The part of a snapshot that tree lookups read.
#[derive(Clone, Debug, Default)]
pub(crate) struct TreeTable {
    /// The best of all candidates: those at the empty prefix.
    all: Best,
    prefixes: Index<Prefix>,
    /// The prefixes along the node's own coordinates, which most destinations share in part.
    own: Arc<[Prefix]>,
}

/// The best candidate, and the best for frames that came from that candidate's port.
type Best = [Option<Candidate>; 2];

#[derive(Clone, Debug, Default)]
struct Prefix {
    number: u64,
    best: Best,
}

/// A peer's place in the trie. The order of the fields is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Length of its coordinates.
    depth: u32,
    preference: u64,
    port: PortId,
}

impl Candidate {
    /// Sorts before every candidate.
    const FIRST: Self = Self {
        depth: 0,
        preference: 0,
        port: PortId(0),
    };

    fn new(port: PortId, place: &Place) -> Self {
        Self {
            depth: place.coordinates.depth() as u32,
            preference: place.preference,
            port,
        }
    }
}

/// The writer's state behind a [`TreeTable`].
#[derive(Debug, Default)]
pub(crate) struct TreeBuilder {
    places: BTreeMap<PortId, Place>,
    /// The candidates at or below each prefix, by its number, best first. One set, as most prefixes
    /// have a single candidate.
    candidates: BTreeSet<(u64, Candidate)>,
    /// The numbers of the prefixes.
    numbers: BTreeMap<Edge, u64>,
    /// The number given out last.
    last: u64,
    /// Set if prefixes in the table have changed since they were last traced.
    changed: bool,
}

/// A peer's coordinates, as the control plane programmed them.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    coordinates: Coordinates,
    preference: u64,
}

/// A prefix by its parent's number and its last port.
type Edge = (u64, u64);

/// The number of the empty prefix.
const EMPTY: u64 = 0;

impl TreeTable {
    /// Returns the port towards `destination` for a frame from `ingress`, at a node with the coordinates
    /// `own`.
    pub(crate) fn next_hop(
        &self,
        own: &Coordinates,
        ingress: PortId,
        destination: CoordinatesView<'_>,
    ) -> NextHop {
        let bytes = destination.as_bytes();
        // The last byte of each number is the only one without the high bit.
        let depth = bytes.iter().filter(|&&b| b < 0x80).count();
        let mut nearest = None;
        let mut consider = |best: &Best, common: usize| {
            let other = best.iter().flatten().find(|c| c.port != ingress);
            let found =
                other.map(|c| (c.depth as usize + depth - 2 * common, c.preference, c.port));
            nearest = [nearest, found].into_iter().flatten().min();
        };
        consider(&self.all, 0);
        let mut prefix = Some(EMPTY);
        let mut ours = Some(own.ports());
        let mut common = 0;
        for (walked, port) in destination.ports().enumerate() {
            ours = ours
                .and_then(<[u64]>::split_first)
                .and_then(|(first, rest)| (*first == port).then_some(rest));
            common += usize::from(ours.is_some());
            prefix = prefix.and_then(|number| {
                let found = match ours {
                    Some(_) => self.own.get(walked)?,
                    None => self.prefixes.get(&edge_key((number, port)))?,
                };
                consider(&found.best, walked + 1);
                Some(found.number)
            });
            if prefix.is_none() && ours.is_none() {
                break;
            }
        }
        if common == depth && common == own.depth() {
            return NextHop::Local;
        }
        let own_distance = own.depth() + depth - 2 * common;
        match nearest {
            Some((distance, .., port)) if distance < own_distance => NextHop::Port(port),
            _ => NextHop::None,
        }
    }
}

impl TreeTable {
    /// Looks up the prefixes along the node's own coordinates.
    pub(crate) fn trace(&mut self, own: &Coordinates) {
        let mut parent = EMPTY;
        let prefixes = own.ports().iter().map_while(|&port| {
            let found = self.prefixes.get(&edge_key((parent, port)))?;
            parent = found.number;
            Some(found.clone())
        });
        self.own = prefixes.collect();
    }
}

impl TreeBuilder {
    /// Adds a peer's coordinates, or replaces them. Returns whether anything changed.
    pub(crate) fn insert(
        &mut self,
        table: &mut TreeTable,
        port: PortId,
        coordinates: Coordinates,
        preference: u64,
    ) -> bool {
        let place = Place {
            coordinates,
            preference,
        };
        if self.places.get(&port) == Some(&place) {
            return false;
        }
        self.remove(table, port);
        let candidate = Candidate::new(port, &place);
        self.candidates.insert((EMPTY, candidate));
        table.all = self.best(EMPTY);
        let mut parent = EMPTY;
        for &port in place.coordinates.ports() {
            let edge = (parent, port);
            let number = *self.numbers.entry(edge).or_insert_with(|| {
                self.last += 1;
                self.last
            });
            self.candidates.insert((number, candidate));
            self.update_prefix(table, edge, number, candidate);
            parent = number;
        }
        self.places.insert(port, place);
        true
    }

    /// Removes a peer's coordinates. Returns whether there were any.
    pub(crate) fn remove(&mut self, table: &mut TreeTable, port: PortId) -> bool {
        let Some(place) = self.places.remove(&port) else {
            return false;
        };
        let candidate = Candidate::new(port, &place);
        self.candidates.remove(&(EMPTY, candidate));
        table.all = self.best(EMPTY);
        let mut parent = EMPTY;
        for &port in place.coordinates.ports() {
            let edge = (parent, port);
            let Some(&number) = self.numbers.get(&edge) else {
                break;
            };
            self.candidates.remove(&(number, candidate));
            self.update_prefix(table, edge, number, candidate);
            parent = number;
        }
        true
    }

    /// Traces the node's own path anew if prefixes have changed.
    pub(crate) fn trace(&mut self, table: &mut TreeTable, own: &Coordinates) {
        if std::mem::take(&mut self.changed) {
            table.trace(own);
        }
    }

    /// Removes the coordinates of all peers. Returns whether there were any.
    pub(crate) fn clear(&mut self, table: &mut TreeTable) -> bool {
        let present = !self.places.is_empty();
        self.places.clear();
        self.candidates.clear();
        self.numbers.clear();
        *table = TreeTable::default();
        present
    }

    /// Updates a prefix in the table after `changed` was added to it or removed from it, if that
    /// changes the best two.
    fn update_prefix(
        &mut self,
        table: &mut TreeTable,
        edge: Edge,
        number: u64,
        changed: Candidate,
    ) {
        let best = self.best(number);
        if best[0].is_none() {
            self.numbers.remove(&edge);
            table.prefixes.remove(&edge_key(edge));
        } else if best[1].is_none_or(|second| changed <= second) {
            let prefix = Prefix { number, best };
            table.prefixes.insert(edge_key(edge), prefix);
        } else {
            return;
        }
        self.changed = true;
    }

    /// Returns the best two candidates at or below the prefix `number`.
    fn best(&self, number: u64) -> Best {
        let from = self.candidates.range((number, Candidate::FIRST)..);
        let mut best = from
            .take_while(|(of, _)| *of == number)
            .map(|(_, candidate)| *candidate);
        [best.next(), best.next()]
    }
}

/// The index key of a prefix: both numbers, behind eight bytes that spread them.
fn edge_key((parent, port): Edge) -> PublicKey {
    let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = spread(spread(parent).rotate_left(32) ^ port);
    let mut key = PublicKey::MIN;
    for (to, number) in key.0.chunks_exact_mut(8).zip([mixed, parent, port]) {
        to.copy_from_slice(&number.to_be_bytes());
    }
    key
}
