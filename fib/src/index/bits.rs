//! Keys as bit strings.

use std::cmp::Ordering;

use pinecone_wire::PublicKey;

/// The number of bits of the key that a branch reads.
pub(super) const BITS: usize = 6;
/// The number of slots of a branch.
pub(super) const FAN: usize = 1 << BITS;
/// The number of valid bits in the result of [`window`]: eight bytes, less up to seven bits.
pub(super) const WINDOW: usize = 57;

/// Returns the first eight bytes of `key`, as a number of the same order.
#[inline(always)]
pub(super) fn head(key: &PublicKey) -> u64 {
    key.0
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Reports whether `a < b`, without a call unless they share their first eight bytes.
#[inline(always)]
pub(crate) fn below(a: &PublicKey, b: &PublicKey) -> bool {
    order(a, b).is_lt()
}

/// Compares two keys, without a call unless they share their first eight bytes.
#[inline(always)]
pub(super) fn order(a: &PublicKey, b: &PublicKey) -> Ordering {
    head(a).cmp(&head(b)).then_with(|| a.cmp(b))
}

/// Returns [`slot`], computed from the first eight bytes alone where they suffice.
#[inline(always)]
pub(super) fn slot_of(key: &PublicKey, head: u64, depth: usize) -> usize {
    if depth <= 64 - BITS {
        (head >> (64 - BITS - depth)) as usize % FAN
    } else {
        slot(key, depth)
    }
}

/// Returns the [`BITS`] bits of `key` from bit `depth`, padded with zeros.
#[inline(always)]
pub(super) fn slot(key: &PublicKey, depth: usize) -> usize {
    (window(key, depth) >> (64 - BITS)) as usize
}

/// Returns a number whose highest [`WINDOW`] bits are those of `key` from bit `depth`, padded with zeros.
#[inline(always)]
pub(super) fn window(key: &PublicKey, depth: usize) -> u64 {
    match key.0.get(depth / 8..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => u64::from_be_bytes(*bytes) << (depth % 8),
        None => word_at(key, depth),
    }
}

/// Returns the 64 bits of `key` from bit `depth`, padded with zeros.
fn word_at(key: &PublicKey, depth: usize) -> u64 {
    let [word, next] = [depth / 64, depth / 64 + 1].map(|i| key_word(key, i));
    word << (depth % 64) | next >> 1 >> (63 - depth % 64)
}

/// Returns the eight bytes at `8 * word`, or 0 past the end.
#[inline(always)]
fn key_word(key: &PublicKey, word: usize) -> u64 {
    let bytes = key.0.get(8 * word..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Returns the number of leading bits that two keys share: 256 if they are equal.
pub(super) fn common_bits(a: &PublicKey, b: &PublicKey) -> usize {
    for from in [0, 64, 128, 192] {
        let differ = word_at(a, from) ^ word_at(b, from);
        if differ != 0 {
            return from + differ.leading_zeros() as usize;
        }
    }
    8 * PublicKey::LEN
}
