//! Peers' coordinates by prefix: for each, the best two candidates at or below it, so that the
//! nearest to a destination is found by walking its coordinates (protocol section 4).
//!
//! Every prefix has a number, given out once and never again, and is found by its parent's number
//! and its last port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::{Coordinates, PublicKey};

use super::index::Index;
use super::{NextHop, PeerEntry};
use crate::{LinkType, PortId};

/// The part of a snapshot that tree lookups read.
#[derive(Clone, Debug, Default)]
pub(super) struct TreeTable {
    /// All candidates' best, which is the empty prefix's.
    all: Best,
    prefixes: Index<Prefix>,
    /// Those of our own coordinates, as far as there are any: most destinations share some.
    own: Arc<[Prefix]>,
}

/// The best candidate, and the best for frames that came from that one's port.
type Best = [Option<Candidate>; 2];

#[derive(Clone, Debug, Default)]
struct Prefix {
    number: u64,
    best: Best,
}

/// A peer that follows our root. The order of fields is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Length of its coordinates.
    depth: u32,
    link: LinkType,
    order: u64,
    port: PortId,
}

impl Candidate {
    /// No candidate comes before this one.
    const FIRST: Self = Self {
        depth: 0,
        link: LinkType::Pipe,
        order: 0,
        port: PortId(0),
    };
}

/// What the control side keeps to keep [`TreeTable`] up to date.
#[derive(Debug, Default)]
pub(super) struct TreeBuilder {
    /// By the number of each prefix that they are at or below, best first. One set, as most prefixes
    /// have a single candidate.
    candidates: BTreeSet<(u64, Candidate)>,
    /// The numbers of the prefixes.
    numbers: BTreeMap<Edge, u64>,
    /// The number given out last.
    last: u64,
    /// Prefixes in the table have changed since they were last traced.
    changed: bool,
}

/// A prefix by its parent's number and its last port.
type Edge = (u64, u64);

/// The number of the empty prefix.
const EMPTY: u64 = 0;

impl TreeTable {
    /// The port towards `destination`, from a node at `own`, for a frame from `ingress`.
    pub(super) fn next_hop(
        &self,
        own: &Coordinates,
        ingress: PortId,
        destination: CoordinatesView<'_>,
    ) -> NextHop {
        let bytes = destination.as_bytes();
        // Every number ends in the one byte of it that lacks the high bit.
        let depth = bytes.iter().filter(|&&b| b < 0x80).count();
        let mut nearest = None;
        let mut consider = |best: &Best, common: usize| {
            let other = best.iter().flatten().find(|c| c.port != ingress);
            let found = other.map(|c| {
                (
                    c.depth as usize + depth - 2 * common,
                    c.link,
                    c.order,
                    c.port,
                )
            });
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
    /// Brings what is known of our own path up to date, after a change of it.
    pub(super) fn trace(&mut self, own: &Coordinates) {
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
    /// Adds a peer's coordinates. It must follow our root, and have been removed if it was there.
    pub(super) fn add(&mut self, table: &mut TreeTable, port: PortId, peer: &PeerEntry) {
        let Some((candidate, coordinates)) = candidate(port, peer) else {
            return;
        };
        self.candidates.insert((EMPTY, candidate));
        table.all = self.best(EMPTY);
        let mut parent = EMPTY;
        for port in coordinates {
            let edge = (parent, port);
            let number = *self.numbers.entry(edge).or_insert_with(|| {
                self.last += 1;
                self.last
            });
            self.candidates.insert((number, candidate));
            self.show(table, edge, number, candidate);
            parent = number;
        }
    }

    /// Takes out what [`Self::add`] added with the same arguments.
    pub(super) fn remove(&mut self, table: &mut TreeTable, port: PortId, peer: &PeerEntry) {
        let Some((candidate, coordinates)) = candidate(port, peer) else {
            return;
        };
        self.candidates.remove(&(EMPTY, candidate));
        table.all = self.best(EMPTY);
        let mut parent = EMPTY;
        for port in coordinates {
            let edge = (parent, port);
            let Some(&number) = self.numbers.get(&edge) else {
                return;
            };
            self.candidates.remove(&(number, candidate));
            self.show(table, edge, number, candidate);
            parent = number;
        }
    }

    /// Brings what is known of our own path up to date, after changes of the candidates.
    pub(super) fn trace(&mut self, table: &mut TreeTable, own: &Coordinates) {
        if std::mem::take(&mut self.changed) {
            table.trace(own);
        }
    }

    /// Forgets all peers.
    pub(super) fn clear(&mut self, table: &mut TreeTable) {
        self.candidates.clear();
        self.numbers.clear();
        *table = TreeTable::default();
    }

    /// Brings the table up to date after `changed` came to or went from the prefix `number`, if that
    /// makes a difference.
    fn show(&mut self, table: &mut TreeTable, edge: Edge, number: u64, changed: Candidate) {
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

    /// The best two candidates at or below the prefix `number`.
    fn best(&self, number: u64) -> Best {
        let from = self.candidates.range((number, Candidate::FIRST)..);
        let mut best = from
            .take_while(|(of, _)| *of == number)
            .map(|(_, candidate)| *candidate);
        [best.next(), best.next()]
    }
}

/// What a peer stands for in the table, and its coordinates.
fn candidate(port: PortId, peer: &PeerEntry) -> Option<(Candidate, impl Iterator<Item = u64>)> {
    let announcement = peer.announcement.as_ref()?;
    let (_, above) = announcement.signers.split_last()?;
    let candidate = Candidate {
        depth: above.len() as u32,
        link: peer.link,
        order: announcement.order,
        port,
    };
    Some((candidate, above.iter().map(|&(port, _)| port)))
}

/// Where the index has a prefix: both numbers, behind eight bytes that spread them.
fn edge_key((parent, port): Edge) -> PublicKey {
    let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = spread(spread(parent).rotate_left(32) ^ port);
    let mut key = PublicKey::MIN;
    for (to, number) in key.0.chunks_exact_mut(8).zip([mixed, parent, port]) {
        to.copy_from_slice(&number.to_be_bytes());
    }
    key
}
