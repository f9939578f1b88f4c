//! The variable-length integer of the wire: base-128, most significant group first, bit 7 set on
//! every byte but the last (protocol section 1). Only the shortest form is written or accepted.

/// The longest encoding, that of `u64::MAX`.
pub const MAX_LEN: usize = 10;

/// How a `varu64` can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaruError {
    /// The bytes end before the number does, and could go on to a right one.
    #[error("number is cut off")]
    Truncated,
    /// A longer form than needed, over ten bytes, or over 2^64-1.
    #[error("number is not in its shortest form or too large")]
    Malformed,
}

/// Reads a number from the start of `bytes`: the value and how many bytes it took.
///
/// # Errors
/// [`VaruError`] if the bytes end early or are not the shortest form of a `u64`.
///
/// ```
/// use pinecone_wire::varu64::{self, VaruError};
///
/// assert_eq!(varu64::decode(&[0x89, 0x52, 0xff]), Ok((1234, 2)));
/// assert_eq!(varu64::decode(&[0x89]), Err(VaruError::Truncated));
/// assert_eq!(varu64::decode(&[0x80, 0x7b]), Err(VaruError::Malformed));
/// ```
#[inline]
pub fn decode(bytes: &[u8]) -> Result<(u64, usize), VaruError> {
    let Some(&first) = bytes.first() else {
        return Err(VaruError::Truncated);
    };
    if first < 0x80 {
        return Ok((u64::from(first), 1));
    }
    if first == 0x80 {
        return Err(VaruError::Malformed);
    }
    let mut value = u64::from(first & 0x7f);
    for (i, &b) in bytes.iter().enumerate().skip(1) {
        // One more group would not fit. The first is not 0, so this also ends an eleventh byte.
        if value >> 57 != 0 {
            return Err(VaruError::Malformed);
        }
        value = value << 7 | u64::from(b & 0x7f);
        if b < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(if value >> 57 != 0 {
        VaruError::Malformed
    } else {
        VaruError::Truncated
    })
}

/// How many bytes `value` takes.
#[must_use]
#[inline]
pub const fn len(value: u64) -> usize {
    let bits = 64 - value.leading_zeros() as usize;
    if bits == 0 { 1 } else { bits.div_ceil(7) }
}

/// The encoding of `value`: the bytes, and how many of them count.
#[must_use]
#[inline]
pub fn encode(value: u64) -> ([u8; MAX_LEN], usize) {
    let n = len(value);
    let mut out = [0; MAX_LEN];
    let mut rest = value;
    for (i, b) in out.iter_mut().take(n).enumerate().rev() {
        let more = if i + 1 == n { 0 } else { 0x80 };
        *b = (rest & 0x7f) as u8 | more;
        rest >>= 7;
    }
    (out, n)
}

/// Appends the encoding of `value` to `out`.
#[inline]
pub fn push(out: &mut Vec<u8>, value: u64) {
    let (bytes, n) = encode(value);
    out.extend_from_slice(&bytes[..n]);
}
