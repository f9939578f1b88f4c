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

/// What the control side keeps to keep [`TreeTable`] up to date.
#[derive(Debug, Default)]
pub(super) struct TreeBuilder {
    all: BTreeSet<Candidate>,
    prefixes: BTreeMap<Edge, Below>,
    /// The number given out last; 0 is the empty prefix's.
    last: u64,
    /// Prefixes in the table have changed since they were last traced.
    changed: bool,
}

/// A prefix by its parent's number and its last port.
type Edge = (u64, u64);

#[derive(Debug)]
struct Below {
    number: u64,
    candidates: BTreeSet<Candidate>,
}

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
        let mut prefix = Some(0);
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
        let mut parent = 0;
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
        self.all.insert(candidate);
        table.all = best(&self.all);
        let mut parent = 0;
        for port in coordinates {
            let below = self.prefixes.entry((parent, port)).or_insert_with(|| {
                self.last += 1;
                Below {
                    number: self.last,
                    candidates: BTreeSet::new(),
                }
            });
            below.candidates.insert(candidate);
            self.changed |= below.show(table, (parent, port), candidate);
            parent = below.number;
        }
    }

    /// Takes out what [`Self::add`] added with the same arguments.
    pub(super) fn remove(&mut self, table: &mut TreeTable, port: PortId, peer: &PeerEntry) {
        let Some((candidate, coordinates)) = candidate(port, peer) else {
            return;
        };
        self.all.remove(&candidate);
        table.all = best(&self.all);
        let mut parent = 0;
        for port in coordinates {
            let edge = (parent, port);
            let Some(below) = self.prefixes.get_mut(&edge) else {
                return;
            };
            parent = below.number;
            below.candidates.remove(&candidate);
            if below.candidates.is_empty() {
                self.prefixes.remove(&edge);
                table.prefixes.remove(&edge_key(edge));
                self.changed = true;
            } else {
                self.changed |= below.show(table, edge, candidate);
            }
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
        self.all.clear();
        self.prefixes.clear();
        *table = TreeTable::default();
    }
}

impl Below {
    /// Brings the table up to date after `changed` came or went, if that makes a difference.
    fn show(&self, table: &mut TreeTable, edge: Edge, changed: Candidate) -> bool {
        let best = best(&self.candidates);
        let shows = best[1].is_none_or(|second| changed <= second);
        if shows {
            let number = self.number;
            table
                .prefixes
                .insert(edge_key(edge), Prefix { number, best });
        }
        shows
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

fn best(candidates: &BTreeSet<Candidate>) -> Best {
    let mut best = candidates.iter().copied();
    [best.next(), best.next()]
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
