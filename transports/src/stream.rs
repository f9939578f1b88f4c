//! Byte streams that are not sockets, and peerings within a process.

mod pipe;
mod relay;

pub use pipe::pipe;
pub use relay::{RelayTask, relay};
