//! Tests of the wire format with recorded vectors, and of decoding what was encoded.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod announcements;
mod arbitrary_bytes;
mod bodies;
mod frames;
mod handshakes;
mod proofs;
mod recorded;
mod round_trips;
mod signatures;
mod snek_patch;
mod stream;
mod values;
