//! The recorded frames of every type, valid and invalid, which are parsed and built again.

use pinecone_wire::announcement::{self, Announcement};
use pinecone_wire::frame::{self, FrameHeader, KEEPALIVE};
use pinecone_wire::traffic::{self, push_traffic};
use pinecone_wire::{
    Coordinates, Frame, FrameError, FrameType, SignedBody, Split, TrafficFields, Watermark, split,
};
use serde_json::Value;

use crate::recorded;

#[test]
fn recorded_frames() {
    let cases = recorded::cases("frames");
    assert_eq!(cases.len(), 14);
    for case in &cases {
        let (name, bytes) = (recorded::text(case, "name"), recorded::bytes(case, "hex"));
        let fields = &case["fields"];
        let (header, frame) = Frame::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(split(&bytes), Ok(Split::Frame(header)), "{name}");
        assert_eq!(usize::from(header.len), bytes.len(), "{name}");
        assert_fields(name, &bytes, header, frame, fields);
        match frame {
            Frame::Announcement { payload } => {
                assert_announcement(name, payload, &case["announcement"], &bytes);
            }
            Frame::Bootstrap { payload, .. } | Frame::Broadcast { payload, .. } => {
                assert_body(name, payload, &case["body"]);
            }
            _ => {}
        }
        assert_eq!(rebuild(fields), bytes, "{name}");
    }
}

/// This crate refuses the frames that the Go decoder refuses or panics on, and those for which it reads
/// past the end of the frame or accepts an incomplete number. All others are decoded as by Go.
#[test]
fn recorded_bad_frames() {
    let truncated = |field, len| Some(FrameError::Truncated { field, len });
    let number = |field| Some(FrameError::Number { field });
    let expected = [
        ("empty", truncated("header", 0)),
        ("nine-bytes", truncated("header", 9)),
        ("bad-magic", Some(FrameError::Magic(*b"qine"))),
        ("length-too-small", truncated("payload", 104)),
        ("version-1", None),
        ("unknown-type-5", None),
        ("unknown-type-255", None),
        ("keepalive-with-trailing-bytes", None),
        ("type-1-length-11", truncated("payload length", 11)),
        ("type-1-length-12-payload-0", None),
        ("type-1-length-12-payload-65535", truncated("payload", 12)),
        ("type-2-length-10", truncated("payload length", 10)),
        (
            "type-2-length-12-payload-0",
            truncated("destination key", 12),
        ),
        (
            "type-2-length-12-payload-65535",
            truncated("destination key", 12),
        ),
        ("type-3-length-10", truncated("payload length", 10)),
        ("type-3-length-11", truncated("payload length", 11)),
        (
            "type-3-length-12-payload-65535",
            truncated("destination coordinates", 12),
        ),
        ("type-4-length-10", truncated("payload length", 10)),
        ("type-4-length-11", truncated("payload length", 11)),
        ("type-4-length-12-payload-0", truncated("source key", 12)),
        ("traffic-payload-len-too-big", truncated("payload", 105)),
        (
            "traffic-payload-len-too-small",
            Some(FrameError::Trailing { extra: 1 }),
        ),
        (
            "traffic-dest-coords-len-past-end",
            truncated("destination coordinates", 105),
        ),
        ("traffic-cut-in-destination-key", truncated("watermark", 30)),
        (
            "traffic-dest-coords-one-truncated-varint",
            number("destination coordinates"),
        ),
        (
            "announcement-payload-len-too-big",
            truncated("payload", 240),
        ),
        ("announcement-payload-len-too-small", None),
        ("bootstrap-cut-in-watermark", truncated("watermark key", 60)),
        ("bootstrap-payload-len-too-small", None),
    ];
    let cases = recorded::cases("frames_negative");
    let names: Vec<_> = cases.iter().map(|c| recorded::text(c, "name")).collect();
    assert_eq!(names, expected.map(|(name, _)| name));
    for (case, (name, error)) in cases.iter().zip(expected) {
        let bytes = recorded::bytes(case, "hex");
        let parsed = Frame::parse(&bytes);
        assert_eq!(parsed.err(), error, "{name}");
        let go = &case["go_decode"];
        if let Ok((header, frame)) = parsed {
            assert_eq!(go["ok"], true, "{name}: Go refuses it, we do not");
            assert_fields(name, &bytes, header, frame, &go["frame"]);
        }
        // The splitter reads the header only.
        let expected = match name {
            "empty" => Ok(Split::Missing(10)),
            "nine-bytes" => Ok(Split::Missing(1)),
            "bad-magic" => Err(FrameError::Magic(*b"qine")),
            _ => Ok(Split::Frame(FrameHeader::decode(&bytes).unwrap().unwrap())),
        };
        assert_eq!(split(&bytes), expected, "{name}");
    }
}

#[test]
fn lengths_below_the_header() {
    for len in 0..10u8 {
        for kind in [0, 1, 2, 3, 4, 5, 255] {
            let frame = [b'p', b'i', b'n', b'e', 0, kind, 0, 0, 0, len];
            let error = FrameError::Length(u16::from(len));
            assert_eq!(split(&frame), Err(error));
            assert_eq!(Frame::parse(&frame).unwrap_err(), error);
        }
    }
}

#[test]
fn keepalive_is_the_recorded_one() {
    let cases = recorded::cases("frames");
    assert_eq!(recorded::bytes(&cases[0], "hex"), KEEPALIVE);
}

#[test]
fn bytes_after_the_payload_are_not_part_of_it() {
    let key = pinecone_wire::PublicKey([3; 32]);
    let mut frames = vec![Vec::new(), Vec::new(), Vec::new()];
    frame::push_announcement(&mut frames[0], b"abc").unwrap();
    frame::push_bootstrap(&mut frames[1], (0, 0), &key, &Watermark::START, b"abc").unwrap();
    frame::push_broadcast(&mut frames[2], (0, 5), &key, b"abc").unwrap();
    for mut frame in frames {
        frame.extend_from_slice(b"left over");
        let len = (frame.len() as u16).to_be_bytes();
        frame[8..10].copy_from_slice(&len);
        match Frame::parse(&frame).unwrap().1 {
            Frame::Announcement { payload }
            | Frame::Bootstrap { payload, .. }
            | Frame::Broadcast { payload, .. } => assert_eq!(payload, b"abc"),
            other => panic!("{other:?}"),
        }
    }
}

fn assert_fields(name: &str, bytes: &[u8], header: FrameHeader, frame: Frame<'_>, fields: &Value) {
    assert_eq!(
        u64::from(bytes[4]),
        recorded::number(&fields["version"]),
        "{name}"
    );
    assert_eq!(
        u64::from(bytes[5]),
        recorded::number(&fields["type"]),
        "{name}"
    );
    assert_eq!(header.kind, FrameType::from_byte(bytes[5]), "{name}");
    assert_eq!(header.kind.byte(), bytes[5], "{name}");
    assert_eq!(
        u64::from(header.extra),
        recorded::number(&fields["extra"]),
        "{name}"
    );
    let hop_limit = recorded::number(&fields["hop_limit"]);
    assert_eq!(u64::from(header.hop_limit), hop_limit, "{name}");
    assert_eq!(traffic::hop_limit(bytes), header.hop_limit, "{name}");
    let payload_of = |payload: &[u8]| {
        assert_eq!(payload, recorded::bytes(fields, "payload"), "{name}");
        let len = recorded::number(&fields["payload_len"]);
        assert_eq!(payload.len() as u64, len, "{name}");
    };
    match (frame, header.kind) {
        (Frame::Keepalive, FrameType::Keepalive) => {}
        (Frame::Unknown(byte), FrameType::Unknown(kind)) => assert_eq!(byte, kind),
        (Frame::Announcement { payload }, FrameType::Announcement) => payload_of(payload),
        (
            Frame::Bootstrap {
                key,
                watermark,
                payload,
            },
            FrameType::Bootstrap,
        ) => {
            assert_eq!(key, recorded::key(fields, "destination_key"), "{name}");
            assert_eq!(watermark, watermark_field(fields), "{name}");
            payload_of(payload);
        }
        (Frame::Broadcast { key, payload }, FrameType::Broadcast) => {
            assert_eq!(key, recorded::key(fields, "source_key"), "{name}");
            payload_of(payload);
        }
        (Frame::Traffic(layout), FrameType::Traffic) => {
            let destination = recorded::coordinates(&fields["destination"]);
            let source = recorded::coordinates(&fields["source"]);
            assert_eq!(layout.len(), bytes.len(), "{name}");
            assert_eq!(layout.has_destination(), !destination.is_root(), "{name}");
            assert_eq!(Coordinates::from(layout.destination(bytes)), destination);
            assert_eq!(Coordinates::from(layout.source(bytes)), source, "{name}");
            let to = recorded::key(fields, "destination_key");
            let from = recorded::key(fields, "source_key");
            assert_eq!(layout.destination_key(bytes), to, "{name}");
            assert_eq!(layout.source_key(bytes), from, "{name}");
            assert_eq!(layout.flow(bytes), [to.0, from.0].concat(), "{name}");
            assert_eq!(layout.watermark(bytes), watermark_field(fields), "{name}");
            payload_of(layout.payload(bytes));
            assert_eq!(&bytes[layout.payload_range()], layout.payload(bytes));
        }
        (frame, kind) => panic!("{name}: {frame:?} from a frame of type {kind:?}"),
    }
}

fn assert_announcement(name: &str, payload: &[u8], expected: &Value, bytes: &[u8]) {
    let decoded = Announcement::decode(payload).unwrap();
    let entries = expected["signatures"].as_array().unwrap();
    let peer = recorded::key(&entries[entries.len() - 1], "public_key");
    decoded.check(&peer).unwrap();
    decoded.verify(|key| key.verifying_key()).unwrap();
    crate::announcements::assert_decoded(name, &decoded, expected);
    assert_eq!(decoded.payload(), payload, "{name}");
    // Signed by one signer after the other, the announcement is the recorded one.
    let keys = recorded::cases("keys");
    let mut built = announcement::root_payload(&decoded.root(), decoded.root_sequence());
    let mut frame = Vec::new();
    for entry in decoded.entries() {
        let digits = entry.key.to_string();
        let pair = keys.iter().find(|k| k["public_key"] == digits).unwrap();
        let key = recorded::text(pair, "seed").parse().unwrap();
        let signature = announcement::sign(&built, &key);
        assert_eq!(signature, decoded.signature(entry), "{name}");
        frame.clear();
        announcement::push_frame(&mut frame, &built, entry.port, &entry.key, &signature).unwrap();
        built = frame[12..].to_vec();
    }
    assert_eq!(frame, bytes, "{name}");
}

fn assert_body(name: &str, payload: &[u8], expected: &Value) {
    let (body, taken) = SignedBody::decode(payload).unwrap();
    assert_eq!(taken, payload.len(), "{name}");
    assert_eq!(
        body.sequence,
        recorded::number(&expected["sequence"]),
        "{name}"
    );
    assert_eq!(
        body.root,
        recorded::key(expected, "root_public_key"),
        "{name}"
    );
    let root_sequence = recorded::number(&expected["root_sequence"]);
    assert_eq!(body.root_sequence, root_sequence, "{name}");
    assert_eq!(body.signature, recorded::signature(expected, "signature"));
    assert_eq!(
        body.signed_bytes(),
        recorded::bytes(expected, "signed_bytes")
    );
    let key = recorded::key(expected, "signing_key")
        .verifying_key()
        .unwrap();
    assert!(body.verify(&key), "{name}");
    assert_eq!(body.encode(), payload, "{name}");
}

fn rebuild(fields: &Value) -> Vec<u8> {
    let byte = |name: &str| u8::try_from(recorded::number(&fields[name])).unwrap();
    let (extra, hop_limit) = (byte("extra"), byte("hop_limit"));
    let mut out = Vec::new();
    match FrameType::from_byte(byte("type")) {
        FrameType::Keepalive => {
            out.extend_from_slice(&KEEPALIVE);
            out[6] = extra;
            traffic::set_hop_limit(&mut out, hop_limit);
        }
        FrameType::Announcement => {
            frame::push_announcement(&mut out, &recorded::bytes(fields, "payload")).unwrap();
        }
        FrameType::Bootstrap => frame::push_bootstrap(
            &mut out,
            (extra, hop_limit),
            &recorded::key(fields, "destination_key"),
            &watermark_field(fields),
            &recorded::bytes(fields, "payload"),
        )
        .unwrap(),
        FrameType::Broadcast => frame::push_broadcast(
            &mut out,
            (extra, hop_limit),
            &recorded::key(fields, "source_key"),
            &recorded::bytes(fields, "payload"),
        )
        .unwrap(),
        FrameType::Traffic => push_traffic(
            &mut out,
            &TrafficFields {
                extra,
                hop_limit,
                destination: &recorded::coordinates(&fields["destination"]),
                source: &recorded::coordinates(&fields["source"]),
                destination_key: recorded::key(fields, "destination_key"),
                source_key: recorded::key(fields, "source_key"),
                watermark: watermark_field(fields),
                payload: &recorded::bytes(fields, "payload"),
            },
        )
        .unwrap(),
        FrameType::Unknown(byte) => panic!("nothing builds a frame of type {byte}"),
    }
    out
}

fn watermark_field(fields: &Value) -> Watermark {
    Watermark {
        key: recorded::key(fields, "watermark_key"),
        sequence: recorded::number(&fields["watermark_seq"]),
    }
}
