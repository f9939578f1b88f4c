//! CPace, a password-authenticated key exchange (draft-irtf-cfrg-cpace, suite CPACE-RISTR255-SHA512).
//!
//! Both sides derive a group element from the password and do a Diffie-Hellman exchange with it. They get the same
//! key only if they have the same password. Neither an eavesdropper nor an active peer can test guesses
//! offline: each exchange tests one.

use curve25519_dalek::traits::IsIdentity;
use curve25519_dalek::{RistrettoPoint, Scalar, ristretto::CompressedRistretto};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// Length of an encoded group element in bytes.
pub(super) const ELEMENT_LEN: usize = 32;
/// Length of the key that both sides derive, in bytes.
pub(super) const KEY_LEN: usize = 64;

const DSI: &[u8] = b"CPaceRistretto255";
const DSI_ISK: &[u8] = b"CPaceRistretto255_ISK";
/// Input block of SHA-512 in bytes.
const HASH_BLOCK: usize = 128;

/// One side of an exchange: its secret scalar and the element that it sends.
pub(super) struct Share {
    scalar: Zeroizing<Scalar>,
    element: [u8; ELEMENT_LEN],
}

/// An element with the data that its sender authenticates along with it.
pub(super) struct Sent<'a> {
    pub(super) element: &'a [u8; ELEMENT_LEN],
    pub(super) data: &'a [u8],
}

impl Share {
    /// Creates the share of a password for the channel that `channel` identifies. `random` must be fresh.
    pub(super) fn new(password: &[u8], channel: &[u8], random: &[u8; 64]) -> Self {
        let scalar = Zeroizing::new(Scalar::from_bytes_mod_order_wide(random));
        Self::with_scalar(generator(password, channel, b""), scalar)
    }

    fn with_scalar(generator: RistrettoPoint, scalar: Zeroizing<Scalar>) -> Self {
        let element = (generator * *scalar).compress().to_bytes();
        Self { scalar, element }
    }

    /// Returns the element to send.
    pub(super) fn element(&self) -> &[u8; ELEMENT_LEN] {
        &self.element
    }

    /// Returns the common key of the exchange in which `first` and `second` were sent, one of which is ours and the
    /// other `theirs`. Returns `None` if `theirs` is no element or the neutral one.
    pub(super) fn key(
        &self,
        theirs: &[u8; ELEMENT_LEN],
        first: &Sent<'_>,
        second: &Sent<'_>,
    ) -> Option<Zeroizing<[u8; KEY_LEN]>> {
        self.key_of_session(theirs, b"", first, second)
    }

    fn key_of_session(
        &self,
        theirs: &[u8; ELEMENT_LEN],
        session: &[u8],
        first: &Sent<'_>,
        second: &Sent<'_>,
    ) -> Option<Zeroizing<[u8; KEY_LEN]>> {
        let theirs = CompressedRistretto(*theirs).decompress()?;
        let common = theirs * *self.scalar;
        if common.is_identity() {
            return None;
        }
        let common = Zeroizing::new(common.compress().to_bytes());
        let mut input = Zeroizing::new(Vec::with_capacity(256));
        for part in [
            DSI_ISK,
            session,
            &common[..],
            first.element,
            first.data,
            second.element,
            second.data,
        ] {
            push_with_length(&mut input, part);
        }
        Some(Zeroizing::new(Sha512::digest(&input[..]).into()))
    }
}

/// Derives the generator of the exchange (`calculate_generator` of the draft).
fn generator(password: &[u8], channel: &[u8], session: &[u8]) -> RistrettoPoint {
    let mut input = Zeroizing::new(Vec::with_capacity(512));
    push_with_length(&mut input, DSI);
    push_with_length(&mut input, password);
    // The password fills the first block of the hash, whose time therefore does not depend on the rest.
    let filler = HASH_BLOCK.saturating_sub(input.len() + 1);
    push_with_length(&mut input, &[0; HASH_BLOCK][..filler]);
    push_with_length(&mut input, channel);
    push_with_length(&mut input, session);
    RistrettoPoint::from_uniform_bytes(&Sha512::digest(&input[..]).into())
}

/// Appends the length of `part` in LEB128, and `part`.
fn push_with_length(out: &mut Vec<u8>, part: &[u8]) {
    let mut length = part.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(part);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    fn scalar(hex: &str) -> Zeroizing<Scalar> {
        Zeroizing::new(Scalar::from_canonical_bytes(bytes(hex)).unwrap())
    }

    /// The vectors of the draft, appendix "Test vector for CPace using group ristretto255 and hash SHA-512".
    #[test]
    fn the_vectors_of_the_draft() {
        let session: [u8; 16] = bytes("7e4b4791d6a8ef019b936c79fb7f2c57");
        let generator = generator(b"Password", b"\x0bA_initiator\x0bB_responder", &session);
        assert_eq!(
            generator.compress().to_bytes(),
            bytes("222b6b195fe84b1652badb6f6a3ae3d24341e7306967f0b8115b40d5698c7e56")
        );
        let ours = Share::with_scalar(
            generator,
            scalar("da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08"),
        );
        let theirs = Share::with_scalar(
            generator,
            scalar("d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d"),
        );
        assert_eq!(
            *ours.element(),
            bytes("d6bac480f2c386c394efc7c47adb9925dcd2630b64f240c50f8d0eec482b9157")
        );
        assert_eq!(
            *theirs.element(),
            bytes("3ea7e0b19560d7c0b0f5734f63b955286dfa8232b5ebe63324e2d9e7433f7258")
        );
        let first = Sent {
            element: ours.element(),
            data: b"ADa",
        };
        let second = Sent {
            element: theirs.element(),
            data: b"ADb",
        };
        let expected = bytes(
            "b69effbf61b51d56401c0f65601abe428de8206feaaf0e32198896dcae7b35cd\
             2b38950a39dfd5d4a79164614c2984f7daa460b588c1e80c3fa2068af7900447",
        );
        let key = ours.key_of_session(theirs.element(), &session, &first, &second);
        assert_eq!(*key.unwrap(), expected);
        let key = theirs.key_of_session(ours.element(), &session, &first, &second);
        assert_eq!(*key.unwrap(), expected);
    }

    #[test]
    fn elements_that_give_a_known_key_are_refused() {
        let share = Share::new(b"password", b"", &[3; 64]);
        let own = Sent {
            element: share.element(),
            data: b"",
        };
        for bad in [[0; 32], [0xff; 32], bytes::<32>(&format!("01{:062}", 0))] {
            let other = Sent {
                element: &bad,
                data: b"",
            };
            assert!(share.key(&bad, &own, &other).is_none(), "{bad:02x?}");
        }
    }

    #[test]
    fn lengths_are_in_leb128() {
        let mut out = Vec::new();
        push_with_length(&mut out, &[7; 300]);
        assert_eq!(out[..3], [0xac, 0x02, 7]);
    }
}
