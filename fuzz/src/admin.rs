//! The admin socket's requests and replies.

// The program is no library, so its module is compiled here once more.
#[allow(dead_code)]
#[path = "../../tools/src/admin/protocol.rs"]
mod protocol;

use protocol::{Reply, Request};

/// A request that is read is written and read again unchanged. A reply that is read can be written,
/// and what was written can be read.
pub fn request(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }
    if let Ok(reply) = serde_json::from_slice::<Reply>(bytes) {
        // The last digit of a floating-point number may differ.
        let text = serde_json::to_string(&reply).unwrap();
        serde_json::from_str::<Reply>(&text).unwrap();
    }
}
