//! Next hops as protocol.md describes them: loops over everything, with the ties that it leaves open
//! resolved by sorting.

use std::collections::{BTreeMap, BTreeSet};

use pinecone_fib::{LinkType, NextHop, PortId, SnekHop};
use pinecone_wire::{Coordinates, PublicKey, Watermark};

use super::Peer;
use crate::rib::BootstrapHop;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Traffic,
    Bootstrap,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) own: PublicKey,
    pub(super) peers: BTreeMap<PortId, Peer>,
    pub(super) parent: Option<PortId>,
    pub(super) root: (PublicKey, u64),
    pub(super) coordinates: Coordinates,
    pub(super) routes: BTreeMap<PublicKey, (PortId, u64)>,
}

impl Model {
    pub(super) fn snek(&self, kind: Kind, to: &PublicKey, watermark: &Watermark) -> SnekHop {
        let traffic = kind == Kind::Traffic;
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
        if let Some((port, parent)) = self.parent() {
            let root = parent.root.0;
            if (!traffic && own == to) || (own < to && to < root) {
                (best, next) = (root, NextHop::Port(port));
            }
            for &(_, key) in &parent.signers {
                if better(best, key) {
                    (best, next) = (key, NextHop::Port(port));
                }
            }
        }
        let mut all: Vec<(usize, LinkType, u64, PortId, PublicKey)> = Vec::new();
        for (&port, peer) in &self.peers {
            for (steps, &(_, key)) in peer.signers.iter().rev().enumerate() {
                all.push((steps, peer.link, peer.order, port, key));
            }
        }
        all.sort();
        for (.., port, key) in all {
            if better(best, key) {
                (best, next) = (key, NextHop::Port(port));
            }
        }
        let direct = |key: PublicKey| {
            self.peers
                .iter()
                .filter(|(_, peer)| peer.key == key)
                .min_by_key(|(port, peer)| (peer.link, peer.order, **port))
                .map(|(port, _)| NextHop::Port(*port))
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

    pub(super) fn detour(&self, key: &PublicKey, ingress: PortId) -> Option<BootstrapHop> {
        let (bound, last) = match self.parent() {
            Some((
                port,
                Peer {
                    root: (root, _), ..
                },
            )) if *key == self.own || (self.own < *key && key < root) => (
                *root,
                Some(self.near_ports(root).first().copied().unwrap_or(port)),
            ),
            _ => {
                let direct = |port: &PortId| self.peers[port].key == self.own;
                let ports = self.near_ports(&self.own);
                (self.own, ports.first().copied().filter(direct))
            }
        };
        for above in self.known_above(key).into_iter().take(16) {
            if above >= bound {
                break;
            }
            let near = self.near_ports(&above).first().map(|port| (*port, 0));
            let hops = near.into_iter().chain(self.routes.get(&above).copied());
            for (port, sequence) in hops {
                if port != ingress {
                    return Some(hop(port, above, sequence));
                }
            }
        }
        last.map(|port| hop(port, bound, 0))
    }

    pub(super) fn around(&self, key: &PublicKey, avoided: &[PortId]) -> Option<BootstrapHop> {
        let mut hops = Vec::new();
        for above in self.known_above(key) {
            if *key < self.own && above >= self.own {
                break;
            }
            let near = self.near_ports(&above);
            hops.extend(near.into_iter().map(|port| hop(port, above, 0)));
            let route = self.routes.get(&above);
            hops.extend(route.map(|&(port, sequence)| hop(port, above, sequence)));
        }
        hops.truncate(16);
        let root = self.root.0;
        if *key >= self.own && *key < root {
            let near = self.near_ports(&root).into_iter().take(16);
            hops.extend(near.map(|port| hop(port, root, 0)));
        }
        hops.retain(|hop| !avoided.contains(&hop.port));
        let mut passed = vec![self.own];
        passed.extend(
            avoided
                .iter()
                .filter_map(|port| Some(self.peers.get(port)?.key)),
        );
        let is_apart = |hop: &&BootstrapHop| {
            let peer = self.peers.get(&hop.port);
            let passes = |peer: &Peer| peer.signers.iter().any(|(_, key)| passed.contains(key));
            hop.watermark.sequence != 0 || !peer.is_some_and(passes)
        };
        hops.iter().find(is_apart).or(hops.first()).copied()
    }

    /// Returns the ports of the peers that have or announced `key`, best first.
    fn near_ports(&self, key: &PublicKey) -> Vec<PortId> {
        let mut ranked = Vec::new();
        for (&port, peer) in &self.peers {
            let mut signers = peer.signers.iter().rev();
            if let Some(steps) = signers.position(|(_, signer)| signer == key) {
                let direct = peer.key == *key;
                let rank = match direct {
                    true => (0, 0),
                    false => (1 + u8::from(self.parent != Some(port)), steps),
                };
                ranked.push((rank, peer.link, peer.order, port));
            }
        }
        ranked.sort();
        ranked.into_iter().map(|(.., port)| port).collect()
    }

    /// Returns the keys above `key` that peers have announced or that have a route, lowest first.
    fn known_above(&self, key: &PublicKey) -> BTreeSet<PublicKey> {
        let signers = self.peers.values().flat_map(|peer| &peer.signers);
        let announced = signers.map(|(_, key)| key);
        let known = announced.chain(self.routes.keys());
        known.filter(|known| *known > key).copied().collect()
    }

    pub(super) fn tree(&self, ingress: PortId, to: &Coordinates) -> NextHop {
        if *to == self.coordinates {
            return NextHop::Local;
        }
        self.peers
            .iter()
            .filter(|(port, peer)| **port != ingress && peer.root == self.root)
            .filter_map(|(&port, peer)| {
                let (_, above) = peer.signers.split_last()?;
                let place: Vec<u64> = above.iter().map(|s| s.0).collect();
                let distance = Coordinates::from(place).distance(to);
                let closer = distance < self.coordinates.distance(to);
                closer.then_some((distance, peer.link, peer.order, port))
            })
            .min()
            .map_or(NextHop::None, |(.., port)| NextHop::Port(port))
    }

    fn parent(&self) -> Option<(PortId, &Peer)> {
        let port = self.parent?;
        Some((port, self.peers.get(&port)?))
    }
}

fn hop(port: PortId, key: PublicKey, sequence: u64) -> BootstrapHop {
    BootstrapHop {
        port,
        watermark: Watermark { key, sequence },
    }
}
