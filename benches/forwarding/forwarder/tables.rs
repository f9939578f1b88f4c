//! The forwarding tables of a router.

use pinecone_fib::{Fib, FibWriter, PortId};
use pinecone_wire::PublicKey;

use crate::traffic::{Fill, route_key, route_sequence};

/// The forwarding tables of a router.
pub struct Tables {
    _writer: FibWriter,
    pub fib: Fib,
}

impl Tables {
    /// Creates tables for a number of connections in and out. Route `r` leads to the connection out with
    /// the index `r % peers`.
    pub fn new(peers: usize, routes: usize, fill: Fill) -> Self {
        let (mut writer, fib) = FibWriter::new(PublicKey([0x55; 32]));
        for route in 0..routes {
            let port = PortId((peers + 1 + route % peers) as u32);
            writer.set_route(route_key(route), port, route_sequence(route, fill));
        }
        writer.publish();
        Self {
            _writer: writer,
            fib,
        }
    }
}
