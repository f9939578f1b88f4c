//! Numbers, coordinates, keys and their order.

use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::varu64::{self, VaruError};
use pinecone_wire::{Coordinates, KeyError, PublicKey, SecretKey, Watermark};
use proptest::prelude::*;

use crate::recorded;

#[test]
fn recorded_numbers() {
    let (mut canonical, mut odd) = (0, Vec::new());
    for case in recorded::cases("varint") {
        let bytes = recorded::bytes(&case, "hex");
        let value = recorded::number(&case["value"]);
        if case["decode_only"] == true {
            odd.push((
                recorded::text(&case, "hex").to_owned(),
                varu64::decode(&bytes),
            ));
            continue;
        }
        canonical += 1;
        assert_eq!(varu64::decode(&bytes), Ok((value, bytes.len())));
        let mut out = vec![0xaa];
        varu64::push(&mut out, value);
        assert_eq!(out[1..], bytes);
        assert_eq!(varu64::len(value), bytes.len());
    }
    assert_eq!(canonical, 23);
    // Go never fails: it accepts longer and incomplete encodings, and large numbers wrap. This crate
    // accepts only what Go writes.
    let expected = [
        ("", Err(VaruError::Truncated)),
        ("80", Err(VaruError::Malformed)),
        ("8080", Err(VaruError::Malformed)),
        ("8001", Err(VaruError::Malformed)),
        ("80808001", Err(VaruError::Malformed)),
        ("ff", Err(VaruError::Truncated)),
        ("ffffffffffffffffffff7f", Err(VaruError::Malformed)),
        ("81808080808080808080808001", Err(VaruError::Malformed)),
        ("00ff", Ok((0, 1))),
        ("7f80", Ok((127, 1))),
    ];
    assert_eq!(
        odd,
        expected.map(|(hex, verdict)| (hex.to_owned(), verdict))
    );
}

/// The largest number, and the smallest numbers of ten and of eleven bytes that are too large.
#[test]
fn numbers_at_the_limit() {
    let largest = hex::decode("81ffffffffffffffff7f").unwrap();
    assert_eq!(varu64::decode(&largest), Ok((u64::MAX, 10)));
    for larger in ["82808080808080808000", "8180808080808080808000"] {
        let bytes = hex::decode(larger).unwrap();
        assert_eq!(varu64::decode(&bytes), Err(VaruError::Malformed));
        // The error is known before the last byte.
        let cut = &bytes[..bytes.len() - 1];
        assert_eq!(varu64::decode(cut), Err(VaruError::Malformed));
    }
}

/// Decodes a number one byte after the other, as in protocol section 1.
fn decode_plainly(bytes: &[u8]) -> Result<(u64, usize), VaruError> {
    let mut value = 0u128;
    for (i, &b) in bytes.iter().enumerate() {
        value = value << 7 | u128::from(b & 0x7f);
        let shortest = bytes[0] != 0x80 || (i == 0 && b < 0x80);
        // If another group follows, the value is at least this.
        let least = value << if b < 0x80 { 0 } else { 7 };
        if !shortest || least > u128::from(u64::MAX) {
            return Err(VaruError::Malformed);
        }
        if b < 0x80 {
            return Ok((value as u64, i + 1));
        }
    }
    Err(VaruError::Truncated)
}

proptest! {
    /// Numbers of all lengths, cut anywhere and followed by random bytes.
    #[test]
    fn numbers_agree_with_the_plain_decoder(
        value in any::<u64>(),
        shift in 0u32..64,
        cut in 0usize..12,
        rest in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let value = value >> shift;
        let (bytes, n) = varu64::encode(value);
        prop_assert_eq!(n, varu64::len(value));
        prop_assert_eq!(decode_plainly(&bytes[..n]), Ok((value, n)));
        let stream = [&bytes[..n], &rest].concat();
        prop_assert_eq!(varu64::decode(&stream), Ok((value, n)));
        for stream in [&bytes[..cut.min(n)], &rest] {
            prop_assert_eq!(varu64::decode(stream), decode_plainly(stream));
        }
    }

    #[test]
    fn bytes_with_high_bits_agree_with_the_plain_decoder(
        high in prop::collection::vec(0x80u8.., 0..13),
        rest in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let stream = [high, rest].concat();
        prop_assert_eq!(varu64::decode(&stream), decode_plainly(&stream));
    }
}

#[test]
fn recorded_coordinates() {
    let mut odd = Vec::new();
    let (mut canonical, mut distances) = (0, 0);
    for case in recorded::cases("coords") {
        if case["distance"] == true {
            distances += 1;
            let (a, b) = (
                recorded::coordinates(&case["a"]),
                recorded::coordinates(&case["b"]),
            );
            let expected = recorded::number(&case["value"]) as usize;
            assert_eq!((a.distance(&b), b.distance(&a)), (expected, expected));
            continue;
        }
        let bytes = recorded::bytes(&case, "hex");
        let decoded = CoordinatesView::decode(&bytes)
            .map(|(view, taken)| (view.ports().collect::<Vec<_>>(), taken));
        if case["decode_only"] == true {
            odd.push((recorded::text(&case, "hex").to_owned(), decoded));
            continue;
        }
        canonical += 1;
        let ports = recorded::numbers(&case["coords"]);
        assert_eq!(decoded, Ok((ports.clone(), bytes.len())));
        assert_eq!(Coordinates::from(ports).encode(), Some(bytes));
    }
    assert_eq!((canonical, distances), (9, 6));
    // Go panics on the first two, reads past the end on `000281` and accepts a longer encoding on
    // `00028001`. For the others, Go and this crate agree.
    let expected = [
        ("", Err(VaruError::Truncated)),
        ("00", Err(VaruError::Truncated)),
        ("0000", Ok((vec![], 2))),
        ("0001", Err(VaruError::Truncated)),
        ("000101", Ok((vec![1], 3))),
        ("000281", Err(VaruError::Truncated)),
        ("00020181", Err(VaruError::Truncated)),
        ("00028001", Err(VaruError::Malformed)),
        ("0003010203", Ok((vec![1, 2, 3], 5))),
        ("0003010203ff", Ok((vec![1, 2, 3], 5))),
        ("000301", Err(VaruError::Truncated)),
    ];
    assert_eq!(
        odd,
        expected.map(|(hex, verdict)| (hex.to_owned(), verdict))
    );
}

#[test]
fn recorded_order() {
    let (mut keys, mut watermarks) = (0, 0);
    for case in recorded::cases("ordering") {
        if case.get("less_ab").is_some() {
            keys += 1;
            let [a, b, c] = ["a", "b", "c"].map(|name| recorded::key(&case, name));
            assert_eq!(a < b, case["less_ab"] == true, "{case}");
            assert_eq!(a < b && b < c, case["dht_ordered_abc"] == true, "{case}");
        } else {
            watermarks += 1;
            let [a, b] = ["wm_a", "wm_b"].map(|name| recorded::watermark(&case[name]));
            assert_eq!(
                a.is_worse_than(&b),
                case["a_worse_than_b"] == true,
                "{case}"
            );
        }
    }
    assert!(keys > 0 && watermarks > 0);
    assert_eq!(keys + watermarks, 140);
}

#[test]
fn recorded_keys() {
    let cases = recorded::cases("keys");
    assert_eq!(cases.len(), 16);
    for case in cases {
        let seed = recorded::bytes(&case, "seed").try_into().unwrap();
        let public = recorded::key(&case, "public_key");
        let secret = SecretKey::from_seed(&seed);
        assert_eq!(secret.public_key(), public);
        assert_eq!(*secret.seed(), seed);
        assert_eq!(public.to_string(), recorded::text(&case, "public_key"));
        // Go programs store the seed and the public key.
        for name in ["seed", "private_key"] {
            let text = recorded::text(&case, name);
            assert_eq!(text.parse::<SecretKey>().unwrap().public_key(), public);
            let text = format!("  {}\n", text.to_uppercase());
            assert_eq!(text.parse::<SecretKey>().unwrap().public_key(), public);
        }
        assert!(!format!("{secret:?}").contains(recorded::text(&case, "seed")));
    }
}

#[test]
fn malformed_keys() {
    let digits = "01".repeat(32);
    let other = format!("{digits}{}", "02".repeat(32));
    assert_eq!(other.parse::<SecretKey>().unwrap_err(), KeyError::Mismatch);
    // The last one has 128 bytes, with a character across the middle.
    for text in [
        "",
        &digits[1..],
        &digits[..62],
        &format!("{digits}0"),
        &format!("{digits}{}", &digits[2..]),
        &format!("{digits}{digits}00"),
        &format!("g{}", &digits[1..]),
        &"ä".repeat(32),
        &format!("{}ä{}", &digits[..63], &digits[..63]),
    ] {
        let expected = KeyError::Malformed { len: text.len() };
        assert_eq!(text.parse::<SecretKey>().unwrap_err(), expected, "{text}");
        assert_eq!(text.parse::<PublicKey>().unwrap_err(), expected, "{text}");
    }
}

#[test]
fn coordinates_longer_than_their_length_field() {
    let ports = |n: usize| Coordinates::from(vec![u64::MAX; n]);
    assert_eq!(ports(6553).encode().map(|bytes| bytes.len()), Some(65_532));
    assert_eq!(ports(6554).encode(), None);
}

fn key_near() -> impl Strategy<Value = PublicKey> {
    // As there are few values, many keys are equal. Any byte may differ.
    (0usize..32, 0u8..3).prop_map(|(at, value)| {
        let mut bytes = [1; 32];
        bytes[at] = value;
        PublicKey(bytes)
    })
}

fn watermark_near() -> impl Strategy<Value = Watermark> {
    (key_near(), prop_oneof![0u64..3, any::<u64>()])
        .prop_map(|(key, sequence)| Watermark { key, sequence })
}

proptest! {
    #[test]
    fn numbers_round_trip(value in edge_number(), tail in any::<[u8; 3]>()) {
        let (bytes, n) = varu64::encode(value);
        prop_assert_eq!(n, varu64::len(value));
        let mut stream = bytes[..n].to_vec();
        stream.extend_from_slice(&tail);
        prop_assert_eq!(varu64::decode(&stream), Ok((value, n)));
        for cut in 0..n {
            prop_assert_eq!(varu64::decode(&stream[..cut]), Err(VaruError::Truncated));
        }
    }

    /// Only the shortest encoding of a number is valid. The naive decoder has no bounds.
    #[test]
    fn numbers_in_their_shortest_form_only(bytes in number_bytes()) {
        let end = bytes.iter().position(|b| *b < 0x80).map(|last| last + 1);
        let naive = bytes[..end.unwrap_or(bytes.len())]
            .iter()
            .fold((0u128, false), |(value, over), b| {
                let value = value << 7 | u128::from(b & 0x7f);
                (value & u128::from(u64::MAX), over || value > u128::from(u64::MAX))
            });
        let malformed = bytes.first() == Some(&0x80) || naive.1;
        match varu64::decode(&bytes) {
            Ok((value, n)) => {
                prop_assert_eq!(Some(n), end);
                prop_assert!(!malformed);
                prop_assert_eq!(u128::from(value), naive.0);
                let mut again = Vec::new();
                varu64::push(&mut again, value);
                prop_assert_eq!(&again[..], &bytes[..n]);
            }
            // The number is incomplete only if more bytes can make it valid.
            Err(VaruError::Truncated) => {
                prop_assert!(end.is_none() && !malformed);
                let whole = [&bytes[..], &[0]].concat();
                prop_assert!(varu64::decode(&whole).is_ok());
            }
            Err(VaruError::Malformed) => prop_assert!(
                malformed || end.is_none() && naive.0 << 7 > u128::from(u64::MAX)
            ),
        }
    }

    #[test]
    fn coordinates_round_trip(ports in prop::collection::vec(edge_number(), 0..40)) {
        let coordinates = Coordinates::from(ports.clone());
        let encoded = coordinates.encode().unwrap();
        prop_assert_eq!(encoded.len(), coordinates.encoded_len() + 2);
        let (view, taken) = CoordinatesView::decode(&encoded).unwrap();
        prop_assert_eq!(taken, encoded.len());
        prop_assert_eq!(view.ports().collect::<Vec<_>>(), ports);
        prop_assert_eq!(view.is_empty(), coordinates.is_root());
        prop_assert_eq!(Coordinates::from(view), coordinates);
    }

    #[test]
    fn distance_is_a_metric(places in prop::collection::vec(
        prop::collection::vec(1u64..3, 0..6).prop_map(Coordinates::from), 3,
    )) {
        let [a, b, c] = &places[..] else { unreachable!() };
        prop_assert_eq!(a.distance(b), b.distance(a));
        prop_assert_eq!(a.distance(b) == 0, a == b);
        prop_assert!(a.distance(c) <= a.distance(b) + b.distance(c));
        prop_assert_eq!(a.distance(&Coordinates::default()), a.depth());
    }

    #[test]
    fn worse_as_defined(a in watermark_near(), b in watermark_near()) {
        let ((k, s), (k2, s2)) = ((a.key.0, a.sequence), (b.key.0, b.sequence));
        prop_assert_eq!(a.is_worse_than(&b), k > k2 || (k == k2 && s != 0 && s < s2));
        prop_assert!(!a.is_worse_than(&a));
        prop_assert!(!a.is_worse_than(&Watermark::START));
    }

    #[test]
    fn secret_keys_from_any_text(text in "\\PC{0,140}") {
        let _ = text.parse::<SecretKey>();
        let _ = text.parse::<PublicKey>();
    }
}

/// Any number. Those around a power of 128 are more frequent.
pub(crate) fn edge_number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..300,
        (0u32..10, 0u64..3).prop_map(|(group, above)| {
            (1u64 << (7 * group)).wrapping_sub(1).wrapping_add(above)
        }),
        (u64::MAX - 2)..=u64::MAX,
        any::<u64>(),
    ]
}

/// Sequences of bytes that are nearly numbers.
fn number_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => 0x80u8..=0xff, 1 => any::<u8>(), 1 => Just(0x80), 1 => Just(0x81)];
    prop::collection::vec(byte, 0..13)
}
