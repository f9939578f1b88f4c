//! Both lookups as protocol.md tells them: loops over everything, with the ties that it leaves
//! open resolved by sorting.

use std::collections::BTreeMap;

use pinecone_dataplane::fib::{NextHop, PeerAnnouncement, PeerEntry, SnekHop, SnekKind};
use pinecone_dataplane::{LinkType, PortId};
use pinecone_wire::{Coordinates, PublicKey, Watermark};

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) own: PublicKey,
    pub(crate) peers: BTreeMap<PortId, PeerEntry>,
    pub(crate) parent: Option<PortId>,
    pub(crate) root: (PublicKey, u64),
    pub(crate) coordinates: Coordinates,
    pub(crate) routes: BTreeMap<PublicKey, (PortId, u64)>,
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
