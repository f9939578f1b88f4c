//! The forwarding decision about traffic frames (protocol section 7).
//!
//! The input is a program for a small world: changes of the tables, and then frames. Keys, ports and
//! sequences are single bytes, so that they meet often.

use pinecone_fib::{
    Destinations, Fate, FibWriter, ForwardingOptions, PortId, Snapshot, Transit, Undeliverable,
};
use pinecone_wire::ping::{self, Ping, PingType};
use pinecone_wire::traffic::{self, push_traffic};
use pinecone_wire::{Coordinates, PublicKey, TrafficFields, TrafficLayout, Watermark};

const OWN: PublicKey = PublicKey([0x80; 32]);
/// Changes of the tables and frames in one input, at most.
const MOST: usize = 32;

/// Takes values off the input. After its end, they are 0.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn key(&mut self) -> PublicKey {
        PublicKey([self.byte(); 32])
    }

    fn port(&mut self) -> PortId {
        PortId(1 + u32::from(self.byte() % 8))
    }

    /// Small and large numbers, so that watermarks differ in length.
    fn sequence(&mut self) -> u64 {
        let byte = self.byte();
        u64::from(byte & 0x0f) << (8 * (byte >> 5))
    }

    fn coordinates(&mut self) -> Coordinates {
        let depth = self.byte() % 6;
        let ports: Vec<_> = (0..depth).map(|_| u64::from(self.byte())).collect();
        ports.into()
    }
}

/// A decision changes only the parts of a frame that the protocol allows, never makes its watermark worse, and is the
/// same for a frame alone and in a batch.
pub fn forwarding(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (mut writer, _fib) = FibWriter::new(OWN);
    fill(&mut writer, &mut input);
    writer.publish();
    let snapshot = writer.snapshot();
    let mut frames = Vec::new();
    while !input.0.is_empty() && frames.len() < MOST {
        let ingress = PortId(u32::from(input.byte() % 9));
        frames.push((ingress, frame(&mut input)));
    }
    let options = ForwardingOptions {
        hop_limiting: frames.len() % 2 == 1,
    };
    let alone: Vec<_> = frames
        .iter()
        .map(|(ingress, frame)| {
            let mut after = frame.clone();
            let (transit, mut head) = (transit(*ingress, frame), Vec::new());
            let fate = snapshot.forward_frame(&mut after, &transit, options, &mut head);
            check(snapshot, &transit, options, frame, (fate, &after, &head));
            (fate, after)
        })
        .collect();
    assert_eq!(alone, decide_in_a_batch(snapshot, frames, options));
}

fn fill(writer: &mut FibWriter, input: &mut Input<'_>) {
    for _ in 0..usize::from(input.byte()) % MOST {
        match input.byte() % 10 {
            0 => {
                let key = input.key();
                writer.set_near(key, Some(input.port()));
            }
            1 => writer.set_near(input.key(), None),
            2 => {
                let (key, port) = (input.key(), input.port());
                writer.set_route(key, port, input.sequence());
            }
            3 => drop(writer.remove_route(&input.key())),
            4 => drop(writer.expire_route(&input.key())),
            5 => drop(writer.forget_expired(&input.key())),
            6 => {
                let root = input.key();
                writer.set_up((root > OWN).then(|| (root, input.port())));
            }
            7 => {
                let (port, coordinates) = (input.port(), input.coordinates());
                writer.set_peer_coordinates(port, coordinates, u64::from(input.byte()));
            }
            8 => writer.set_coordinates(input.coordinates()),
            _ => writer.publish(),
        }
    }
}

/// Builds a traffic frame, whose payload is a ping or something else.
fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let (destination_key, source_key) = (input.key(), input.key());
    let destination = input.coordinates();
    let watermark = match input.byte() % 3 {
        0 => Watermark::START,
        _ => Watermark {
            key: input.key(),
            sequence: input.sequence(),
        },
    };
    let payload = match input.byte() % 3 {
        0 => Vec::new(),
        1 => vec![input.byte(); 100],
        _ => Ping {
            kind: PingType::Ping,
            hops: u16::from(input.byte()) << 8 | 0xff,
            origin: source_key,
            destination: destination_key,
            data: b"",
        }
        .encode(),
    };
    let mut frame = Vec::new();
    push_traffic(
        &mut frame,
        &TrafficFields {
            extra: 7,
            hop_limit: input.byte() % 4,
            destination: &destination,
            source: &input.coordinates(),
            destination_key,
            source_key,
            watermark,
            payload: &payload,
        },
    )
    .unwrap();
    frame
}

fn transit(ingress: PortId, frame: &[u8]) -> Transit {
    let (layout, sequence) = TrafficLayout::parse_with_sequence(frame).unwrap();
    Transit {
        ingress,
        layout,
        sequence,
    }
}

/// Decides about all frames in one batch, as a worker does.
fn decide_in_a_batch(
    snapshot: &Snapshot,
    mut frames: Vec<(PortId, Vec<u8>)>,
    options: ForwardingOptions,
) -> Vec<(Fate, Vec<u8>)> {
    let mut lookups = Destinations::new();
    let classified: Vec<_> = frames
        .iter()
        .map(|(ingress, frame)| {
            let transit = transit(*ingress, frame);
            let class = snapshot.classify(frame, &transit.layout, *ingress, &mut lookups);
            (class, transit)
        })
        .collect();
    let found = snapshot.find(&lookups);
    let mut head = Vec::new();
    classified
        .iter()
        .zip(&mut frames)
        .map(|((class, transit), (_, frame))| {
            let batch = (&lookups, &found);
            let fate = snapshot.decide_class(*class, batch, frame, transit, options, &mut head);
            (fate, std::mem::take(frame))
        })
        .collect()
}

/// Checks one decision: `before` is the frame as it arrived, `after` and `head` are the result.
fn check(
    snapshot: &Snapshot,
    transit: &Transit,
    options: ForwardingOptions,
    before: &[u8],
    (fate, after, head): (Fate, &[u8], &[u8]),
) {
    let Transit {
        ingress,
        ref layout,
        ..
    } = *transit;
    let (egress, rescue, whole) = match fate {
        Fate::Forward {
            egress,
            start,
            rescue,
        } => (egress, rescue, after[start..].to_vec()),
        Fate::Rewritten { egress, rescue } => {
            let whole = [head, layout.payload(after)].concat();
            assert!(whole.len() > before.len());
            (egress, rescue, whole)
        }
        Fate::Deliver => return assert_eq!(after, before),
        Fate::Drop(Undeliverable::HopLimit) => {
            assert!(options.hop_limiting && traffic::hop_limit(before) <= 1);
            return assert_eq!(after, before);
        }
        Fate::Drop(_) => return,
    };
    assert_ne!(layout.destination_key(before), OWN);
    assert!((1..=8).contains(&egress.0));
    let now = TrafficLayout::parse(&whole).unwrap();
    assert_eq!(now.flow(&whole), layout.flow(before));
    assert_eq!(now.source(&whole), layout.source(before));
    assert_eq!(whole[4..7], before[4..7]);

    // A hop is counted for frames of peers.
    let (mut payload, mut limit) = (layout.payload(before).to_vec(), before[7]);
    if ingress != PortId::LOCAL {
        ping::count_hop(&mut payload);
        limit -= u8::from(options.hop_limiting);
    }
    assert_eq!(now.payload(&whole), payload);
    assert_eq!(traffic::hop_limit(&whole), limit);

    if now.has_destination() {
        // Routed by the tree: towards the destination, and never back.
        assert_eq!(now.destination(&whole), layout.destination(before));
        assert_eq!((rescue, egress == ingress), (None, false));
        let (there, own) = (now.destination(&whole).into(), snapshot.coordinates());
        assert!(own.distance(&there) > 0);
    } else {
        let (old, new) = (layout.watermark(before), now.watermark(&whole));
        assert!(!new.is_worse_than(&old), "{new:?} for {old:?}");
        assert!(egress != ingress || layout.has_destination());
    }
}
