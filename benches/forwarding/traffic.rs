//! What the frames say and where they go.

use std::ops::Range;

use pinecone_benches::Random;
use pinecone_wire::frame::HEADER_LEN;
use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{Coordinates, PublicKey, TrafficFields, TrafficLayout, Watermark};

/// Bytes of frames made for all connections together, sent over and over.
const STREAMS: usize = 32 << 20;
/// Bytes given to a socket at once.
const CHUNK: usize = 256 << 10;
/// Frames of a flow behind each other where traffic comes in runs, and flows a connection.
const RUN: usize = 32;
const RUN_FLOWS: usize = 8;
/// Where the keys lie in a frame without coordinates.
const DESTINATION_AT: usize = HEADER_LEN + 6;
const WATERMARK_AT: usize = DESTINATION_AT + 64;
/// Of every frame, and none of the routers is to lower it.
pub const HOP_LIMIT: u8 = 10;
/// The sequence of most routes, and one like those of real nodes, which takes five bytes more.
const SHORT: u64 = 7;
const LONG: u64 = 1_795_357_650_878;
/// The least payload of a checked frame: connection, route, sequence.
const STAMP: usize = 16;

/// Which way out a frame takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// A random one for every frame.
    Random,
    /// A flow for each, 32 frames at a time.
    Runs,
    /// A random one of those at the worker that the frame comes to, of two.
    SameWorker,
    /// A random one of those at the other worker.
    OtherWorker,
}

/// How frames differ from one pass over the prepared stream to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Not at all.
    Replayed,
    /// By their destinations, so that all of a large table is in use.
    Fresh,
    /// By number and content, for the sink to check. A third of the frames grow on their way, a
    /// third shrink.
    Checked,
}

/// What one run sends.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Bytes of payload.
    pub size: usize,
    /// How many of the routes are destinations.
    pub flows: usize,
    pub spread: Spread,
    pub fill: Fill,
}

/// The key of a route. Peers' keys are lower than all of these.
pub fn route_key(route: usize) -> PublicKey {
    let mut key = Random::new((route as u64) << 32).key();
    key.0[0] |= 0x80;
    key
}

/// The sequence of a route.
pub fn route_sequence(route: usize, fill: Fill) -> u64 {
    match (fill, route % 3) {
        (Fill::Checked, 1) => LONG,
        _ => SHORT,
    }
}

/// The watermark that a frame comes with.
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

/// The watermark that a router sends it on with.
pub fn watermark_after(route: usize, fill: Fill) -> Watermark {
    Watermark {
        key: route_key(route),
        sequence: route_sequence(route, fill),
    }
}

/// Who sends on a connection.
pub fn source_key(input: usize) -> PublicKey {
    let mut key = [0x11; 32];
    key[28..].copy_from_slice(&(input as u32).to_be_bytes());
    PublicKey(key)
}

/// A frame for `route`.
pub fn frame(input: usize, route: usize, size: usize, fill: Fill) -> Vec<u8> {
    let mut frame = Vec::new();
    let fields = TrafficFields {
        extra: 0,
        hop_limit: HOP_LIMIT,
        destination: &Coordinates::default(),
        source: &Coordinates::default(),
        destination_key: route_key(route),
        source_key: source_key(input),
        watermark: watermark_before(route, fill),
        payload: &vec![0x5a; size],
    };
    push_traffic(&mut frame, &fields).expect("a payload that fits a frame");
    frame
}

/// What the payload of a checked frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub input: u32,
    pub route: u32,
    pub sequence: u64,
}

impl Stamp {
    /// Fills a payload.
    pub fn write(self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.input.to_be_bytes());
        payload[4..8].copy_from_slice(&self.route.to_be_bytes());
        payload[8..STAMP].copy_from_slice(&self.sequence.to_be_bytes());
        let mut words = self.words();
        for piece in payload[STAMP..].chunks_mut(8) {
            piece.copy_from_slice(&words()[..piece.len()]);
        }
    }

    /// Reads a payload; false if the rest of it is not what [`Self::write`] made.
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

    /// The pattern: no two frames share it, and no eight bytes of one frame are equal.
    fn words(self) -> impl FnMut() -> [u8; 8] {
        let seed = self.sequence ^ u64::from(self.route) << 32 ^ u64::from(self.input) << 56;
        let mut word = Random::new(seed).number();
        move || {
            word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            word.to_le_bytes()
        }
    }
}

/// The endless stream of frames for one connection, in chunks of whole frames.
pub struct Feed {
    stream: Vec<u8>,
    frames: Vec<Prepared>,
    /// The frame that the next chunk begins with.
    next: usize,
    /// What is still to be written of this chunk.
    chunk: Range<usize>,
    /// Frames of all chunks so far.
    pub offered: u64,
    input: usize,
    traffic: Traffic,
    random: Random,
    sequences: Vec<u64>,
}

struct Prepared {
    at: u32,
    route: u32,
}

impl Feed {
    pub fn new(traffic: Traffic, input: usize, peers: usize) -> Self {
        let mut this = Self {
            stream: Vec::new(),
            frames: Vec::new(),
            next: 0,
            chunk: 0..0,
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
        this.stream.reserve(room);
        loop {
            let route = this.route(this.frames.len(), peers);
            let frame = frame(input, route, traffic.size, traffic.fill);
            if this.stream.len() + frame.len() > room {
                return this;
            }
            this.frames.push(Prepared {
                at: this.stream.len() as u32,
                route: route as u32,
            });
            this.stream.extend_from_slice(&frame);
        }
    }

    /// What to write next, not empty: what is left of the chunk, else the next one, of at most so
    /// many frames.
    pub fn pending(&mut self, most: usize) -> &[u8] {
        if self.chunk.is_empty() {
            self.next_chunk(most.max(1));
        }
        &self.stream[self.chunk.clone()]
    }

    /// So many bytes of [`Self::pending`] have gone.
    pub fn written(&mut self, bytes: usize) {
        self.chunk.start += bytes;
    }

    /// Whether a frame has begun and not ended.
    pub fn is_within_chunk(&self) -> bool {
        !self.chunk.is_empty()
    }

    fn next_chunk(&mut self, most: usize) {
        let (first, from) = (self.next, self.start_of(self.next));
        let mut end = first + 1;
        while end < self.frames.len()
            && end - first < most
            && self.start_of(end + 1) - from <= CHUNK
        {
            end += 1;
        }
        self.chunk = from..self.start_of(end);
        self.offered += (end - first) as u64;
        self.next = end % self.frames.len();
        for i in first..end {
            self.refill(i);
        }
    }

    fn start_of(&self, frame: usize) -> usize {
        self.frames
            .get(frame)
            .map_or(self.stream.len(), |f| f.at as usize)
    }

    fn refill(&mut self, i: usize) {
        let range = self.start_of(i)..self.start_of(i + 1);
        match self.traffic.fill {
            Fill::Replayed => {}
            Fill::Fresh => {
                let key = route_key(self.random.number() as usize % self.traffic.flows);
                let frame = &mut self.stream[range];
                for at in [DESTINATION_AT, WATERMARK_AT] {
                    frame[at..at + 32].copy_from_slice(key.as_bytes());
                }
            }
            Fill::Checked => {
                let route = self.frames[i].route;
                let sequence = &mut self.sequences[route as usize];
                *sequence += 1;
                let stamp = Stamp {
                    input: self.input as u32,
                    route,
                    sequence: *sequence,
                };
                let frame = &mut self.stream[range];
                let layout = TrafficLayout::parse(frame).expect("our own frame");
                stamp.write(&mut frame[layout.payload_range()]);
            }
        }
    }

    /// The route of the `n`-th frame. Route r leads to way out `r % peers`.
    fn route(&mut self, n: usize, peers: usize) -> usize {
        let flows = self.traffic.flows;
        let pairs = (flows / 2).max(1);
        let random = self.random.number() as usize;
        match self.traffic.spread {
            Spread::Random => random % flows,
            Spread::Runs => (self.input + n / RUN) % RUN_FLOWS.min(peers).min(flows),
            Spread::SameWorker => random % pairs * 2 + self.input % 2,
            Spread::OtherWorker => random % pairs * 2 + (self.input + 1) % 2,
        }
    }
}
