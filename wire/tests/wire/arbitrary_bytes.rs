//! Arbitrary bytes: no parser panics, and the result of each is consistent.

use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::ping::{self, Ping};
use pinecone_wire::traffic::{self, TrafficLayout};
use pinecone_wire::{
    Announcement, Frame, Patch, PublicKey, SignedBody, Split, handshake, split, varu64,
};
use proptest::prelude::*;

use crate::recorded;
use crate::round_trips::{Traffic, any_frame, any_watermark};

/// Gives the bytes to all parsers and uses the results in every way.
fn read_all_ways(bytes: &[u8]) {
    let _ = varu64::decode(bytes);
    if let Ok((view, taken)) = CoordinatesView::decode(bytes) {
        assert!(taken <= bytes.len());
        assert_eq!(view.ports().map(varu64::len).sum::<usize>(), taken - 2);
    }
    if let Ok(view) = CoordinatesView::new(bytes) {
        assert_eq!(view.ports().map(varu64::len).sum::<usize>(), bytes.len());
    }
    if let Some(bytes) = bytes.first_chunk() {
        let _ = handshake::decode(bytes);
    }
    match split(bytes) {
        Ok(Split::Frame(header)) => assert!(usize::from(header.len) <= bytes.len()),
        Ok(Split::Missing(missing)) => assert!(missing > 0),
        Err(_) => {}
    }
    if let Ok((header, frame)) = Frame::parse(bytes) {
        let whole = &bytes[..usize::from(header.len)];
        match frame {
            Frame::Announcement { payload } => read_announcement(payload),
            Frame::Bootstrap { payload, .. } | Frame::Broadcast { payload, .. } => {
                read_body(payload);
            }
            Frame::Traffic(layout) => read_traffic(whole, layout),
            Frame::Keepalive | Frame::Unknown(_) => {}
        }
    }
    if let Ok(layout) = TrafficLayout::parse(bytes) {
        assert_eq!(layout.len(), bytes.len());
        let _ = format!("{:?}", Traffic::read(bytes, &layout));
    }
    read_announcement(bytes);
    read_body(bytes);
    let _ = Ping::decode(bytes);
    let mut changed = bytes.to_vec();
    ping::count_hop(&mut changed);
    traffic::set_hop_limit(&mut changed, 1);
    assert_eq!(traffic::hop_limit(&changed), u8::from(bytes.len() > 7));
    assert_eq!(changed.len(), bytes.len());
}

fn read_announcement(payload: &[u8]) {
    let Ok(announcement) = Announcement::decode(payload) else {
        return;
    };
    assert!(payload.starts_with(announcement.payload()));
    assert!(payload.len() - announcement.payload().len() < 97);
    let _ = announcement.check(&announcement.root());
    let _ = announcement.verify(PublicKey::verifying_key);
    let depth = announcement.coordinates().depth();
    assert_eq!(
        announcement.peer_coordinates().depth(),
        depth.saturating_sub(1)
    );
}

fn read_body(payload: &[u8]) {
    if let Ok((body, taken)) = SignedBody::decode(payload) {
        assert_eq!(body.encode(), payload[..taken]);
        if let Some(key) = body.root.verifying_key() {
            let _ = body.verify(&key);
        }
    }
}

fn read_traffic(frame: &[u8], layout: TrafficLayout) {
    let read = Traffic::read(frame, &layout);
    assert_eq!(read.build().unwrap(), frame);
    let watermark = pinecone_wire::Watermark {
        key: PublicKey([1; 32]),
        sequence: u64::MAX,
    };
    let mut patched = frame.to_vec();
    let mut head = vec![0; 1 << 16];
    match layout.patch_snek(&mut patched, &watermark) {
        Ok(Patch::InPlace { start }) => {
            let again = TrafficLayout::parse(&patched[start..]).unwrap();
            assert_eq!(again.watermark(&patched[start..]), watermark);
        }
        Ok(Patch::Grows { .. }) => {
            layout
                .write_snek_head(frame, &watermark, &mut head)
                .unwrap();
        }
        Err(_) => {}
    }
}

/// A change of a frame.
#[derive(Clone, Debug)]
enum Change {
    Byte(prop::sample::Index, u8),
    Word(prop::sample::Index, u16),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
}

fn any_change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (at(), any::<u16>()).prop_map(|(at, word)| Change::Word(at, word)),
        at().prop_map(Change::Cut),
        (at(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, new)| Change::Insert(at, new)),
    ]
}

fn change(frame: &mut Vec<u8>, change: Change) {
    // Half of the changes are in the head, where the lengths are.
    match change {
        Change::Byte(at, byte) => {
            let at = at.index(frame.len().clamp(1, 100));
            if let Some(old) = frame.get_mut(at) {
                *old = byte;
            }
        }
        Change::Word(at, word) => {
            let at = at.index(frame.len().clamp(1, 40));
            if let Some(old) = frame.get_mut(at..at + 2) {
                old.copy_from_slice(&word.to_be_bytes());
            }
        }
        Change::Cut(at) => frame.truncate(at.index(frame.len() + 1)),
        Change::Insert(at, new) => {
            let at = at.index(frame.len() + 1);
            frame.splice(at..at, new);
        }
    }
}

fn set_length(frame: &mut [u8]) {
    let len = (frame.len() as u16).to_be_bytes();
    if let Some(field) = frame.get_mut(8..10) {
        field.copy_from_slice(&len);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all_ways(&bytes);
    }

    #[test]
    fn random_bytes_after_a_valid_header(
        kind in 0u8..6, body in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..300),
    ) {
        let mut frame = b"pine\0".to_vec();
        frame.extend_from_slice(&[kind, 0, 0, 0, 0]);
        frame.extend_from_slice(&body);
        set_length(&mut frame);
        read_all_ways(&frame);
    }

    #[test]
    fn valid_frames_changed(
        frame in any_frame(), changes in prop::collection::vec(any_change(), 1..4),
        length_put_right in any::<bool>(),
    ) {
        let mut frame = frame;
        changes.into_iter().for_each(|new| change(&mut frame, new));
        if length_put_right {
            set_length(&mut frame);
        }
        read_all_ways(&frame);
    }

    #[test]
    fn recorded_frames_changed(
        of in any::<prop::sample::Index>(), changes in prop::collection::vec(any_change(), 1..3),
    ) {
        let cases = recorded::cases("frames");
        let mut frame = recorded::bytes(of.get(&cases), "hex");
        changes.into_iter().for_each(|new| change(&mut frame, new));
        set_length(&mut frame);
        read_all_ways(&frame);
    }

    /// A layout may be used with the bytes of another frame: at worst, the fields have no meaning.
    #[test]
    fn layouts_of_other_frames(
        frame in any_frame(), bytes in prop::collection::vec(any::<u8>(), 0..300),
        watermark in any_watermark(),
    ) {
        if let Ok(layout) = TrafficLayout::parse(&frame) {
            let _ = layout.destination(&bytes).ports().count();
            let _ = layout.source(&bytes).ports().count();
            let _ = (layout.destination_key(&bytes), layout.source_key(&bytes));
            let _ = (layout.watermark(&bytes), layout.payload(&bytes), layout.flow(&bytes));
            let _ = layout.snek_growth(&watermark);
        }
    }
}

/// Tries all changes of one byte and all prefixes of every recorded frame.
#[test]
fn every_recorded_frame_with_one_byte_changed() {
    for case in recorded::cases("frames") {
        let frame = recorded::bytes(&case, "hex");
        for at in 0..frame.len().min(130) {
            read_all_ways(&frame[..at]);
            for byte in [0, 1, 0x7f, 0x80, 0xff, frame[at] ^ 1] {
                let mut frame = frame.clone();
                frame[at] = byte;
                read_all_ways(&frame);
            }
        }
    }
}
