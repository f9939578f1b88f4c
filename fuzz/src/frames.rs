//! The handshake, frames and their payloads (protocol sections 2 to 5, 8 and 9).

use pinecone_wire::announcement::{self, Announcement};
use pinecone_wire::frame::{HEADER_LEN, push_announcement, push_bootstrap, push_broadcast};
use pinecone_wire::handshake::{CAPABILITIES, VERSION};
use pinecone_wire::ping::{self, Ping};
use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{
    AnnouncementError, Coordinates, Extensions, Frame, FrameError, FrameHeader, HANDSHAKE_LEN,
    Handshake, MAX_FRAME_LEN, Patch, SecretKey, SignedBody, Split, TrafficFields, TrafficLayout,
    Watermark, handshake, split,
};

/// A handshake that is accepted has the right version, capabilities and signature. One that is made
/// from a seed and extensions is accepted, and with any bit flipped it is not.
///
/// Input of at least 104 bytes is a handshake. Shorter input is a seed, extensions and a position.
pub fn handshake(bytes: &[u8]) {
    if let Some(received) = bytes.first_chunk::<HANDSHAKE_LEN>() {
        if let Ok(accepted) = handshake::decode(received) {
            assert_eq!(received[0], VERSION);
            assert_eq!(received[1..4], accepted.extensions.0);
            assert_eq!(received[4..8], CAPABILITIES.to_be_bytes());
            assert_eq!(received[8..40], accepted.public_key.0);
        }
        return;
    }
    let Some((seed, [e0, e1, e2, at, bit])) = bytes.split_first_chunk::<32>() else {
        return;
    };
    let (key, extensions) = (SecretKey::from_seed(seed), Extensions([*e0, *e1, *e2]));
    let mut sent = handshake::encode_offering(&key, extensions);
    let public_key = key.public_key();
    assert_eq!(
        handshake::decode(&sent),
        Ok(Handshake {
            public_key,
            extensions
        })
    );
    sent[usize::from(*at) % HANDSHAKE_LEN] ^= 1 << (bit % 8);
    handshake::decode(&sent).unwrap_err();
}

/// A frame that is parsed lies within its length, and its fields make the same bytes again.
pub fn frame(bytes: &[u8]) {
    let Ok((header, frame)) = Frame::parse(bytes) else {
        return;
    };
    let whole = &bytes[..usize::from(header.len)];
    let passed_on = (header.extra, header.hop_limit);
    let mut built = Vec::new();
    match frame {
        Frame::Keepalive | Frame::Unknown(_) => return,
        Frame::Traffic(layout) => return traffic(whole, &layout),
        Frame::Announcement { payload } => {
            push_announcement(&mut built, payload).unwrap();
            // No node passes these two bytes on.
            built[6..8].copy_from_slice(&whole[6..8]);
        }
        Frame::Bootstrap {
            key,
            watermark,
            payload,
        } => push_bootstrap(&mut built, passed_on, &key, &watermark, payload).unwrap(),
        Frame::Broadcast { key, payload } => {
            push_broadcast(&mut built, passed_on, &key, payload).unwrap();
        }
    }
    assert_eq!(Frame::parse(&built).unwrap().1, frame);
    // Bytes after the payload are dropped, and the version is always 0.
    assert!(built.len() <= whole.len());
    assert_eq!(built[5..8], whole[5..8]);
    assert_eq!(built[HEADER_LEN..], whole[HEADER_LEN..built.len()]);
}

/// Fields of a traffic frame make the same frame again, and a new watermark changes nothing else.
fn traffic(whole: &[u8], layout: &TrafficLayout) {
    assert_eq!(layout.len(), whole.len());
    let head = TrafficLayout::parse_head(&whole[..layout.payload_range().start]);
    assert_eq!(head.map(|(layout, _)| layout), Ok(*layout));
    assert_eq!(build_traffic(whole, layout, None), whole);
    // A sequence of any length, from the frame.
    let source = layout.source_key(whole);
    let sequence = source.0.first_chunk().map_or(0, |c| u64::from_be_bytes(*c));
    let watermark = Watermark {
        key: source,
        sequence: sequence >> (source.0[8] % 64),
    };
    let mut patched = whole.to_vec();
    let result = match layout.patch_snek(&mut patched, &watermark) {
        Ok(Patch::InPlace { start }) => patched.split_off(start),
        Ok(Patch::Grows { by }) => {
            assert_eq!(patched, whole);
            let mut head = vec![0; MAX_FRAME_LEN];
            let n = layout
                .write_snek_head(whole, &watermark, &mut head)
                .unwrap();
            assert_eq!(n, layout.payload_range().start + by);
            head.truncate(n);
            head.extend_from_slice(layout.payload(whole));
            head
        }
        Err(_) => {
            assert_eq!(patched, whole);
            return;
        }
    };
    assert_eq!(result, build_traffic(whole, layout, Some(watermark)));
}

/// Builds a frame from the fields of another; with a watermark, as it is routed on by SNEK.
fn build_traffic(frame: &[u8], layout: &TrafficLayout, snek: Option<Watermark>) -> Vec<u8> {
    let mut built = Vec::new();
    let destination = match snek {
        Some(_) => Coordinates::default(),
        None => layout.destination(frame).into(),
    };
    push_traffic(
        &mut built,
        &TrafficFields {
            extra: frame[6],
            hop_limit: frame[7],
            destination: &destination,
            source: &layout.source(frame).into(),
            destination_key: layout.destination_key(frame),
            source_key: layout.source_key(frame),
            watermark: snek.unwrap_or(layout.watermark(frame)),
            payload: layout.payload(frame),
        },
    )
    .unwrap();
    // The version and, where the caller parsed the layout alone, magic and type are not read.
    built[..6].copy_from_slice(&frame[..6]);
    built
}

/// However a stream is cut, it gives the same frames, and the same error at the same place.
///
/// The first eight bytes say how long the pieces are, the rest is the stream.
pub fn splitter(bytes: &[u8]) {
    let Some((sizes, stream)) = bytes.split_first_chunk::<8>() else {
        return;
    };
    let mut frames = Vec::new();
    let at_once = take_frames(stream, &mut frames);

    let (mut seen, mut buffer, mut rest) = (Vec::new(), Vec::new(), stream);
    let mut in_pieces = Ok(0);
    let mut missing = 0;
    for size in sizes.iter().cycle() {
        // A piece is from 1 byte to about 2,000.
        let size =
            (1 + usize::from(size & 0x7f) * (1 + usize::from(size >> 7) * 15)).min(rest.len());
        let (piece, behind) = rest.split_at(size);
        rest = behind;
        buffer.extend_from_slice(piece);
        let before = seen.len();
        in_pieces = take_frames(&buffer, &mut seen);
        let Ok(taken) = in_pieces else {
            break;
        };
        // The next frame is complete only after the reported number of missing bytes.
        assert!(size >= missing || seen.len() == before);
        buffer.drain(..taken);
        missing = match split(&buffer) {
            Ok(Split::Missing(missing)) => missing,
            other => panic!("{other:?} after all frames were taken"),
        };
        assert!(missing > 0 && buffer.len() + missing <= MAX_FRAME_LEN);
        if rest.is_empty() {
            break;
        }
    }
    assert_eq!(seen, frames);
    // The bytes that an error quotes are those that have come so far.
    let kind = |error| match error {
        FrameError::Magic(_) => FrameError::Magic([0; 4]),
        other => other,
    };
    assert_eq!(in_pieces.err().map(kind), at_once.err().map(kind));
}

/// Appends all whole frames at the start of a stream, and returns their length in bytes.
fn take_frames(
    stream: &[u8],
    frames: &mut Vec<(FrameHeader, Vec<u8>)>,
) -> Result<usize, FrameError> {
    let mut rest = stream;
    while let Split::Frame(header) = split(rest)? {
        let len = usize::from(header.len);
        assert!((HEADER_LEN..=rest.len()).contains(&len));
        let (frame, behind) = rest.split_at(len);
        frames.push((header, frame.to_vec()));
        rest = behind;
    }
    Ok(stream.len() - rest.len())
}

/// The entries of an announcement that is decoded, appended one by one, make the same payload again.
pub fn announcement(payload: &[u8]) {
    let Ok(decoded) = Announcement::decode(payload) else {
        return;
    };
    let n = decoded.payload().len();
    assert_eq!(decoded.payload(), &payload[..n]);
    assert!(payload.len() - n < 97);

    let mut built = announcement::root_payload(&decoded.root(), decoded.root_sequence());
    for entry in decoded.entries() {
        assert_eq!(decoded.signed_bytes(entry), built);
        let mut frame = Vec::new();
        let signature = decoded.signature(entry);
        if announcement::push_frame(&mut frame, &built, entry.port, &entry.key, &signature).is_err()
        {
            // The payload is too long for a frame.
            assert!(payload.len() > MAX_FRAME_LEN - HEADER_LEN - 2);
            return;
        }
        let Ok((_, Frame::Announcement { payload })) = Frame::parse(&frame) else {
            panic!("an announcement frame is not parsed as one");
        };
        built = payload.to_vec();
    }
    assert_eq!(built, decoded.payload());

    let ports: Vec<_> = decoded.entries().iter().map(|entry| entry.port).collect();
    let (coordinates, above) = (decoded.coordinates(), decoded.peer_coordinates());
    assert_eq!(coordinates.ports(), ports);
    assert_eq!(above.ports(), &ports[..ports.len().saturating_sub(1)]);
    let peer = decoded.signers().last().unwrap_or_default();
    if decoded.check(&peer).is_ok() {
        assert_eq!(decoded.signers().next(), Some(decoded.root()));
        assert!(!ports.contains(&0));
        let mut signers: Vec<_> = decoded.signers().collect();
        signers.sort();
        signers.dedup();
        assert_eq!(signers.len(), ports.len());
    }
    // No key can be decompressed: checking signatures would take most of the time.
    let verified = decoded.verify(|_| None);
    let unsigned = AnnouncementError::Signature { index: 0 };
    assert_eq!(verified.err(), (!ports.is_empty()).then_some(unsigned));
}

/// A body that is decoded is encoded to the same bytes.
pub fn signed_body(payload: &[u8]) {
    let Ok((body, n)) = SignedBody::decode(payload) else {
        return;
    };
    let encoded = body.encode();
    assert_eq!(encoded, payload[..n]);
    assert!(encoded.starts_with(&body.signed_bytes()));
    assert_eq!(SignedBody::decode(&encoded), Ok((body, n)));
}

/// A ping that is decoded is encoded to the same bytes. A hop changes the number of hops of a ping on
/// its way to its destination, and nothing else.
pub fn ping(payload: &[u8]) {
    let decoded = Ping::decode(payload);
    let mut hopped = payload.to_vec();
    ping::count_hop(&mut hopped);
    match decoded {
        Some(ping) => {
            assert_eq!(ping.encode(), payload);
            let outward = ping.kind == ping::PingType::Ping;
            let hops = ping.hops.saturating_add(u16::from(outward));
            assert_eq!(Ping::decode(&hopped), Some(Ping { hops, ..ping }));
            assert_eq!(
                Ping::decode(&ping.pong().encode()),
                Some(Ping {
                    kind: ping::PingType::Pong,
                    ..ping
                })
            );
        }
        None => assert_eq!(hopped, payload),
    }
}
