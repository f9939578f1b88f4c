//! Variable-length integers: base 128, most significant group first, bit 7 set on every byte but the
//! last (protocol section 1). Only the shortest encoding of a number is valid.

/// Length of the longest encoding in bytes, that of `u64::MAX`.
pub const MAX_LEN: usize = 10;

/// The reason why bytes are not a `varu64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaruError {
    /// The bytes end before the number does. They may be the start of a valid one.
    #[error("number is incomplete")]
    Truncated,
    /// The encoding is not the shortest, or the number is above 2^64-1.
    #[error("number is too large or not in its shortest encoding")]
    Malformed,
}

/// Decodes the number at the start of `bytes`. Returns it with the length of its encoding in bytes.
///
/// # Errors
/// See [`VaruError`].
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
    // Most numbers end within the next eight bytes, which need no loop.
    if let Some(word) = bytes.first_chunk() {
        let word = u64::from_be_bytes(*word);
        let last = (!word & HIGH_BITS).leading_zeros() as usize;
        if last < 64 {
            let n = last / 8 + 1;
            if n > 1 && word >> 56 == 0x80 {
                return Err(VaruError::Malformed);
            }
            return Ok((pack(word >> (64 - 8 * n)), n));
        }
    }
    decode_slowly(bytes)
}

/// Returns the length of the encoding of `value` in bytes.
#[must_use]
#[inline]
pub const fn len(value: u64) -> usize {
    let bits = 64 - value.leading_zeros() as usize;
    if bits == 0 { 1 } else { bits.div_ceil(7) }
}

/// Encodes `value`. Returns the bytes and the number of them that are used.
#[must_use]
#[inline]
pub fn encode(value: u64) -> ([u8; MAX_LEN], usize) {
    let n = len(value);
    let mut out = [0; MAX_LEN];
    let (low, high) = (value & LOW_56, value >> 56);
    if high == 0 {
        // Sets bit 7 of every byte but the last. The shift drops the bytes before the first.
        let word = (spread(low) | HIGH_BITS & !0x80) << (64 - 8 * n);
        out[..8].copy_from_slice(&word.to_be_bytes());
    } else {
        let word = spread(low) | HIGH_BITS & !0x80;
        let before = n - 8;
        out[before..n].copy_from_slice(&word.to_be_bytes());
        out[before - 1] = high as u8 & 0x7f | 0x80;
        if before == 2 {
            out[0] = (high >> 7) as u8 | 0x80;
        }
    }
    (out, n)
}

/// Appends the encoding of `value` to `out`.
#[inline]
pub fn push(out: &mut Vec<u8>, value: u64) {
    let (bytes, n) = encode(value);
    out.extend_from_slice(&bytes[..n]);
}

fn decode_slowly(bytes: &[u8]) -> Result<(u64, usize), VaruError> {
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
        // Another group would not fit. As the first group is not 0, this also refuses an eleventh byte.
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

/// Bit 7 of each byte.
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
/// The bits that fit eight bytes of seven each.
const LOW_56: u64 = (1 << 56) - 1;

/// Joins the low seven bits of each byte to one number.
#[inline]
const fn pack(word: u64) -> u64 {
    let word = word & !HIGH_BITS;
    let word = word & 0x007f_007f_007f_007f | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let word = word & 0x0000_3fff_0000_3fff | (word & 0x3fff_0000_3fff_0000) >> 2;
    word & 0x0fff_ffff | (word & 0x0fff_ffff_0000_0000) >> 4
}

/// Spreads 56 bits over eight bytes, seven to each: the reverse of [`pack`].
#[inline]
const fn spread(value: u64) -> u64 {
    let word = value & 0x0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
    let word = word & 0x0000_3fff_0000_3fff | (word & 0x0fff_c000_0fff_c000) << 2;
    word & 0x007f_007f_007f_007f | (word & 0x3f80_3f80_3f80_3f80) << 1
}
