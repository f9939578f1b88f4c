//! The properties that the fuzz targets check, one function for each parser.
//!
//! Each takes arbitrary bytes and panics if the property does not hold. A target in `fuzz_targets`
//! calls one of them; `tests/seeds.rs` calls them all with the seeds, so that they are also checked
//! where neither a nightly toolchain nor cargo-fuzz is installed.
//!
//! Random input does not belong here: it comes from libFuzzer. Nor do parsers: the crates own them.

pub mod admin;
pub mod forwarding;
pub mod frames;
pub mod link;
pub mod proof;
pub mod seeds;
pub mod simulation;
pub mod text;
pub mod values;
pub mod websocket;

/// A property of arbitrary bytes. It panics if it does not hold.
pub type Property = fn(&[u8]);

/// The targets by name.
pub const TARGETS: &[(&str, Property)] = &[
    ("admin_request", admin::request),
    ("announcement", frames::announcement),
    ("coordinates", values::coordinates),
    ("encrypted_link", link::encrypted_link),
    ("forwarding", forwarding::forwarding),
    ("frame", frames::frame),
    ("handshake", frames::handshake),
    ("peer_address", text::peer_address),
    ("peering_proof", proof::peering_proof),
    ("ping", frames::ping),
    ("scenario", simulation::scenario),
    ("secret_key", text::secret_key),
    ("signed_body", frames::signed_body),
    ("splitter", frames::splitter),
    ("topology", simulation::topology),
    ("varu64", values::varu64),
    ("websocket_frames", websocket::frames),
    ("websocket_request", websocket::request),
    ("websocket_response", websocket::response),
];
