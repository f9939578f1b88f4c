//! The receiving end of a stream.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::segment::{Ack, Kind, MAX_BITMAP, Segment};
use super::state::{Failure, SILENCE, State};

/// Pieces stored for the reader. Pieces beyond that are dropped.
const CAPACITY: u64 = 512;
/// Bytes of these pieces.
const CAPACITY_BYTES: usize = 8 << 20;
/// Time that the receiver stays after the end, as the last acknowledgement may be lost.
const LINGER: Duration = Duration::from_secs(5);
/// Interval at which that acknowledgement is repeated.
const REPEAT: Duration = Duration::from_millis(250);

/// The latest piece before any has arrived. No transmission has this number.
const NOTHING_YET: (u64, u64) = (u64::MAX, u64::MAX);

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Receiver {
    stream: u64,
    /// The first missing piece.
    next: u64,
    /// Pieces in order that have not been read yet.
    ready: VecDeque<Vec<u8>>,
    /// Pieces after a missing one.
    early: BTreeMap<u64, Vec<u8>>,
    /// Bytes in `ready` and `early`.
    bytes: usize,
    bytes_read: u64,
    /// The number of pieces, once the last one has arrived.
    end: Option<u64>,
    latest: (u64, u64),
    ack_due: bool,
    last_ack: Duration,
    /// True if the last acknowledgement announced little room.
    said_full: bool,
    last_heard: Duration,
    complete_since: Option<Duration>,
    state: State,
}

impl Receiver {
    pub(crate) fn new(now: Duration, stream: u64) -> Self {
        Self {
            stream,
            next: 0,
            ready: VecDeque::new(),
            early: BTreeMap::new(),
            bytes: 0,
            bytes_read: 0,
            end: None,
            latest: NOTHING_YET,
            ack_due: false,
            last_ack: now,
            said_full: false,
            last_heard: now,
            complete_since: None,
            state: State::Open,
        }
    }

    pub(crate) fn stream(&self) -> u64 {
        self.stream
    }

    /// Returns the number of bytes that have been read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Returns the payload that tells the sender that this end has given up.
    pub(crate) fn abort(&self) -> Vec<u8> {
        Segment {
            stream: self.stream,
            kind: Kind::Abort,
        }
        .encode()
    }

    /// Handles a payload from the sender.
    pub(crate) fn handle(&mut self, now: Duration, segment: &Segment<'_>) {
        if segment.stream != self.stream || self.state != State::Open {
            return;
        }
        match segment.kind {
            Kind::Data {
                sequence,
                transmission,
                last,
                bytes,
            } => {
                self.last_heard = now;
                self.ack_due = true;
                self.latest = (sequence, transmission);
                self.store(sequence, last, bytes);
                if self.is_complete() && self.complete_since.is_none() {
                    self.complete_since = Some(now);
                }
            }
            Kind::Probe => {
                self.last_heard = now;
                self.ack_due = true;
            }
            Kind::Close if self.is_complete() => self.state = State::Done,
            Kind::Abort if !self.is_complete() => self.state = State::Failed(Failure::Aborted),
            Kind::Close | Kind::Ack(_) | Kind::Busy | Kind::Abort => {}
        }
    }

    /// Reports whether [`Self::read`] returns something.
    pub(crate) fn has_data(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the next bytes of the stream, in order.
    pub(crate) fn read(&mut self) -> Option<Vec<u8>> {
        let bytes = self.ready.pop_front()?;
        self.bytes -= bytes.len();
        self.bytes_read += bytes.len() as u64;
        // A sender that waits for room is notified at once.
        self.ack_due |= self.said_full && self.room() >= CAPACITY / 2;
        Some(bytes)
    }

    /// Reports whether every byte has arrived, read or not.
    pub(crate) fn is_complete(&self) -> bool {
        self.end == Some(self.next)
    }

    /// Returns the next payload to send now. Call it until there is none.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.state == State::Open {
            if let Some(since) = self.complete_since {
                if now >= since.max(self.last_heard) + LINGER {
                    self.state = State::Done;
                }
                self.ack_due |= self.state == State::Open && now >= self.last_ack + REPEAT;
            } else if now >= self.last_heard + SILENCE {
                self.state = State::Failed(Failure::Silence);
            }
        }
        if !self.ack_due || matches!(self.state, State::Failed(_)) {
            return None;
        }
        self.ack_due = false;
        self.last_ack = now;
        let window = self.room();
        self.said_full = window < CAPACITY / 2;
        let mut bitmap = Vec::new();
        for sequence in self.early.keys() {
            let bit = (sequence - self.next - 1) as usize;
            if bit / 8 >= MAX_BITMAP {
                break;
            }
            bitmap.resize(bit / 8 + 1, 0);
            bitmap[bit / 8] |= 1 << (bit % 8);
        }
        let ack = Kind::Ack(Ack {
            next: self.next,
            window: window as u32,
            latest: self.latest,
            bitmap: &bitmap,
        });
        Some(
            Segment {
                stream: self.stream,
                kind: ack,
            }
            .encode(),
        )
    }

    /// Returns the time at which [`Self::poll`] must be called again at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        (self.state == State::Open).then(|| match self.complete_since {
            Some(since) => (since.max(self.last_heard) + LINGER).min(self.last_ack + REPEAT),
            None => self.last_heard + SILENCE,
        })
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    fn store(&mut self, sequence: u64, last: bool, bytes: &[u8]) {
        if sequence < self.next
            || sequence - self.next >= self.room()
            || self.bytes + bytes.len() > CAPACITY_BYTES
            || self.end.is_some_and(|end| sequence >= end)
            || self.early.contains_key(&sequence)
        {
            return;
        }
        if last {
            self.end = Some(sequence + 1);
        }
        self.bytes += bytes.len();
        self.early.insert(sequence, bytes.to_vec());
        while let Some(bytes) = self.early.remove(&self.next) {
            self.ready.push_back(bytes);
            self.next += 1;
        }
    }

    /// Returns the number of pieces, from `next` on, that there is room for.
    fn room(&self) -> u64 {
        CAPACITY.saturating_sub(self.ready.len() as u64)
    }
}
