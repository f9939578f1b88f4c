//! WebSocket (RFC 6455): the upgrade of a connection, and a byte stream over binary messages.
//!
//! [`accept`] and [`connect`] upgrade any stream, and return a [`WebSocketStream`]. The sequence of binary messages
//! is read as one stream of bytes, whatever their borders (protocol section 9).
//!
//! # Choice of libraries
//!
//! `tungstenite` parses requests and responses, and makes keys and their proofs. The framing is this module's, because
//! a stream of bytes needs no messages: payloads are unmasked and moved together where they were received, in the
//! caller's buffer, so a peering needs no receive buffer, and a message of 128 KiB is never held in memory. The
//! libraries that frame messages (tungstenite, tokio-websockets, fastwebsockets) hold at least the longest message for
//! each peering, copy payloads once more, and limit what they receive but not what they send. With the headers of
//! tungstenite (`FrameHeader`), decoding takes 39 ns for a frame of 64 bytes and 118 ns for one of 1,400, against 15 ns
//! and 82 ns here. [`Decoder`] does no I/O, so that a worker of the data plane could use it.
//!
//! # Memory
//!
//! An idle [`WebSocketStream`] owns no heap memory, and is less than 512 bytes long. While its peer reads too slowly
//! it holds the rest of at most one message (32 KiB), a pong and a close frame. A client copies what it sends, in order
//! to mask it, to a buffer of 64 KiB that all streams of a thread share.
//!
//! Peerings, the peering handshake, TLS and relays do not belong here.

mod closing;
mod decoder;
mod dial;
mod error;
mod forwarded;
mod frame;
mod head;
mod linger;
mod listen;
mod mask;
mod options;
mod output;
mod stream;

pub(crate) use closing::ClosingStream;
pub use decoder::{Decoded, Decoder, End};
pub use dial::{ConnectOptions, check_response, connect};
pub use error::{OptionError, Refusal, UpgradeError, Violation};
pub use frame::{MAX_MESSAGE, MAX_SENT_MESSAGE, Role};
pub use listen::{Accepted, Upgrade, accept, respond};
pub use options::{AcceptOptions, TrustedProxies, UpgradePath};
pub use stream::WebSocketStream;

#[cfg(test)]
mod tests;
