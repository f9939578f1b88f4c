//! Tests of the program with real processes and real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod bad_frames;
mod bad_handshakes;
mod bad_protocol_frames;
mod bench;
mod clocks;
mod command_line;
mod daemon;
mod dialling;
mod idle;
mod keys;
mod logs;
mod mixed;
mod namespaces;
mod network;
mod outcome;
mod raw_peer;
mod signals;
mod silence;
mod slow_links;
mod small_memory;
mod startup;
mod tls;
mod traffic;
mod unreachable_node;
mod watched;
mod web_sockets;
mod without_io_uring;
