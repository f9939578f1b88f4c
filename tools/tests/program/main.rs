//! The program as its users run it: real processes, real sockets.

mod admin;
mod bad_input;
mod command_line;
mod daemon;
mod mixed;
mod namespaces;
mod network;
mod raw_peer;
