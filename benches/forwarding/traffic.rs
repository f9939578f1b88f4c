//! The content and the destinations of frames.

use std::ops::Range;

use pinecone_benches::Random;
use pinecone_load::{FrameRing, LoadFrame, push_frame};
use pinecone_wire::frame::HEADER_LEN;
use pinecone_wire::{PublicKey, TrafficLayout, Watermark};

/// Bytes of the prepared frames of all connections together, which are sent repeatedly.
const STREAMS: usize = 32 << 20;
/// Bytes that are written to a socket at once.
const CHUNK: usize = 256 << 10;
/// Frames of a flow in one burst.
const BURST: usize = 32;
/// Flows of each connection if traffic arrives in bursts.
const BURST_FLOWS: usize = 8;
/// Offset of the keys in a frame without coordinates.
const DESTINATION_AT: usize = HEADER_LEN + 6;
const WATERMARK_AT: usize = DESTINATION_AT + 64;
/// The sequence of most routes.
const SHORT: u64 = 7;
/// A sequence like those of real nodes, which takes five bytes more.
const LONG: u64 = 1_795_357_650_878;
/// Length of the shortest payload of a checked frame: connection, route and sequence.
const STAMP: usize = 16;

/// The distribution of frames among the connections out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// A random connection for every frame.
    Random,
    /// Bursts of 32 frames of one flow.
    Bursts,
    /// A random connection of the worker that receives the frame, one of two.
    SameWorker,
    /// A random connection of the other worker.
    OtherWorker,
}

/// The difference between one pass over the prepared frames and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// None.
    Replayed,
    /// The destinations, so that all of a large table is in use.
    Fresh,
    /// Number and content, which the sink checks. A third of the frames grow in the router, and a third
    /// shrink.
    Checked,
}

/// The traffic of one measurement.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Payload size in bytes.
    pub size: usize,
    /// The number of routes that are destinations.
    pub flows: usize,
    pub spread: Spread,
    pub fill: Fill,
}

/// Returns the key of a route, which is higher than the keys of all peers.
pub fn route_key(route: usize) -> PublicKey {
    let mut key = Random::new((route as u64) << 32).key();
    key.0[0] |= 0x80;
    key
}

/// Returns the sequence of a route.
pub fn route_sequence(route: usize, fill: Fill) -> u64 {
    match (fill, route % 3) {
        (Fill::Checked, 1) => LONG,
        _ => SHORT,
    }
}

/// Returns the watermark of a frame before the router.
pub fn watermark_before(route: usize, fill: Fill) -> Watermark {
    match (fill, route % 3) {
        (Fill::Checked, 2) => Watermark {
            sequence: LONG,
            ..Watermark::START
        },
        (Fill::Checked, _) => Watermark::START,
        _ => watermark_after(route, fill),
    }
}

/// Returns the watermark of a frame after the router.
pub fn watermark_after(route: usize, fill: Fill) -> Watermark {
    Watermark {
        key: route_key(route),
        sequence: route_sequence(route, fill),
    }
}

/// Returns the source key of the frames on a connection.
pub fn source_key(input: usize) -> PublicKey {
    let mut key = [0x11; 32];
    key[28..].copy_from_slice(&(input as u32).to_be_bytes());
    PublicKey(key)
}

/// Builds a frame for `route`.
pub fn frame(input: usize, route: usize, size: usize, fill: Fill) -> Vec<u8> {
    let mut frame = Vec::new();
    let fields = LoadFrame {
        destination: route_key(route),
        source: source_key(input),
        watermark: watermark_before(route, fill),
        payload: &vec![0x5a; size],
    };
    push_frame(&mut frame, &fields).expect("a payload that fits a frame");
    frame
}

/// The content of the payload of a checked frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub input: u32,
    pub route: u32,
    pub sequence: u64,
}

impl Stamp {
    /// Writes a payload.
    pub fn write(self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.input.to_be_bytes());
        payload[4..8].copy_from_slice(&self.route.to_be_bytes());
        payload[8..STAMP].copy_from_slice(&self.sequence.to_be_bytes());
        let mut words = self.words();
        for piece in payload[STAMP..].chunks_mut(8) {
            piece.copy_from_slice(&words()[..piece.len()]);
        }
    }

    /// Reads a payload. Also returns whether the rest of it is as [`Self::write`] made it.
    pub fn read(payload: &[u8]) -> Option<(Self, bool)> {
        let (head, rest) = payload.split_at_checked(STAMP)?;
        let stamp = Self {
            input: u32::from_be_bytes(head[..4].try_into().ok()?),
            route: u32::from_be_bytes(head[4..8].try_into().ok()?),
            sequence: u64::from_be_bytes(head[8..].try_into().ok()?),
        };
        let mut words = stamp.words();
        let right = rest.chunks(8).all(|piece| *piece == words()[..piece.len()]);
        Some((stamp, right))
    }

    /// Returns the pattern of a payload. It differs between frames, and no two words of it are equal.
    fn words(self) -> impl FnMut() -> [u8; 8] {
        let seed = self.sequence ^ u64::from(self.route) << 32 ^ u64::from(self.input) << 56;
        let mut word = Random::new(seed).number();
        move || {
            word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            word.to_le_bytes()
        }
    }
}

/// An endless stream of frames for one connection, in chunks of whole frames.
pub struct Feed {
    ring: FrameRing,
    /// The route of each frame in the ring.
    routes: Vec<u32>,
    /// The slots of the frames in this chunk.
    chunk: Range<usize>,
    /// The bytes of this chunk, and those of them that have been written.
    chunk_len: usize,
    chunk_written: usize,
    /// The number of frames in all chunks so far.
    pub offered: u64,
    input: usize,
    traffic: Traffic,
    random: Random,
    /// The sequence of the next frame of each flow, if frames are checked.
    sequences: Vec<u64>,
}

impl Feed {
    pub fn new(traffic: Traffic, input: usize, peers: usize) -> Self {
        let mut this = Self {
            ring: FrameRing::default(),
            routes: Vec::new(),
            chunk: 0..0,
            chunk_len: 0,
            chunk_written: 0,
            offered: 0,
            input,
            traffic,
            random: Random::new((traffic.size + input * 65_537) as u64),
            sequences: Vec::new(),
        };
        if traffic.fill == Fill::Checked {
            assert!(traffic.size >= STAMP, "checked frames need 16 bytes");
            this.sequences = vec![0; traffic.flows];
        }
        let room = (STREAMS / peers).max(CHUNK);
        this.ring = FrameRing::with_capacity(room);
        loop {
            let route = this.route(this.ring.len(), peers);
            let frame = frame(input, route, traffic.size, traffic.fill);
            if this.ring.byte_len() + frame.len() > room {
                return this;
            }
            this.ring.push(&frame);
            this.routes.push(route as u32);
        }
    }

    /// Returns the bytes to write next, at least one: the rest of the chunk, or the next chunk with at most
    /// `most` frames.
    pub fn pending(&mut self, most: usize) -> &[u8] {
        if !self.is_within_chunk() {
            self.next_chunk(most.max(1));
        }
        &self.ring.bytes(self.chunk.clone())[self.chunk_written..]
    }

    /// Records that `bytes` bytes of [`Self::pending`] have been written.
    pub fn written(&mut self, bytes: usize) {
        self.chunk_written += bytes;
    }

    /// Reports whether a chunk has been written only in part.
    pub fn is_within_chunk(&self) -> bool {
        self.chunk_written < self.chunk_len
    }

    fn next_chunk(&mut self, most: usize) {
        self.chunk = self.ring.advance(most, CHUNK);
        self.chunk_len = self.ring.bytes(self.chunk.clone()).len();
        self.chunk_written = 0;
        self.offered += self.chunk.len() as u64;
        let chunk = self.chunk.clone();
        match self.traffic.fill {
            Fill::Replayed => {}
            Fill::Fresh => self.ring.for_each_mut(chunk, |_, frame| {
                let key = route_key(self.random.number() as usize % self.traffic.flows);
                for at in [DESTINATION_AT, WATERMARK_AT] {
                    frame[at..at + 32].copy_from_slice(key.as_bytes());
                }
            }),
            Fill::Checked => self.ring.for_each_mut(chunk, |slot, frame| {
                let route = self.routes[slot];
                let sequence = &mut self.sequences[route as usize];
                let stamp = Stamp {
                    input: self.input as u32,
                    route,
                    sequence: *sequence,
                };
                *sequence += 1;
                let layout = TrafficLayout::parse(frame).expect("the bench built the frame");
                stamp.write(&mut frame[layout.payload_range()]);
            }),
        }
    }

    /// Returns the route of the `n`-th frame. Route `r` leads to the connection with the index `r % peers`.
    fn route(&mut self, n: usize, peers: usize) -> usize {
        let flows = self.traffic.flows;
        let pairs = (flows / 2).max(1);
        let random = self.random.number() as usize;
        match self.traffic.spread {
            Spread::Random => random % flows,
            Spread::Bursts => (self.input + n / BURST) % BURST_FLOWS.min(peers).min(flows),
            Spread::SameWorker => random % pairs * 2 + self.input % 2,
            Spread::OtherWorker => random % pairs * 2 + (self.input + 1) % 2,
        }
    }
}
