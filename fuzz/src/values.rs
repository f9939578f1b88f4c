//! Numbers and coordinates (protocol section 1).

use pinecone_wire::Coordinates;
use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::varu64::{self, VaruError};

/// Decoding agrees with a loop that takes one byte after the other, and encoding gives the same bytes
/// again.
pub fn varu64(bytes: &[u8]) {
    let decoded = varu64::decode(bytes);
    assert_eq!(decoded, decode_by_bytes(bytes));
    if let Ok((value, n)) = decoded {
        let (encoded, len) = varu64::encode(value);
        assert_eq!(encoded[..len], bytes[..n]);
        assert_eq!(varu64::len(value), n);
    }
}

fn decode_by_bytes(bytes: &[u8]) -> Result<(u64, usize), VaruError> {
    let mut value = 0u128;
    for (i, &byte) in bytes.iter().enumerate() {
        value = value << 7 | u128::from(byte & 0x7f);
        let padded = bytes[0] == 0x80;
        // If another group follows, the value is at least this.
        let least = value << if byte < 0x80 { 0 } else { 7 };
        if padded || least > u128::from(u64::MAX) {
            return Err(VaruError::Malformed);
        }
        if byte < 0x80 {
            return Ok((value as u64, i + 1));
        }
    }
    Err(VaruError::Truncated)
}

/// Coordinates that are decoded are encoded to the same bytes. The distance to their parent is 1.
pub fn coordinates(bytes: &[u8]) {
    if let Ok((view, n)) = CoordinatesView::decode(bytes) {
        assert_eq!(n, view.as_bytes().len() + 2);
        let coordinates = Coordinates::from(view);
        assert_eq!(coordinates.encode().unwrap(), bytes[..n]);
        assert_eq!(coordinates.is_root(), view.is_empty());
        let mut ports = coordinates.ports().to_vec();
        if ports.pop().is_some() {
            let parent = Coordinates::from(ports);
            assert_eq!(coordinates.distance(&parent), 1);
            assert_eq!(parent.distance(&coordinates), 1);
        }
    }
    if let Ok(view) = CoordinatesView::new(bytes) {
        let mut body = Vec::new();
        Coordinates::from(view).push_body(&mut body);
        assert_eq!(body, bytes);
    }
}
