//! The wire format of Pinecone: bytes to types and back.
//!
//! Everything that the protocol puts on a stream has its one codec here: the peering
//! [handshake], [frames](frame), tree [announcements](announcement), the [signed
//! bodies](signed_body) of bootstraps and broadcasts, and the values they are made of
//! ([keys](PublicKey), [varu64], [coordinates], [watermarks](Watermark)).
//!
//! What may not enter: I/O, clocks, threads, and any allocation per forwarded frame. Frames are
//! parsed and patched where they lie.

pub mod announcement;
pub mod coordinates;
mod error;
pub mod frame;
pub mod handshake;
mod keys;
pub mod ping;
pub mod signed_body;
pub mod splitter;
pub mod timing;
pub mod traffic;
pub mod varu64;
mod watermark;

pub use announcement::Announcement;
pub use coordinates::Coordinates;
pub use error::{
    AnnouncementError, BuildError, FrameError, HandshakeError, KeyError, SignedBodyError,
};
pub use frame::{Frame, FrameHeader, FrameType, MAX_FRAME_LEN};
pub use handshake::{Extensions, HANDSHAKE_LEN, Handshake};
pub use keys::{PublicKey, SecretKey, Signature, VerifyingKey};
pub use signed_body::SignedBody;
pub use splitter::{Split, split};
pub use traffic::{Patch, TrafficFields, TrafficLayout};
pub use watermark::Watermark;
