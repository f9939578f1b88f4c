//! The RIB and the FIB that it programs: recorded decisions, and random worlds against a model that scans.

mod model;
mod vectors;
mod worlds;

use pinecone_fib::{LinkType, NextHop, Snapshot};
use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::{Announcement, varu64};

use super::*;

const LINKS: [LinkType; 5] = [
    LinkType::Pipe,
    LinkType::Multicast,
    LinkType::Bonjour,
    LinkType::Remote,
    LinkType::Bluetooth,
];

/// A peer and its announcement.
#[derive(Clone, Debug)]
struct Peer {
    key: PublicKey,
    link: LinkType,
    root: (PublicKey, u64),
    order: u64,
    /// Port and key of each signer, the root's first.
    signers: Vec<(u64, PublicKey)>,
}

impl Peer {
    fn adjacency(&self) -> Adjacency {
        let mut payload = self.root.0.as_bytes().to_vec();
        varu64::push(&mut payload, self.root.1);
        for (port, key) in &self.signers {
            varu64::push(&mut payload, *port);
            payload.extend_from_slice(key.as_bytes());
            payload.extend_from_slice(&[0; 64]);
        }
        let announcement = Announcement::decode(&payload).unwrap();
        Adjacency {
            key: self.key,
            link: self.link,
            announced: Announced {
                peer_coordinates: announcement.peer_coordinates(),
                announcement,
                received: Duration::ZERO,
                order: self.order,
                unfit: false,
            },
        }
    }
}

fn route(key: PublicKey, source: PortId, sequence: u64) -> Route {
    Route {
        key,
        source,
        destination: None,
        sequence,
        last_seen: Duration::ZERO,
        told: false,
        corrected: false,
        recent: 0,
    }
}

fn tree(snapshot: &Snapshot, ingress: PortId, to: &Coordinates) -> NextHop {
    let mut body = Vec::new();
    to.push_body(&mut body);
    snapshot.tree(ingress, CoordinatesView::new(&body).unwrap())
}
