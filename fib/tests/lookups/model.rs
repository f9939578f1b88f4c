//! The lookups as protocol.md describes them: loops over everything.

use std::collections::{BTreeMap, BTreeSet};

use pinecone_fib::{Decision, NextHop, PortId, Rescue, SnekHop, Undeliverable, forward_decision};
use pinecone_wire::{Coordinates, PublicKey, Watermark};

use crate::frames::Outcome;

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) own: PublicKey,
    pub(crate) coordinates: Coordinates,
    pub(crate) up: Option<(PublicKey, PortId)>,
    pub(crate) own_key_port: Option<PortId>,
    pub(crate) near: BTreeMap<PublicKey, PortId>,
    /// Coordinates and preference of each peer.
    pub(crate) peers: BTreeMap<PortId, (Coordinates, u64)>,
    pub(crate) routes: BTreeMap<PublicKey, (PortId, u64)>,
    /// Routes that expired a moment ago.
    pub(crate) expired: BTreeMap<PublicKey, (PortId, u64)>,
}

impl Model {
    pub(crate) fn snek(&self, to: &PublicKey, watermark: &Watermark) -> SnekHop {
        if *to == self.own {
            return SnekHop {
                next: NextHop::Local,
                watermark: *watermark,
            };
        }
        let (mut best, mut next, mut sequence) = match self.up {
            Some((root, port)) if self.own < *to && *to < root => (root, NextHop::Port(port), 0),
            _ => {
                let next = self.own_key_port.map_or(NextHop::Local, NextHop::Port);
                (self.own, next, 0)
            }
        };
        let better = |best: PublicKey, key: PublicKey| {
            (key == *to && best != *to) || (*to < key && key < best)
        };
        for (&key, &port) in &self.near {
            if better(best, key) {
                (best, next) = (key, NextHop::Port(port));
            }
        }
        for (&key, &(source, s)) in &self.routes {
            let worse = Watermark { key, sequence: s }.is_worse_than(watermark);
            if !worse && better(best, key) {
                (best, next, sequence) = (key, NextHop::Port(source), s);
            }
        }
        SnekHop {
            next,
            watermark: Watermark {
                key: best,
                sequence,
            },
        }
    }

    pub(crate) fn forward(&self, ingress: PortId, to: &PublicKey, before: &Watermark) -> Outcome {
        if *to == self.own {
            return Outcome::Deliver;
        }
        let hop = self.snek(to, before);
        let dropped = match forward_decision(ingress, before, &hop) {
            Decision::Deliver => return Outcome::Deliver,
            Decision::DeadEnd => return Outcome::Drop(Undeliverable::NoRoute),
            Decision::Send(port) => {
                return Outcome::Send {
                    port,
                    watermark: hop.watermark,
                    rescue: None,
                };
            }
            Decision::DropBackwards => Undeliverable::Backwards,
            Decision::DropWatermark => Undeliverable::Watermark,
        };
        let expired = || Some((self.follow_expired(ingress, before)?, Rescue::ExpiredRoute));
        let detour = || Some((self.detour(ingress, to, before)?, Rescue::Detour));
        match expired().or_else(detour) {
            Some(((port, watermark), rescue)) => Outcome::Send {
                port,
                watermark,
                rescue: Some(rescue),
            },
            None => Outcome::Drop(dropped),
        }
    }

    /// Reports whether a route leads along the path that the watermark names.
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
        let known: BTreeSet<PublicKey> = self
            .near
            .keys()
            .chain(self.routes.keys())
            .copied()
            .collect();
        let bound = match self.up {
            Some((root, _)) if self.own < *to && *to < root => root,
            _ => self.own,
        };
        for key in known.range(*to..).take(16) {
            if key != to && *key >= bound {
                return None;
            }
            let near = self.near.get(key).map(|port| (*port, 0));
            for (port, sequence) in near.into_iter().chain(self.routes.get(key).copied()) {
                let watermark = Watermark {
                    key: *key,
                    sequence,
                };
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
        self.peers
            .iter()
            .filter(|(port, _)| **port != ingress)
            .filter_map(|(&port, (coordinates, preference))| {
                let distance = coordinates.distance(to);
                let closer = distance < self.coordinates.distance(to);
                closer.then_some((distance, *preference, port))
            })
            .min()
            .map_or(NextHop::None, |(.., port)| NextHop::Port(port))
    }
}
