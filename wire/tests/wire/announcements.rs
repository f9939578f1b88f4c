//! Tree announcements: the recorded ones, valid and invalid, and their limits.

use pinecone_wire::announcement::{self, Announcement};
use pinecone_wire::{AnnouncementError, BuildError, PublicKey, SecretKey, Signature};
use serde_json::Value;

use crate::recorded;

/// Go checks signatures while decoding and the other rules afterwards. The order does not change which
/// announcements are accepted. Only two cases differ, which have a number that is not in its shortest
/// encoding.
#[test]
fn recorded_announcements() {
    let cases = recorded::cases("announcements");
    assert_eq!(cases.len(), 36);
    let (mut accepted, mut refused) = (0, 0);
    for case in &cases {
        let name = recorded::text(case, "name");
        let payload = recorded::bytes(case, "payload");
        let from = recorded::key(case, "from");
        let go = &case["go"];
        let decoded = Announcement::decode(&payload);
        let longer_form = match name {
            "non-canonical-sequence-signed-as-sent" => Some(32),
            // The port `81 02`, which no signature covers, became `80 02`.
            "bit-flipped-at-130" => Some(130),
            _ => None,
        };
        if let Some(at) = longer_form {
            assert_eq!(go["ok"], true);
            assert_eq!(decoded, Err(AnnouncementError::Malformed { at }));
            refused += 1;
            continue;
        }
        let verified = decoded
            .clone()
            .and_then(|a| a.verify(|key| key.verifying_key()).map(|()| a));
        if let Some(error) = go["unmarshal_error"].as_str() {
            let ours = verified.unwrap_err();
            if error.starts_with("expecting at least 33 bytes") {
                assert!(
                    matches!(ours, AnnouncementError::Malformed { .. }),
                    "{name}"
                );
            } else {
                let port: u64 = error.rsplit(' ').next().unwrap().parse().unwrap();
                let AnnouncementError::Signature { index } = ours else {
                    panic!("{name}: {ours}")
                };
                assert_eq!(decoded.unwrap().entries()[index].port, port, "{name}");
            }
            refused += 1;
            continue;
        }
        let announcement = verified.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_decoded(name, &announcement, &go["announcement"]);
        let taken = recorded::number(&go["n"]) as usize;
        assert_eq!(announcement.payload(), &payload[..taken], "{name}");
        for (seed, field) in [
            (1, "loop_or_child_of_seed_01"),
            (15, "loop_or_child_of_seed_0f"),
        ] {
            // Go also answers yes if any signer occurs twice.
            let key = SecretKey::from_seed(&[seed; 32]).public_key();
            let looped = matches!(
                announcement.check(&from),
                Err(AnnouncementError::Loop { .. })
            );
            let answer = announcement.is_signed_by(&key) || looped;
            assert_eq!(answer, go[field] == true, "{name}");
        }
        let checked = announcement.check(&from);
        match go["sanity_error"].as_str() {
            None => {
                assert_eq!((&go["ok"] == true, checked), (true, Ok(())), "{name}");
                accepted += 1;
            }
            Some(error) => {
                let ours = checked.unwrap_err();
                let same = match error {
                    "update has no signatures" => ours == AnnouncementError::Empty,
                    "update first signature doesn't match root key" => {
                        ours == AnnouncementError::NotRoot
                    }
                    "update contains invalid 0 hop" => {
                        matches!(ours, AnnouncementError::ZeroPort { .. })
                    }
                    "update last signature is not from direct peer" => {
                        ours == AnnouncementError::NotPeer
                    }
                    "update contains routing loop" => {
                        matches!(ours, AnnouncementError::Loop { .. })
                    }
                    other => panic!("{name}: {other} is not known here"),
                };
                assert!(same, "{name}: Go says {error}, we say {ours}");
                refused += 1;
            }
        }
    }
    assert_eq!((accepted, refused), (7, 29));
}

pub(crate) fn assert_decoded(name: &str, decoded: &Announcement, expected: &Value) {
    assert_eq!(
        decoded.root(),
        recorded::key(expected, "root_public_key"),
        "{name}"
    );
    let root_sequence = recorded::number(&expected["root_sequence"]);
    assert_eq!(decoded.root_sequence(), root_sequence, "{name}");
    let entries: Vec<_> = expected["signatures"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            (
                recorded::number(&entry["hop"]),
                recorded::key(entry, "public_key"),
                recorded::signature(entry, "signature"),
            )
        })
        .collect();
    let ours: Vec<_> = decoded
        .entries()
        .iter()
        .map(|entry| (entry.port, entry.key, decoded.signature(entry)))
        .collect();
    assert_eq!(ours, entries, "{name}");
    let signers: Vec<_> = entries.iter().map(|(_, key, _)| *key).collect();
    assert_eq!(decoded.signers().collect::<Vec<_>>(), signers, "{name}");
    let (all, above) = (&expected["coords"], &expected["peer_coords"]);
    assert_eq!(decoded.coordinates(), recorded::coordinates(all), "{name}");
    assert_eq!(
        decoded.peer_coordinates(),
        recorded::coordinates(above),
        "{name}"
    );
}

/// Returns a payload with `n` made-up signers that all have the same port number.
fn chain(n: usize, port: u64, root_sequence: u64) -> Vec<u8> {
    let key_of = |i: usize| PublicKey(std::array::from_fn(|at| (i >> (8 * (at % 4))) as u8));
    let mut frame = vec![0; 12];
    frame.extend(announcement::root_payload(&key_of(0), root_sequence));
    for i in 0..n {
        let payload = frame[12..].to_vec();
        frame.clear();
        let signature = Signature([i as u8; 64]);
        announcement::push_frame(&mut frame, &payload, port, &key_of(i), &signature).unwrap();
    }
    frame[12..].to_vec()
}

/// A frame has room for 675 entries with port numbers of one byte.
#[test]
fn a_full_frame_is_decoded() {
    let payload = chain(675, 1, 1);
    assert!(payload.len() <= 65_535 - 12 && payload.len() + 97 > 65_535 - 12);
    let decoded = Announcement::decode(&payload).unwrap();
    assert_eq!(decoded.entries().len(), 675);
}

#[test]
fn an_announcement_that_is_too_long_is_not_built() {
    let payload = vec![0; 65_535 - 12 - 97];
    let (key, signature) = (PublicKey::MIN, Signature([0; 64]));
    let mut out = b"before".to_vec();
    announcement::push_frame(&mut out, &payload, 127, &key, &signature).unwrap();
    assert_eq!(out.len(), 6 + 65_535);
    out.truncate(6);
    assert_eq!(
        announcement::push_frame(&mut out, &payload, 128, &key, &signature),
        Err(BuildError::TooLong { len: 65_536 })
    );
    assert_eq!(out, b"before");
}

/// The last 97 bytes are an entry if its port number takes one byte, and malformed if it takes more.
#[test]
fn an_entry_that_is_one_byte_short() {
    let whole = chain(2, 128, 1);
    let cut = &whole[..whole.len() - 1];
    let second = chain(1, 128, 1).len();
    assert_eq!(
        Announcement::decode(cut),
        Err(AnnouncementError::Malformed { at: second })
    );
    let cut = &whole[..whole.len() - 2];
    assert_eq!(Announcement::decode(cut).unwrap().entries().len(), 1);
}

#[test]
fn a_signer_occurs_only_once() {
    let [a, b, c] = [1, 2, 3].map(|i| SecretKey::from_seed(&[i; 32]));
    let build = |signers: &[&SecretKey]| {
        let mut payload = announcement::root_payload(&signers[0].public_key(), 1);
        for signer in signers {
            let signature = announcement::sign(&payload, signer);
            let mut frame = Vec::new();
            announcement::push_frame(&mut frame, &payload, 1, &signer.public_key(), &signature)
                .unwrap();
            payload = frame[12..].to_vec();
        }
        let decoded = Announcement::decode(&payload).unwrap();
        decoded.verify(|key| key.verifying_key()).unwrap();
        decoded.check(&signers[signers.len() - 1].public_key())
    };
    assert_eq!(build(&[&a, &b, &c]), Ok(()));
    for (signers, twice) in [
        (&[&a, &b, &a][..], &a),
        (&[&a, &a], &a),
        (&[&a, &b, &c, &b], &b),
        (&[&a, &b, &b], &b),
    ] {
        let signer = twice.public_key();
        assert_eq!(build(signers), Err(AnnouncementError::Loop { signer }));
    }
}
