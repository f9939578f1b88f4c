//! The lookups of the tables and the decisions about frames, in random worlds against a model that
//! scans.

#![allow(clippy::unwrap_used)]

#[path = "lookups/frames.rs"]
mod frames;
#[path = "lookups/journeys.rs"]
mod journeys;
#[path = "lookups/model.rs"]
mod model;
#[path = "lookups/publication.rs"]
mod publication;
#[path = "lookups/worlds.rs"]
mod worlds;

use pinecone_fib::{NextHop, PortId, Snapshot};
use pinecone_wire::Coordinates;
use pinecone_wire::coordinates::CoordinatesView;

/// Returns the next hop by the tree.
fn tree(snapshot: &Snapshot, ingress: PortId, to: &Coordinates) -> NextHop {
    let mut body = Vec::new();
    to.push_body(&mut body);
    snapshot.tree(ingress, CoordinatesView::new(&body).unwrap())
}
