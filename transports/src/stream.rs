//! Byte streams that are not sockets: socket pairs, relays, and the threads that relay.

mod pipe;
mod pool;
mod relay;

pub use pipe::pipe;
pub(crate) use pool::Relays;
pub use pool::{RelayPool, RelayTask};
pub use relay::relay;
