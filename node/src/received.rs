//! Payloads that have arrived.

use bytes::Bytes;
use pinecone_wire::PublicKey;

/// A payload that arrived at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The key that the payload claims to be from, without proof.
    pub source: PublicKey,
    /// The key that the payload is for: the node's own, unless it
    /// [receives for any key](crate::ReceiveFor::AnyKey).
    pub destination: PublicKey,
    /// The payload.
    pub payload: Bytes,
}
