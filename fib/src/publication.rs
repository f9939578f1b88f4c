//! The latest snapshot, which one thread replaces and others load.

#[cfg(not(all(test, loom)))]
pub(crate) use arc_swap::{ArcSwap, Cache};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::Arc;

#[cfg(all(test, loom))]
pub(crate) use loom::sync::Arc;
#[cfg(all(test, loom))]
pub(crate) use stand_in::{ArcSwap, Cache};

#[cfg(all(test, loom))]
mod stand_in;
