//! Floods, replays, forgeries, and the limits on the tables of the control plane.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bench;
mod breaks;
mod broadcasts;
mod clocks;
mod own_key;
mod paths;
mod peers;
mod priorities;
mod snake;
mod tree;
