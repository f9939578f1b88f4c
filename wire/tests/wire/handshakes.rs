//! Handshakes: the recorded ones, and those that this crate builds.

use pinecone_wire::handshake::{self, HANDSHAKE_LEN};
use pinecone_wire::{HandshakeError, SecretKey};

use crate::recorded;

#[test]
fn recorded_handshakes() {
    let mut verdicts = Vec::new();
    for case in recorded::cases("handshake") {
        let name = recorded::text(&case, "name").to_owned();
        let bytes = recorded::bytes(&case, "hex");
        let Ok(bytes) = <[u8; HANDSHAKE_LEN]>::try_from(bytes) else {
            // The parameter's type allows no other length: the reader of a handshake waits for 104 bytes.
            verdicts.push((name, None));
            continue;
        };
        let verdict = handshake::decode(&bytes);
        let accepted = recorded::text(&case, "go").starts_with("accepted");
        assert_eq!(verdict.is_ok(), accepted, "{name}");
        if let Ok(handshake) = verdict {
            assert_eq!(handshake.public_key.0, bytes[8..40], "{name}");
            assert_eq!(handshake.extensions.0, bytes[1..4], "{name}");
        }
        if case.get("public_key").is_some() {
            let seed = recorded::cases("keys")
                .into_iter()
                .find(|pair| pair["public_key"] == case["public_key"])
                .map(|pair| recorded::bytes(&pair, "seed"))
                .unwrap();
            let key = SecretKey::from_seed(&seed.try_into().unwrap());
            assert_eq!(handshake::encode(&key), bytes, "{name}");
            assert_eq!(recorded::key(&case, "public_key"), key.public_key());
            assert_eq!(recorded::bytes(&case, "signed"), bytes[..40]);
            assert_eq!(recorded::bytes(&case, "signature"), bytes[40..]);
        }
        verdicts.push((name, Some(verdict.err())));
    }
    let expected = [
        ("good-1", Some(None)),
        ("good-2", Some(None)),
        ("good-3", Some(None)),
        ("good-4", Some(None)),
        ("bad-version-0", Some(Some(HandshakeError::Version(0)))),
        ("bad-version-2", Some(Some(HandshakeError::Version(2)))),
        (
            "caps-missing-bit",
            Some(Some(HandshakeError::Capabilities(0x1b))),
        ),
        (
            "caps-extra-bit",
            Some(Some(HandshakeError::Capabilities(0x3f))),
        ),
        ("bad-signature", Some(Some(HandshakeError::Signature))),
        (
            "unused-bytes-changed-after-signing",
            Some(Some(HandshakeError::Signature)),
        ),
        ("unused-bytes-nonzero-signed", Some(None)),
        ("truncated-103", None),
    ];
    assert_eq!(
        verdicts,
        expected.map(|(name, verdict)| (name.to_owned(), verdict))
    );
}

#[test]
fn a_handshake_with_any_bit_changed_is_refused() {
    let good = handshake::encode(&SecretKey::from_seed(&[7; 32]));
    assert!(handshake::decode(&good).is_ok());
    for bit in 0..HANDSHAKE_LEN * 8 {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(handshake::decode(&bad).is_err(), "bit {bit}");
    }
}
