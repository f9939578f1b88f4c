//! Splitting, parsing and patching frames, and checking signatures.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pinecone_benches::Random;
use pinecone_wire::traffic::{self, push_traffic};
use pinecone_wire::{
    Announcement, Coordinates, Frame, Patch, PublicKey, SecretKey, SignedBody, Split,
    TrafficFields, TrafficLayout, VerifyingKey, Watermark, announcement, handshake, split,
};

const PAYLOADS: [usize; 4] = [64, 1200, 8192, 60_000];
/// Frames in the stream.
const FRAMES: usize = 32;
/// A time in Unix milliseconds, as in bootstraps, which takes six bytes.
const SEQUENCE: u64 = 1_795_357_650_878;

/// The field by which a frame is routed.
#[derive(Clone, Copy)]
enum Routing {
    Coordinates,
    Watermark,
}

impl Routing {
    const ALL: [Self; 2] = [Self::Coordinates, Self::Watermark];

    const fn name(self) -> &'static str {
        match self {
            Self::Coordinates => "coordinates",
            Self::Watermark => "watermark",
        }
    }
}

fn frame(random: &mut Random, routing: Routing, depth: usize, payload: usize) -> Vec<u8> {
    let mut place = |depth| -> Coordinates {
        let ports: Vec<_> = (0..depth).map(|_| random.number() % 250 + 1).collect();
        ports.into()
    };
    let (destination, source) = match routing {
        Routing::Coordinates => (place(depth), place(5)),
        Routing::Watermark => (place(0), place(5)),
    };
    let mut out = Vec::new();
    push_traffic(
        &mut out,
        &TrafficFields {
            extra: 0,
            hop_limit: 10,
            destination: &destination,
            source: &source,
            destination_key: random.key(),
            source_key: random.key(),
            watermark: Watermark {
                key: random.key(),
                sequence: SEQUENCE,
            },
            payload: &vec![7; payload],
        },
    )
    .unwrap();
    out
}

/// Finds one frame in a stream and reads all fields that a lookup needs.
fn read_frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/read");
    for (routing, payload) in Routing::ALL
        .into_iter()
        .flat_map(|w| PAYLOADS.map(|p| (w, p)))
    {
        let mut random = Random::new(1);
        let stream: Vec<u8> = (0..FRAMES)
            .flat_map(|_| frame(&mut random, routing, 5, payload))
            .collect();
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new(routing.name(), payload), |b| {
            let mut rest = &stream[..];
            b.iter(|| {
                if rest.is_empty() {
                    rest = &stream;
                }
                let Split::Frame(header) = split(rest).unwrap() else {
                    unreachable!("the stream ends with a frame");
                };
                let (frame, behind) = rest.split_at(usize::from(header.len));
                rest = behind;
                let layout = TrafficLayout::parse(frame).unwrap();
                (
                    header.kind,
                    layout.has_destination(),
                    layout.destination_key(frame),
                    layout.watermark(frame),
                )
            });
        });
    }
    group.finish();
}

/// Writes a new watermark in place of the old one or of the destination coordinates.
fn patch_frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/patch");
    let mut random = Random::new(2);
    let watermark = Watermark {
        key: random.key(),
        sequence: SEQUENCE + 1,
    };
    for payload in PAYLOADS {
        // The usual case: the new watermark has the same length. The same frame is patched repeatedly.
        let mut same = frame(&mut random, Routing::Watermark, 0, payload);
        let layout = TrafficLayout::parse(&same).unwrap();
        group.bench_function(BenchmarkId::new("same length", payload), |b| {
            b.iter(|| layout.patch_snek(black_box(&mut same), black_box(&watermark)));
        });

        let shorter = Watermark {
            sequence: 0,
            ..watermark
        };
        let longer = frame(&mut random, Routing::Watermark, 0, payload);
        let deep = frame(&mut random, Routing::Coordinates, 60, payload);
        for (name, frame) in [
            ("shorter sequence", longer),
            ("deep coordinates taken out", deep),
        ] {
            let layout = TrafficLayout::parse(&frame).unwrap();
            let patched = layout.patch_snek(&mut frame.clone(), &shorter);
            assert!(matches!(patched, Ok(Patch::InPlace { start: 1.. })));
            group.bench_function(BenchmarkId::new(name, payload), |b| {
                b.iter_batched_ref(
                    || frame.clone(),
                    |frame| layout.patch_snek(frame, black_box(&shorter)),
                    BatchSize::SmallInput,
                );
            });
        }

        let grows = frame(&mut random, Routing::Coordinates, 5, payload);
        let layout = TrafficLayout::parse(&grows).unwrap();
        assert!(layout.snek_growth(&watermark).unwrap() > 0);
        let mut head = vec![0; 1 << 16];
        group.bench_function(
            BenchmarkId::new("growing, head written elsewhere", payload),
            |b| {
                b.iter(|| {
                    layout.write_snek_head(black_box(&grows), black_box(&watermark), &mut head)
                });
            },
        );
    }
    group.bench_function("hop limit", |b| {
        let mut frame = frame(&mut random, Routing::Watermark, 0, 1200);
        b.iter(|| {
            let frame = black_box(&mut frame);
            let hop_limit = traffic::hop_limit(frame);
            traffic::set_hop_limit(frame, hop_limit.wrapping_sub(1));
        });
    });
    group.finish();
}

fn signed_chain(signers: &[SecretKey]) -> Vec<u8> {
    let mut payload = announcement::root_payload(&signers[0].public_key(), SEQUENCE);
    for key in signers {
        let signature = announcement::sign(&payload, key);
        let mut frame = Vec::new();
        announcement::push_frame(&mut frame, &payload, 7, &key.public_key(), &signature).unwrap();
        let Frame::Announcement { payload: longer } = Frame::parse(&frame).unwrap().1 else {
            unreachable!("it was built as one");
        };
        payload = longer.to_vec();
    }
    payload
}

fn announcements(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/announcement");
    for n in [1u8, 5, 20] {
        let signers: Vec<_> = (1..=n).map(|i| SecretKey::from_seed(&[i; 32])).collect();
        let payload = signed_chain(&signers);
        let peer = signers[signers.len() - 1].public_key();
        let ready: Vec<(PublicKey, VerifyingKey)> = signers
            .iter()
            .map(|key| key.public_key())
            .map(|key| (key, key.verifying_key().unwrap()))
            .collect();
        group.throughput(Throughput::Elements(u64::from(n)));
        group.bench_function(BenchmarkId::new("decode and check", n), |b| {
            b.iter(|| {
                let announcement = Announcement::decode(black_box(&payload)).unwrap();
                announcement.check(&peer).unwrap();
                announcement
            });
        });
        group.bench_function(BenchmarkId::new("decode, check, verify", n), |b| {
            b.iter(|| {
                let announcement = Announcement::decode(black_box(&payload)).unwrap();
                announcement.check(&peer).unwrap();
                announcement.verify(|key| key.verifying_key()).unwrap();
            });
        });
        group.bench_function(
            BenchmarkId::new("decode, check, verify with kept keys", n),
            |b| {
                b.iter(|| {
                    let announcement = Announcement::decode(black_box(&payload)).unwrap();
                    announcement.check(&peer).unwrap();
                    let kept = |key: &PublicKey| {
                        let found = ready.iter().find(|(address, _)| address == key);
                        found.map(|(_, key)| key.clone())
                    };
                    announcement.verify(kept).unwrap();
                });
            },
        );
    }
    group.finish();
}

fn signatures(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/signature");
    let key = SecretKey::from_seed(&[1; 32]);
    let address = key.public_key();
    let ready = address.verifying_key().unwrap();
    let payload = SignedBody::sign(&key, SEQUENCE, PublicKey::MAX, SEQUENCE).encode();
    group.bench_function("body: decode and verify", |b| {
        b.iter(|| {
            let (body, _) = SignedBody::decode(black_box(&payload)).unwrap();
            black_box(address)
                .verifying_key()
                .is_some_and(|key| body.verify(&key))
        });
    });
    group.bench_function("body: decode and verify with kept key", |b| {
        b.iter(|| {
            let (body, _) = SignedBody::decode(black_box(&payload)).unwrap();
            body.verify(&ready)
        });
    });
    group.bench_function("body: sign", |b| {
        b.iter(|| SignedBody::sign(&key, black_box(SEQUENCE), PublicKey::MAX, SEQUENCE));
    });
    let hello = handshake::encode(&key);
    group.bench_function("handshake: decode and verify", |b| {
        b.iter(|| handshake::decode(black_box(&hello)));
    });
    group.finish();
}

criterion_group!(
    benches,
    read_frames,
    patch_frames,
    announcements,
    signatures
);
criterion_main!(benches);
