//! Whole nodes, in one process and over loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backpressure;
mod bad_peers;
mod cancelling;
mod endpoints;
mod events;
mod failure;
mod harness;
mod many;
mod options;
mod pair;
mod paths;
mod relayed;
mod static_peers;
mod traffic;
mod verifying;
