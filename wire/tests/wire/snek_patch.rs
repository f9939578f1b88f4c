//! Patching a frame for SNEK, in place or with a new head, gives the same bytes as encoding it again.

use pinecone_wire::{
    BuildError, Coordinates, MAX_FRAME_LEN, Patch, PublicKey, TrafficLayout, Watermark,
};
use proptest::prelude::*;

use crate::round_trips::{Traffic, any_traffic, any_watermark};

proptest! {
    #[test]
    fn as_re_encoded(fields in any_traffic(), watermark in any_watermark()) {
        assert_patch(&fields.build().unwrap(), watermark);
    }

    /// Several nodes write their watermarks into one frame, one after the other.
    #[test]
    fn again_and_again(fields in any_traffic(), watermarks in prop::collection::vec(any_watermark(), 1..6)) {
        let mut frame = fields.build().unwrap();
        for watermark in watermarks {
            frame = assert_patch(&frame, watermark);
        }
    }
}

/// Coordinates of all lengths around that of the watermark, with all pairs of sequence lengths.
#[test]
fn every_length() {
    let sequence = |len: u32| if len == 0 { 0 } else { 1u64 << (7 * len) };
    for source_len in [0, 1, 2, 40, 200] {
        for destination_len in 0..60 {
            let old_lens = if destination_len == 0 { 0..10 } else { 0..1 };
            for (old, new) in old_lens.flat_map(|old| (0..10).map(move |new| (old, new))) {
                let fields = Traffic {
                    destination: vec![3; destination_len].into(),
                    source: vec![7; source_len].into(),
                    watermark: Watermark {
                        key: PublicKey([0xdd; 32]),
                        sequence: sequence(old),
                    },
                    ..sample(destination_len * 3)
                };
                let watermark = Watermark {
                    key: PublicKey(std::array::from_fn(|i| i as u8)),
                    sequence: sequence(new),
                };
                assert_patch(&fields.build().unwrap(), watermark);
            }
        }
    }
}

/// A frame may grow to 65,535 bytes. One byte more is an error, and the frame is unchanged.
#[test]
fn growth_to_the_limit() {
    for (destination_len, n) in [(1, 1), (1, 10), (40, 9), (20, 3), (33, 2)] {
        let head = 10 + 4 + 2 + 64;
        let watermark = Watermark {
            key: PublicKey([9; 32]),
            sequence: if n == 1 { 0 } else { 1 << (7 * (n - 1)) },
        };
        for over in [0, 1] {
            let payload_len = MAX_FRAME_LEN - head - 32 - n + over;
            let fields = Traffic {
                destination: vec![3; destination_len].into(),
                ..sample(payload_len)
            };
            let frame = fields.build().unwrap();
            if over == 0 {
                assert_eq!(assert_patch(&frame, watermark).len(), MAX_FRAME_LEN);
                continue;
            }
            let layout = TrafficLayout::parse(&frame).unwrap();
            let too_long = BuildError::TooLong {
                len: MAX_FRAME_LEN + 1,
            };
            let mut patched = frame.clone();
            assert_eq!(layout.snek_growth(&watermark), Err(too_long));
            assert_eq!(layout.patch_snek(&mut patched, &watermark), Err(too_long));
            assert_eq!(patched, frame);
            let mut head = vec![0; 1 << 16];
            assert_eq!(
                layout.write_snek_head(&frame, &watermark, &mut head),
                Err(too_long)
            );
        }
    }
}

#[test]
fn a_head_that_does_not_fit_is_not_written() {
    let frame = Traffic {
        destination: vec![3].into(),
        ..sample(10)
    }
    .build()
    .unwrap();
    let layout = TrafficLayout::parse(&frame).unwrap();
    let mut whole = [0; 200];
    let len = layout
        .write_snek_head(&frame, &Watermark::START, &mut whole)
        .unwrap();
    let mut short = vec![0xee; len - 1];
    let result = layout.write_snek_head(&frame, &Watermark::START, &mut short);
    assert!(matches!(result, Err(BuildError::TooLong { .. })));
    assert!(short.iter().all(|byte| *byte == 0xee));
    let mut exact = vec![0; len];
    let result = layout.write_snek_head(&frame, &Watermark::START, &mut exact);
    assert_eq!(result, Ok(len));
    assert_eq!(exact, whole[..len]);
}

fn sample(payload_len: usize) -> Traffic {
    Traffic {
        version: 0,
        extra: 1,
        hop_limit: 2,
        destination: Coordinates::default(),
        source: Coordinates::default(),
        destination_key: PublicKey([0xaa; 32]),
        source_key: PublicKey([0xbb; 32]),
        watermark: Watermark::START,
        payload: (0..payload_len).map(|i| i as u8).collect(),
    }
}

/// Patches the frame in three ways, which must give the same result, and returns it.
fn assert_patch(frame: &[u8], watermark: Watermark) -> Vec<u8> {
    let layout = TrafficLayout::parse(frame).unwrap();
    let naive = Traffic {
        destination: Coordinates::default(),
        watermark,
        ..Traffic::read(frame, &layout)
    }
    .build()
    .unwrap();
    let growth = naive.len() as isize - frame.len() as isize;
    assert_eq!(layout.snek_growth(&watermark), Ok(growth));

    let mut head = [0xee; 1 << 16];
    let len = layout
        .write_snek_head(frame, &watermark, &mut head)
        .unwrap();
    assert!(head[len..].iter().all(|byte| *byte == 0xee));
    let by_head = [&head[..len], layout.payload(frame)].concat();
    assert_eq!(by_head, naive);

    let mut patched = frame.to_vec();
    match layout.patch_snek(&mut patched, &watermark).unwrap() {
        Patch::InPlace { start } => {
            assert_eq!(growth, -(start as isize));
            assert_eq!(patched[start..], naive);
        }
        Patch::Grows { by } => {
            assert_eq!(growth, by as isize);
            assert!(by > 0);
            assert_eq!(patched, frame);
        }
    }
    naive
}
