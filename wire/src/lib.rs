//! The wire format of Pinecone: decoding, encoding and signatures.
//!
//! This crate has the only codec of everything that the protocol puts on a stream: the peering
//! [handshake] and the [proof] of the keys, [frames](frame), tree [announcements](announcement), the [signed
//! bodies](signed_body) of bootstraps and broadcasts, and the values in them
//! ([keys](PublicKey), [varu64], [coordinates], [watermarks](Watermark)).
//!
//! "Protocol section N", in the comments of all crates, refers to the description of the deployed protocol that the
//! maintainers work from. It is not part of this repository. Its sections are: 1 Vocabulary, 2 Peering handshake,
//! 3 Frames, 4 Tree announcements, 5 Bootstraps, 6 SNEK next hop, 7 Forwarding, 8 Wakeup broadcasts, 9 Around the
//! router.
//!
//! Frames are parsed and patched in place, without an allocation per forwarded frame. I/O, clocks,
//! threads and routing decisions do not belong here.

pub mod announcement;
pub mod coordinates;
mod error;
pub mod frame;
pub mod handshake;
mod header;
mod keys;
pub mod ping;
pub mod proof;
pub mod signed_body;
pub mod splitter;
pub mod timing;
pub mod traffic;
pub mod varu64;
mod watermark;

pub use announcement::Announcement;
pub use coordinates::Coordinates;
pub use error::{AnnouncementError, BuildError, FrameError, HandshakeError, SignedBodyError};
pub use frame::{Frame, FrameHeader, FrameType, MAX_FRAME_LEN};
pub use handshake::{Extensions, HANDSHAKE_LEN, Handshake};
pub use keys::{KeyError, PublicKey, SecretKey, Signature, VerifyingKey};
pub use signed_body::SignedBody;
pub use splitter::{Split, split};
pub use traffic::{Patch, TrafficFields, TrafficLayout};
pub use watermark::Watermark;
