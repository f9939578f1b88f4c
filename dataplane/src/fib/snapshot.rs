use std::collections::BTreeMap;

use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::{Coordinates, PublicKey, Watermark};

use super::{NextHop, PeerEntry, SnekHop, SnekKind, SnekQuery};
use crate::PortId;

/// The tables at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) own: PublicKey,
    pub(super) peers: BTreeMap<PortId, PeerEntry>,
    pub(super) parent: Option<PortId>,
    pub(super) position: (PublicKey, u64, Coordinates),
    pub(super) routes: BTreeMap<PublicKey, (PortId, u64)>,
}

impl Snapshot {
    /// The node's own key.
    #[must_use]
    pub fn own_key(&self) -> PublicKey {
        self.own
    }

    /// The node's own coordinates.
    #[must_use]
    pub fn coordinates(&self) -> &Coordinates {
        &self.position.2
    }

    /// How many SNEK routes there are.
    #[must_use]
    pub fn route_count(&self) -> usize {
        self.routes.len()
    }

    /// SNEK next hop (protocol section 6).
    #[must_use]
    pub fn snek(&self, kind: SnekKind, destination: &PublicKey, watermark: &Watermark) -> SnekHop {
        let traffic = kind == SnekKind::Traffic;
        let (own, to) = (self.own, *destination);
        let hop = |next, key, sequence| SnekHop {
            next,
            watermark: Watermark { key, sequence },
        };
        if traffic && to == own {
            return SnekHop {
                next: NextHop::Local,
                watermark: *watermark,
            };
        }
        let start = if traffic {
            NextHop::Local
        } else {
            NextHop::None
        };
        let mut best = hop(start, own, 0);
        let better = |best: &SnekHop, key: PublicKey| {
            (traffic && key == to && best.watermark.key != to)
                || (to < key && key < best.watermark.key)
        };
        let announced = || {
            self.peers
                .iter()
                .filter_map(|(&port, p)| p.announcement.as_ref().map(|a| (port, p, a)))
        };
        if let Some((port, _, a)) = announced().find(|&(port, ..)| Some(port) == self.parent) {
            if (!traffic && own == to) || (own < to && to < a.root) {
                best = hop(NextHop::Port(port), a.root, 0);
            }
            for &(_, key) in &a.signers {
                if better(&best, key) {
                    best = hop(NextHop::Port(port), key, 0);
                }
            }
        }
        for (port, _, a) in announced() {
            for &(_, key) in &a.signers {
                if better(&best, key) {
                    best = hop(NextHop::Port(port), key, 0);
                }
            }
        }
        for (&key, &(source, sequence)) in &self.routes {
            if !(Watermark { key, sequence }).is_worse_than(watermark) && better(&best, key) {
                best = hop(NextHop::Port(source), key, sequence);
            }
        }
        if let Some((port, ..)) = announced()
            .filter(|(_, p, _)| p.key == best.watermark.key)
            .min_by_key(|(port, p, a)| (p.link, a.order, *port))
        {
            best.next = NextHop::Port(port);
            best.watermark.sequence = 0;
        }
        best
    }

    /// Tree next hop (protocol section 4).
    #[must_use]
    pub fn tree(&self, ingress: PortId, destination: CoordinatesView<'_>) -> NextHop {
        let to = Coordinates::from(destination);
        let (root, sequence, own) = &self.position;
        if to == *own {
            return NextHop::Local;
        }
        self.peers
            .iter()
            .filter(|&(&port, _)| port != ingress)
            .filter_map(|(&port, p)| p.announcement.as_ref().map(|a| (port, p, a)))
            .filter(|(_, _, a)| a.root == *root && a.root_sequence == *sequence)
            .filter_map(|(port, p, a)| {
                let (_, place) = a.signers.split_last()?;
                let place: Vec<u64> = place.iter().map(|s| s.0).collect();
                let distance = Coordinates::from(place).distance(&to);
                (distance < own.distance(&to)).then_some((distance, p.link, a.order, port))
            })
            .min()
            .map_or(NextHop::None, |(.., port)| NextHop::Port(port))
    }

    /// As many traffic lookups at once as `queries` holds; the answers are appended to `out`.
    pub fn snek_batch(&self, queries: &[SnekQuery], out: &mut Vec<SnekHop>) {
        out.extend(
            queries
                .iter()
                .map(|q| self.snek(SnekKind::Traffic, &q.destination, &q.watermark)),
        );
    }
}
