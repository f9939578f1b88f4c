//! Both lookups as protocol.md tells them: loops over everything, with the ties that it leaves
//! open resolved by sorting.

use std::collections::{BTreeMap, BTreeSet};

use pinecone_fib::{
    Decision, NextHop, PeerAnnouncement, PeerEntry, Rescue, SnekHop, SnekKind, Verdict,
    forward_decision,
};
use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{Coordinates, PublicKey, Watermark};

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) own: PublicKey,
    pub(crate) peers: BTreeMap<PortId, PeerEntry>,
    pub(crate) parent: Option<PortId>,
    pub(crate) root: (PublicKey, u64),
    pub(crate) coordinates: Coordinates,
    pub(crate) routes: BTreeMap<PublicKey, (PortId, u64)>,
    /// Routes that expired a moment ago.
    pub(crate) expired: BTreeMap<PublicKey, (PortId, u64)>,
}

impl Model {
    fn announced(&self) -> impl Iterator<Item = (PortId, &PeerEntry, &PeerAnnouncement)> {
        self.peers
            .iter()
            .filter_map(|(&port, p)| Some((port, p, p.announcement.as_ref()?)))
    }

    pub(crate) fn snek(&self, kind: SnekKind, to: &PublicKey, watermark: &Watermark) -> SnekHop {
        let traffic = kind == SnekKind::Traffic;
        let (own, to) = (self.own, *to);
        if traffic && to == own {
            return SnekHop {
                next: NextHop::Local,
                watermark: *watermark,
            };
        }
        let nowhere = if traffic {
            NextHop::Local
        } else {
            NextHop::None
        };
        let (mut best, mut next, mut sequence) = (own, nowhere, 0);
        let better = |best: PublicKey, key: PublicKey| {
            (traffic && key == to && best != to) || (to < key && key < best)
        };
        let parent = self
            .parent
            .and_then(|p| self.announced().find(|a| a.0 == p));
        if let Some((port, _, a)) = parent {
            if (!traffic && own == to) || (own < to && to < a.root) {
                (best, next) = (a.root, NextHop::Port(port));
            }
            for &(_, key) in &a.signers {
                if better(best, key) {
                    (best, next) = (key, NextHop::Port(port));
                }
            }
        }
        let mut all: Vec<(usize, LinkType, u64, PortId, PublicKey)> = Vec::new();
        for (port, peer, a) in self.announced() {
            for (steps, &(_, key)) in a.signers.iter().rev().enumerate() {
                all.push((steps, peer.link, a.order, port, key));
            }
        }
        all.sort();
        for (.., port, key) in all {
            if better(best, key) {
                (best, next) = (key, NextHop::Port(port));
            }
        }
        let direct = |key: PublicKey| {
            self.announced()
                .filter(|(_, p, _)| p.key == key)
                .min_by_key(|(port, p, a)| (p.link, a.order, *port))
                .map(|(port, ..)| NextHop::Port(port))
        };
        next = direct(best).unwrap_or(next);
        for (&key, &(source, s)) in &self.routes {
            let worse = Watermark { key, sequence: s }.is_worse_than(watermark);
            if !worse && better(best, key) {
                (best, next, sequence) = (key, NextHop::Port(source), s);
            }
        }
        next = direct(best).unwrap_or(next);
        SnekHop {
            next,
            watermark: Watermark {
                key: best,
                sequence,
            },
        }
    }

    pub(crate) fn forward(&self, ingress: PortId, to: &PublicKey, before: &Watermark) -> Verdict {
        let hop = self.snek(SnekKind::Traffic, to, before);
        let decision = forward_decision(ingress, before, &hop);
        let dropped = [Decision::DropBackwards, Decision::DropWatermark].contains(&decision);
        let expired = || Some((self.follow_expired(ingress, before)?, Rescue::ExpiredRoute));
        let detour = || Some((self.detour(ingress, to, before)?, Rescue::Detour));
        match dropped.then(|| expired().or_else(detour)).flatten() {
            Some(((port, watermark), rescue)) => Verdict {
                decision: Decision::Send(port),
                watermark,
                rescue: Some(rescue),
            },
            None => Verdict {
                decision,
                watermark: hop.watermark,
                rescue: None,
            },
        }
    }

    /// Whether a route leads along the path that the watermark names.
    pub(crate) fn has_route(&self, watermark: &Watermark) -> bool {
        let route = self.routes.get(&watermark.key);
        route.is_some_and(|(_, sequence)| *sequence == watermark.sequence)
    }

    fn follow_expired(&self, ingress: PortId, before: &Watermark) -> Option<(PortId, Watermark)> {
        let &(port, sequence) = self.expired.get(&before.key)?;
        let key = before.key;
        (port != ingress && sequence >= before.sequence)
            .then_some((port, Watermark { key, sequence }))
    }

    fn detour(
        &self,
        ingress: PortId,
        to: &PublicKey,
        before: &Watermark,
    ) -> Option<(PortId, Watermark)> {
        let start = Watermark::START;
        let routeless = Self {
            routes: BTreeMap::new(),
            ..self.clone()
        };
        let near = |key: PublicKey| {
            let found = routeless.snek(SnekKind::Traffic, &key, &start);
            match found.next {
                NextHop::Port(port) if found.watermark.key == key => Some((port, 0)),
                _ => None,
            }
        };
        let announced = self
            .announced()
            .flat_map(|(.., a)| a.signers.iter().map(|s| s.1));
        let known: BTreeSet<_> = announced.chain(self.routes.keys().copied()).collect();
        let root = self
            .parent
            .and_then(|p| self.announced().find(|a| a.0 == p))
            .map(|(.., a)| a.root);
        let bound = match root {
            Some(root) if self.own < *to && *to < root => root,
            _ => self.own,
        };
        for &key in known.range(*to..).take(16) {
            if key != *to && key >= bound {
                return None;
            }
            for (port, sequence) in [near(key), self.routes.get(&key).copied()]
                .into_iter()
                .flatten()
            {
                let watermark = Watermark { key, sequence };
                let follows = watermark == *before && sequence != 0;
                if port != ingress && (follows || before.is_worse_than(&watermark)) {
                    return Some((port, watermark));
                }
            }
        }
        None
    }

    pub(crate) fn tree(&self, ingress: PortId, to: &Coordinates) -> NextHop {
        if *to == self.coordinates {
            return NextHop::Local;
        }
        self.announced()
            .filter(|a| a.0 != ingress)
            .filter(|(.., a)| (a.root, a.root_sequence) == self.root)
            .filter_map(|(port, p, a)| {
                let (_, above) = a.signers.split_last()?;
                let place: Vec<u64> = above.iter().map(|s| s.0).collect();
                let distance = Coordinates::from(place).distance(to);
                let closer = distance < self.coordinates.distance(to);
                closer.then_some((distance, p.link, a.order, port))
            })
            .min()
            .map_or(NextHop::None, |(.., port)| NextHop::Port(port))
    }
}
