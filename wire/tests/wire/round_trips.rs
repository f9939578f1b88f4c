//! Frames, bodies and other values with random content are decoded as they were encoded.

use pinecone_wire::announcement::{self, Announcement};
use pinecone_wire::frame::{self, HEADER_LEN};
use pinecone_wire::ping::{self, Ping, PingType};
use pinecone_wire::traffic::{self, push_traffic};
use pinecone_wire::{
    BuildError, Coordinates, Extensions, Frame, FrameHeader, FrameType, MAX_FRAME_LEN, PublicKey,
    SecretKey, SignedBody, TrafficFields, TrafficLayout, Watermark, handshake,
};
use proptest::prelude::*;

use crate::values::edge_number;

/// The fields of a traffic frame, owned.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    pub(crate) version: u8,
    pub(crate) extra: u8,
    pub(crate) hop_limit: u8,
    pub(crate) destination: Coordinates,
    pub(crate) source: Coordinates,
    pub(crate) destination_key: PublicKey,
    pub(crate) source_key: PublicKey,
    pub(crate) watermark: Watermark,
    pub(crate) payload: Vec<u8>,
}

impl Traffic {
    pub(crate) fn build(&self) -> Result<Vec<u8>, BuildError> {
        let mut out = Vec::new();
        push_traffic(
            &mut out,
            &TrafficFields {
                extra: self.extra,
                hop_limit: self.hop_limit,
                destination: &self.destination,
                source: &self.source,
                destination_key: self.destination_key,
                source_key: self.source_key,
                watermark: self.watermark,
                payload: &self.payload,
            },
        )?;
        // This crate writes 0, but passes on other versions.
        out[4] = self.version;
        Ok(out)
    }

    pub(crate) fn read(frame: &[u8], layout: &TrafficLayout) -> Self {
        Self {
            version: frame[4],
            extra: frame[6],
            hop_limit: frame[7],
            destination: layout.destination(frame).into(),
            source: layout.source(frame).into(),
            destination_key: layout.destination_key(frame),
            source_key: layout.source_key(frame),
            watermark: layout.watermark(frame),
            payload: layout.payload(frame).to_vec(),
        }
    }
}

pub(crate) fn any_key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey)
}

pub(crate) fn any_watermark() -> impl Strategy<Value = Watermark> {
    (any_key(), edge_number()).prop_map(|(key, sequence)| Watermark { key, sequence })
}

pub(crate) fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

fn any_coordinates() -> impl Strategy<Value = Coordinates> {
    prop_oneof![
        2 => Just(Coordinates::default()),
        6 => prop::collection::vec(edge_number(), 0..12).prop_map(Coordinates::from),
        1 => (1usize..2000).prop_map(|n| vec![300; n].into()),
    ]
}

pub(crate) fn any_traffic() -> impl Strategy<Value = Traffic> {
    (
        any::<[u8; 3]>(),
        (any_coordinates(), any_coordinates()),
        (any_key(), any_key()),
        any_watermark(),
        any_payload(),
    )
        .prop_map(|(bytes, coordinates, keys, watermark, payload)| Traffic {
            version: bytes[0],
            extra: bytes[1],
            hop_limit: bytes[2],
            destination: coordinates.0,
            source: coordinates.1,
            destination_key: keys.0,
            source_key: keys.1,
            watermark,
            payload,
        })
}

/// A valid frame of any type.
pub(crate) fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let header = any::<(u8, u8)>();
    prop_oneof![
        Just(frame::KEEPALIVE.to_vec()),
        any_payload().prop_map(|payload| {
            let mut out = Vec::new();
            frame::push_announcement(&mut out, &payload).unwrap();
            out
        }),
        (header, any_key(), any_watermark(), any_payload()).prop_map(|(header, key, w, p)| {
            let mut out = Vec::new();
            frame::push_bootstrap(&mut out, header, &key, &w, &p).unwrap();
            out
        }),
        (header, any_key(), any_payload()).prop_map(|(header, key, payload)| {
            let mut out = Vec::new();
            frame::push_broadcast(&mut out, header, &key, &payload).unwrap();
            out
        }),
        any_traffic().prop_map(|traffic| traffic.build().unwrap()),
        (5u8.., any_payload()).prop_map(|(kind, body)| {
            let len = (HEADER_LEN + body.len()) as u16;
            let mut out = b"pine\0".to_vec();
            out.extend_from_slice(&[kind, 0, 0]);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&body);
            out
        }),
    ]
}

proptest! {
    #[test]
    fn traffic(fields in any_traffic()) {
        let frame = fields.build().unwrap();
        let (header, parsed) = Frame::parse(&frame).unwrap();
        prop_assert_eq!(header.kind, FrameType::Traffic);
        prop_assert_eq!(usize::from(header.len), frame.len());
        prop_assert_eq!((header.extra, header.hop_limit), (fields.extra, fields.hop_limit));
        let Frame::Traffic(layout) = parsed else { panic!("{parsed:?}") };
        prop_assert_eq!(layout.len(), frame.len());
        prop_assert_eq!(layout.has_destination(), !fields.destination.is_root());
        prop_assert_eq!(layout.payload_range().end, frame.len());
        // The head alone has the same layout, and is no shorter or longer.
        let (payload_at, sequence) = (layout.payload_range().start, layout.watermark(&frame).sequence);
        prop_assert_eq!(TrafficLayout::parse_head(&frame[..payload_at]), Ok((layout, sequence)));
        for cut in 0..frame.len() {
            let parsed = TrafficLayout::parse_head(&frame[..cut]);
            prop_assert_eq!(parsed.is_ok(), cut == payload_at);
        }
        let read = Traffic::read(&frame, &layout);
        // A frame with destination coordinates has no watermark.
        let watermark = match layout.has_destination() {
            true => Watermark::START,
            false => fields.watermark,
        };
        prop_assert_eq!(read.watermark, watermark);
        let expected = Traffic { watermark, ..fields };
        prop_assert_eq!(format!("{read:?}"), format!("{expected:?}"));
        prop_assert_eq!(read.build().unwrap(), frame);
    }

    #[test]
    fn hop_limits(frame in any_frame(), hop_limit in any::<u8>()) {
        let mut changed = frame.clone();
        traffic::set_hop_limit(&mut changed, hop_limit);
        prop_assert_eq!(traffic::hop_limit(&changed), hop_limit);
        let header = FrameHeader::decode(&changed).unwrap().unwrap();
        prop_assert_eq!(header.hop_limit, hop_limit);
        changed[7] = frame[7];
        prop_assert_eq!(changed, frame);
    }

    #[test]
    fn protocol_frames(
        header in any::<(u8, u8)>(), key in any_key(), watermark in any_watermark(),
        payload in any_payload(), before in any_payload(),
    ) {
        let mut out = before.clone();
        let mut starts = vec![out.len()];
        frame::push_announcement(&mut out, &payload).unwrap();
        starts.push(out.len());
        frame::push_bootstrap(&mut out, header, &key, &watermark, &payload).unwrap();
        starts.push(out.len());
        frame::push_broadcast(&mut out, header, &key, &payload).unwrap();
        starts.push(out.len());
        let payload = &payload[..];
        let expected = [
            ((0, 0), Frame::Announcement { payload }),
            (header, Frame::Bootstrap { key, watermark, payload }),
            (header, Frame::Broadcast { key, payload }),
        ];
        prop_assert_eq!(&out[..before.len()], &before[..]);
        for (at, (carried, frame)) in starts.windows(2).zip(expected) {
            let (header, parsed) = Frame::parse(&out[at[0]..at[1]]).unwrap();
            prop_assert_eq!(parsed, frame);
            prop_assert_eq!((header.extra, header.hop_limit), carried);
            prop_assert_eq!(usize::from(header.len), at[1] - at[0]);
        }
    }

    #[test]
    fn announcements(
        seeds in prop::collection::vec((any::<[u8; 32]>(), edge_number()), 1..4),
        root_sequence in edge_number(),
        rest in prop::collection::vec(any::<u8>(), 0..97),
    ) {
        let keys: Vec<_> = seeds.iter().map(|(seed, _)| SecretKey::from_seed(seed)).collect();
        let root = keys[0].public_key();
        let mut payload = announcement::root_payload(&root, root_sequence);
        for (key, (_, port)) in keys.iter().zip(&seeds) {
            let mut frame = Vec::new();
            let signature = announcement::sign(&payload, key);
            announcement::push_frame(&mut frame, &payload, *port, &key.public_key(), &signature)
                .unwrap();
            let (_, parsed) = Frame::parse(&frame).unwrap();
            let Frame::Announcement { payload: longer } = parsed else { panic!("{parsed:?}") };
            payload = longer.to_vec();
        }
        let with_rest = [&payload[..], &rest].concat();
        let decoded = Announcement::decode(&with_rest).unwrap();
        prop_assert_eq!(decoded.payload(), &payload[..]);
        prop_assert_eq!((decoded.root(), decoded.root_sequence()), (root, root_sequence));
        let signers: Vec<_> = keys.iter().map(SecretKey::public_key).collect();
        prop_assert_eq!(decoded.signers().collect::<Vec<_>>(), signers);
        let ports: Vec<_> = seeds.iter().map(|(_, port)| *port).collect();
        prop_assert_eq!(decoded.coordinates(), ports.clone().into());
        prop_assert_eq!(decoded.peer_coordinates(), ports[..ports.len() - 1].to_vec().into());
        prop_assert_eq!(decoded.verify(|key| key.verifying_key()), Ok(()));
    }

    #[test]
    fn bodies(
        seed in any::<[u8; 32]>(), other in any::<[u8; 32]>(), root in any_key(),
        sequence in edge_number(), root_sequence in edge_number(), rest in any_payload(),
    ) {
        let key = SecretKey::from_seed(&seed);
        let body = SignedBody::sign(&key, sequence, root, root_sequence);
        let encoded = body.encode();
        let stream = [&encoded[..], &rest].concat();
        prop_assert_eq!(SignedBody::decode(&stream), Ok((body, encoded.len())));
        prop_assert!(body.verify(&key.public_key().verifying_key().unwrap()));
        let other = SecretKey::from_seed(&other).public_key();
        prop_assert!(!body.verify(&other.verifying_key().unwrap()));
        for cut in [0, 97, encoded.len() - 1] {
            prop_assert!(SignedBody::decode(&encoded[..cut]).is_err());
        }
    }

    #[test]
    fn handshakes(seed in any::<[u8; 32]>(), offer in any::<[u8; 3]>()) {
        let key = SecretKey::from_seed(&seed);
        let decoded = handshake::decode(&handshake::encode(&key)).unwrap();
        prop_assert_eq!(decoded.public_key, key.public_key());
        prop_assert_eq!(decoded.extensions, Extensions::NONE);
        let offered = handshake::encode_offering(&key, Extensions(offer));
        let decoded = handshake::decode(&offered).unwrap();
        prop_assert_eq!(decoded.extensions, Extensions(offer));
        let notices = decoded.extensions.contains(Extensions::BREAK_NOTICES);
        prop_assert_eq!(notices, offer[2] & 1 == 1);
        prop_assert!(decoded.extensions.contains(Extensions::NONE));
    }

    #[test]
    fn keys_as_text(key in any_key()) {
        prop_assert_eq!(key.to_string().parse::<PublicKey>(), Ok(key));
        prop_assert!(key.to_string().starts_with(&key.short()));
    }

    #[test]
    fn pings(
        is_pong in any::<bool>(), hops in any::<u16>(), keys in (any_key(), any_key()),
        data in any_payload(),
    ) {
        let kind = if is_pong { PingType::Pong } else { PingType::Ping };
        let ping = Ping { kind, hops, origin: keys.0, destination: keys.1, data: &data };
        let mut encoded = ping.encode();
        prop_assert_eq!(Ping::decode(&encoded), Some(ping));
        let pong = ping.pong().encode();
        prop_assert_eq!(Ping::decode(&pong), Some(ping.pong()));
        prop_assert_eq!(ping.pong(), Ping { kind: PingType::Pong, ..ping });
        ping::count_hop(&mut encoded);
        let hops = if is_pong { hops } else { hops.saturating_add(1) };
        prop_assert_eq!(Ping::decode(&encoded), Some(Ping { hops, ..ping }));
        for cut in 0..ping::LEN {
            let mut short = encoded[..cut].to_vec();
            prop_assert_eq!(Ping::decode(&short), None);
            ping::count_hop(&mut short);
            prop_assert_eq!(&short[..], &encoded[..cut]);
        }
    }
}

/// A ping is `"pineping" || type || hops u16 || origin || destination`.
#[test]
fn a_ping_byte_for_byte() {
    let bytes = [
        &b"pineping\x01\x01\x02"[..],
        &[0xaa; 32],
        &[0xbb; 32],
        b"data",
    ]
    .concat();
    let ping = Ping {
        kind: PingType::Pong,
        hops: 0x0102,
        origin: PublicKey([0xaa; 32]),
        destination: PublicKey([0xbb; 32]),
        data: b"data",
    };
    assert_eq!(Ping::decode(&bytes), Some(ping));
    assert_eq!(ping.encode(), bytes);
    let mut other_type = bytes;
    other_type[8] = 2;
    assert_eq!(Ping::decode(&other_type), None);
}

/// The longest frame of every type is built. One byte more is an error, and the output is unchanged.
#[test]
fn longest_frames() {
    type Push = fn(&mut Vec<u8>, &[u8]) -> Result<(), BuildError>;
    let key = PublicKey([5; 32]);
    let pushes: [(usize, Push); 4] = [
        (12, frame::push_announcement),
        (12 + 65, |out, payload| {
            let key = PublicKey([5; 32]);
            frame::push_bootstrap(out, (0, 0), &key, &Watermark::START, payload)
        }),
        (12 + 32, |out, payload| {
            frame::push_broadcast(out, (0, 0), &PublicKey([5; 32]), payload)
        }),
        (12 + 4 + 64 + 33, |out, payload| {
            let none = Coordinates::default();
            let fields = TrafficFields {
                extra: 0,
                hop_limit: 10,
                destination: &none,
                source: &none,
                destination_key: PublicKey([5; 32]),
                source_key: PublicKey([6; 32]),
                watermark: Watermark::START,
                payload,
            };
            push_traffic(out, &fields)
        }),
    ];
    for (head, push) in pushes {
        let payload = vec![1; MAX_FRAME_LEN + 1 - head];
        let mut out = b"before".to_vec();
        let too_long = BuildError::TooLong {
            len: MAX_FRAME_LEN + 1,
        };
        assert_eq!(push(&mut out, &payload), Err(too_long));
        assert_eq!(push(&mut out, &vec![1; 200_000]), {
            Err(BuildError::TooLong {
                len: 200_000 + head,
            })
        });
        assert_eq!(out, b"before");
        push(&mut out, &payload[1..]).unwrap();
        assert_eq!(out.len(), 6 + MAX_FRAME_LEN);
        let (header, parsed) = Frame::parse(&out[6..]).unwrap();
        assert_eq!(usize::from(header.len), MAX_FRAME_LEN);
        match parsed {
            Frame::Announcement { payload: read } => assert_eq!(read, &payload[1..]),
            Frame::Bootstrap {
                key: k,
                payload: read,
                ..
            }
            | Frame::Broadcast {
                key: k,
                payload: read,
            } => {
                assert_eq!((k, read), (key, &payload[1..]));
            }
            Frame::Traffic(layout) => assert_eq!(layout.payload(&out[6..]), &payload[1..]),
            other => panic!("{other:?}"),
        }
    }
}
