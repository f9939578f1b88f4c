//! Signatures that implementations disagree about. The rules are those of the deployed nodes: no
//! cofactor, `S` must be reduced, `R` is compared as bytes, and a public key may have any encoding of
//! its point.

use pinecone_wire::{PublicKey, SecretKey, Signature};

/// The neutral element, `y = 1`.
const NEUTRAL: [u8; 32] = with_ends(1, 0, 0);
/// The neutral element with `y = 1 + p`.
const NEUTRAL_LONG: [u8; 32] = with_ends(0xee, 0xff, 0x7f);
/// The neutral element with the sign bit of `x`, which is 0.
const NEUTRAL_SIGNED: [u8; 32] = with_ends(1, 0, 0x80);
/// The point of order 2, `y = -1`.
const ORDER_TWO: [u8; 32] = with_ends(0xec, 0xff, 0x7f);

const fn with_ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut out = [middle; 32];
    out[0] = first;
    out[31] = last;
    out
}

fn verify(key: [u8; 32], r: [u8; 32], s: [u8; 32]) -> bool {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    PublicKey(key).verify(b"any message", &Signature(signature))
}

#[test]
fn keys_of_small_order_and_odd_encodings_are_accepted() {
    for key in [NEUTRAL, NEUTRAL_LONG, NEUTRAL_SIGNED] {
        assert!(verify(key, NEUTRAL, [0; 32]), "{key:02x?}");
    }
}

#[test]
fn r_is_compared_as_bytes_and_without_cofactor() {
    for r in [NEUTRAL_LONG, NEUTRAL_SIGNED, ORDER_TWO] {
        assert!(!verify(NEUTRAL, r, [0; 32]), "{r:02x?}");
    }
}

#[test]
fn s_must_be_reduced() {
    // The order of the base point, little-endian.
    let mut order = [0; 32];
    order[..16].copy_from_slice(&0x14de_f9de_a2f7_9cd6_5812_631a_5cf5_d3ed_u128.to_le_bytes());
    order[31] = 0x10;
    assert!(!verify(NEUTRAL, NEUTRAL, order));

    let key = SecretKey::from_seed(&[1; 32]);
    let good = key.sign(b"message");
    assert!(key.public_key().verify(b"message", &good));
    let mut carry = 0;
    let mut longer = good;
    for (byte, add) in longer.0[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert!(!key.public_key().verify(b"message", &longer));
    for bit in [0x20, 0x40, 0x80] {
        let mut high = good;
        high.0[63] |= bit;
        assert!(!key.public_key().verify(b"message", &high));
    }
}

#[test]
fn a_key_that_is_no_point_verifies_nothing() {
    // The curve has no point with y = 2 or 7.
    for y in [2, 7] {
        let key = with_ends(y, 0, 0);
        assert!(PublicKey(key).verifying_key().is_none());
        assert!(!verify(key, NEUTRAL, [0; 32]));
    }
}

#[test]
fn the_address_of_a_verifying_key_is_the_one_it_came_from() {
    for key in [NEUTRAL, NEUTRAL_LONG, NEUTRAL_SIGNED, ORDER_TWO] {
        let key = PublicKey(key);
        assert_eq!(key.verifying_key().unwrap().public_key(), key);
    }
}
