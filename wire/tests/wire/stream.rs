//! Splitting a stream that arrives in pieces.

use pinecone_wire::frame::KEEPALIVE;
use pinecone_wire::{Frame, FrameError, Split, split};
use proptest::prelude::*;

use crate::round_trips::any_frame;

proptest! {
    /// Pieces of any size give the frames that were written, and the number of missing bytes never
    /// reaches past the end of a frame.
    #[test]
    fn cut_anywhere(
        frames in prop::collection::vec(any_frame(), 0..6),
        pieces in prop::collection::vec(1usize..400, 1..40),
    ) {
        let stream = frames.concat();
        let (mut read, mut taken, mut found) = (0, 0, Vec::new());
        let mut pieces = pieces.into_iter().cycle();
        loop {
            match split(&stream[taken..read]).unwrap() {
                Split::Frame(header) => {
                    let end = taken + usize::from(header.len);
                    found.push(stream[taken..end].to_vec());
                    taken = end;
                }
                Split::Missing(missing) => {
                    prop_assert!(missing > 0);
                    if let Some(frame) = frames.get(found.len()) {
                        prop_assert!(missing <= frame.len() - (read - taken));
                    }
                    if read == stream.len() {
                        break;
                    }
                    read = stream.len().min(read + pieces.next().unwrap());
                }
            }
        }
        prop_assert_eq!(taken, stream.len());
        prop_assert_eq!(found, frames);
    }

    /// A reader that asks for exactly the missing bytes gets a frame in at most two steps.
    #[test]
    fn missing_is_enough(frame in any_frame()) {
        let mut read = 0;
        let mut steps = 0;
        while let Split::Missing(missing) = split(&frame[..read]).unwrap() {
            read += missing;
            steps += 1;
        }
        prop_assert_eq!(read, frame.len());
        prop_assert_eq!(steps, if frame.len() > 10 { 2 } else { 1 });
    }

    /// A prefix of a frame is never parsed as a frame.
    #[test]
    fn a_part_is_not_a_frame(frame in any_frame(), at in any::<prop::sample::Index>()) {
        let cut = &frame[..at.index(frame.len())];
        prop_assert!(matches!(split(cut), Ok(Split::Missing(_))));
        prop_assert!(Frame::parse(cut).is_err());
    }
}

/// More bytes are expected after every prefix of a valid header. The first wrong byte of the magic is an
/// error at once.
#[test]
fn bad_magic_at_its_first_byte() {
    for at in 0..4 {
        for wrong in (0..=255).filter(|byte| *byte != KEEPALIVE[at]) {
            let mut stream = KEEPALIVE;
            stream[at] = wrong;
            for len in 0..=stream.len() {
                let verdict = split(&stream[..len]);
                if len <= at {
                    assert_eq!(verdict, Ok(Split::Missing(10 - len)));
                } else {
                    let mut seen = [0; 4];
                    let n = len.min(4);
                    seen[..n].copy_from_slice(&stream[..n]);
                    assert_eq!(verdict, Err(FrameError::Magic(seen)));
                }
            }
        }
    }
    // Bytes after the magic are not checked before the length is complete.
    for len in 4..10 {
        let mut stream = *b"pine\xff\xff\xff\xff\xff\xff";
        stream[8] = 0;
        assert_eq!(split(&stream[..len]), Ok(Split::Missing(10 - len)));
    }
}
