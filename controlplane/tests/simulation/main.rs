//! Whole networks of control planes in virtual time, on the simulator of `pinecone-sim`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod clocks;
mod net;
mod repair;
