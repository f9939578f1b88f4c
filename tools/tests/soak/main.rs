//! A real daemon under many kinds of misbehaving peers at once, and its memory use.
//! These tests have a process of their own, one after the other: they load the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

#[path = "../program/daemon.rs"]
mod daemon;
mod ledger;
mod memory;
mod misbehaviour;
mod neighbours;
#[path = "../program/raw_peer.rs"]
mod raw_peer;
mod soak;
#[path = "../program/traffic.rs"]
mod traffic;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits until no other test runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
