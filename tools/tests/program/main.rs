//! The program as its users run it: real processes, real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod bad_input;
mod bench;
mod clocks;
mod command_line;
mod daemon;
mod dialling;
mod idle;
mod logs;
mod mixed;
mod namespaces;
mod network;
mod raw_peer;
mod signals;
mod silence;
mod slow_links;
mod small_memory;
mod without_io_uring;
