//! The sending end of a stream.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::rtt::Rtt;
use super::segment::{Ack, Kind, Segment};
use super::state::{Failure, SILENCE, State};

/// The largest congestion window, in bytes.
const MAX_WINDOW: usize = 1 << 20;
/// The initial congestion window, in bytes.
const INITIAL_WINDOW: usize = 128 << 10;
/// A piece is lost if this many later transmissions have overtaken it.
const REORDERING: u64 = 5;
/// Interval at which the receiver is probed while nothing is in flight.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// Number of times that the close is sent, as it may be lost. Without it, the receiver lingers.
const CLOSES: u32 = 2;

/// The sending end.
#[derive(Debug)]
pub(crate) struct Sender {
    stream: u64,
    piece: usize,
    /// Pieces from `base` on. The first is not confirmed; later ones may be.
    pieces: VecDeque<Piece>,
    base: u64,
    /// The first piece that has never been sent.
    unsent: u64,
    lost: BTreeSet<u64>,
    /// True if the last piece has been pushed.
    finished: bool,

    /// The first piece that the receiver has no room for.
    edge: u64,
    /// Bytes that were sent and are neither confirmed nor known to be lost.
    in_flight: usize,
    window: usize,
    threshold: usize,
    next_transmission: u64,
    /// The first transmission whose loss reduces the window. Losses of earlier ones have already reduced it.
    recovery: u64,
    highest_echo: Option<u64>,

    rtt: Rtt,
    /// The time at which the retransmission timer was last set.
    timer: Duration,
    last_sent: Duration,
    last_heard: Duration,
    closes: u32,
    state: State,
    repeats: u64,
}

#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    last: bool,
    arrived: bool,
    /// Number and time of its last transmission.
    sent: Option<(u64, Duration)>,
}

impl Sender {
    /// Creates a stream of pieces of at most `piece` bytes.
    pub(crate) fn new(now: Duration, stream: u64, piece: usize) -> Self {
        Self {
            stream,
            piece,
            pieces: VecDeque::new(),
            base: 0,
            unsent: 0,
            lost: BTreeSet::new(),
            finished: false,
            // Any receiver has room for this many before its first acknowledgement.
            edge: 16,
            in_flight: 0,
            window: INITIAL_WINDOW.max(2 * piece),
            threshold: usize::MAX,
            next_transmission: 0,
            recovery: 0,
            highest_echo: None,
            rtt: Rtt::default(),
            timer: now,
            last_sent: now,
            last_heard: now,
            closes: 0,
            state: State::Open,
            repeats: 0,
        }
    }

    /// Reports whether [`Self::push`] should be called: one window of data is kept ready.
    pub(crate) fn wants_data(&self) -> bool {
        let ready = self.base + self.pieces.len() as u64 - self.unsent;
        !self.finished && self.state == State::Open && (ready as usize) * self.piece < MAX_WINDOW
    }

    /// Takes the next piece of the stream. Only the last one may be empty.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, last: bool) {
        debug_assert!(bytes.len() <= self.piece && !self.finished);
        self.finished = last;
        self.pieces.push_back(Piece {
            bytes,
            last,
            arrived: false,
            sent: None,
        });
    }

    /// Handles a payload from the receiver.
    pub(crate) fn handle(&mut self, now: Duration, segment: &Segment<'_>) {
        if segment.stream != self.stream || self.state != State::Open {
            return;
        }
        match segment.kind {
            Kind::Ack(ack) => self.acknowledged(now, &ack),
            Kind::Busy if self.highest_echo.is_none() => {
                self.state = State::Failed(Failure::Busy);
            }
            Kind::Abort => self.state = State::Failed(Failure::Aborted),
            _ => {}
        }
    }

    /// Returns the payload that tells the receiver that this end has given up.
    pub(crate) fn abort(&self) -> Vec<u8> {
        self.encode(Kind::Abort)
    }

    /// Returns the next payload to send now. Call it until there is none.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.state == State::Open && now >= self.last_heard + SILENCE {
            self.state = State::Failed(Failure::Silence);
        }
        match self.state {
            State::Open => {}
            State::Done if self.closes < CLOSES => {
                self.closes += 1;
                return Some(self.encode(Kind::Close));
            }
            State::Done | State::Failed(_) => return None,
        }
        if self.in_flight > 0 && now >= self.timer + self.rtt.timeout() {
            self.timed_out(now);
        }
        if let Some(sequence) = self.next_piece() {
            return self.transmit(now, sequence);
        }
        if self.in_flight == 0 && now >= self.last_sent + PROBE_INTERVAL {
            self.last_sent = now;
            return Some(self.encode(Kind::Probe));
        }
        None
    }

    /// Returns the time at which [`Self::poll`] must be called again at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.state != State::Open {
            return None;
        }
        let next = if self.in_flight > 0 {
            self.timer + self.rtt.timeout()
        } else {
            self.last_sent + PROBE_INTERVAL
        };
        Some(next.min(self.last_heard + SILENCE))
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Returns the number of retransmissions.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Returns the piece to send next, lost pieces first, if both windows allow one.
    fn next_piece(&self) -> Option<u64> {
        let sequence = match self.lost.first() {
            Some(lost) => *lost,
            None if self.unsent < self.edge => self.unsent,
            None => return None,
        };
        let bytes = self.piece(sequence)?.bytes.len();
        (self.in_flight == 0 || self.in_flight + bytes <= self.window).then_some(sequence)
    }

    fn transmit(&mut self, now: Duration, sequence: u64) -> Option<Vec<u8>> {
        let transmission = self.next_transmission;
        let stream = self.stream;
        let piece = self.piece_mut(sequence)?;
        piece.sent = Some((transmission, now));
        let bytes = weight(piece);
        let payload = Segment {
            stream,
            kind: Kind::Data {
                sequence,
                transmission,
                last: piece.last,
                bytes: &piece.bytes,
            },
        }
        .encode();
        self.next_transmission += 1;
        if self.in_flight == 0 {
            self.timer = now;
        }
        self.in_flight += bytes;
        self.last_sent = now;
        if self.lost.remove(&sequence) {
            self.repeats += 1;
        } else {
            self.unsent += 1;
        }
        Some(payload)
    }

    fn acknowledged(&mut self, now: Duration, ack: &Ack<'_>) {
        // A receiver cannot have what was never sent.
        if ack.next > self.unsent {
            return;
        }
        self.last_heard = now;
        self.edge = self.edge.max(ack.next.saturating_add(ack.window.into()));
        self.echoed(now, ack.latest);
        let mut fresh = 0;
        for sequence in self.base..ack.next {
            fresh += self.arrived(sequence);
        }
        for (i, byte) in ack.bitmap.iter().enumerate() {
            for bit in 0..8 {
                if byte & (1 << bit) != 0 {
                    fresh += self.arrived(ack.next.saturating_add(1 + 8 * i as u64 + bit));
                }
            }
        }
        while self.pieces.front().is_some_and(|p| p.arrived) {
            self.pieces.pop_front();
            self.base += 1;
        }
        if fresh > 0 {
            self.timer = now;
            self.rtt.progress();
            self.widen(fresh);
        }
        self.find_lost();
        if self.finished && self.pieces.is_empty() {
            self.state = State::Done;
        }
    }

    /// Takes a round-trip sample from the transmission that arrived last.
    fn echoed(&mut self, now: Duration, (sequence, transmission): (u64, u64)) {
        if transmission >= self.next_transmission {
            return;
        }
        self.highest_echo = self.highest_echo.max(Some(transmission));
        if let Some(piece) = self.piece(sequence)
            && !piece.arrived
            && let Some((number, at)) = piece.sent
            && number == transmission
        {
            self.rtt.sample(now.saturating_sub(at));
        }
    }

    /// Marks a piece as arrived. Returns its bytes, or 0 if it was known to have arrived.
    fn arrived(&mut self, sequence: u64) -> usize {
        let was_lost = self.lost.remove(&sequence);
        let Some(piece) = self.piece_mut(sequence) else {
            return 0;
        };
        if piece.arrived || piece.sent.is_none() {
            return 0;
        }
        piece.arrived = true;
        let bytes = weight(piece);
        piece.bytes = Vec::new();
        if !was_lost {
            self.in_flight -= bytes;
        }
        bytes
    }

    /// Widens the window: slow start below the threshold, then one piece for each round trip.
    fn widen(&mut self, bytes: usize) {
        self.window += if self.window < self.threshold {
            bytes
        } else {
            (self.piece * bytes / self.window).max(1)
        };
        self.window = self.window.min(MAX_WINDOW.max(2 * self.piece));
    }

    /// Marks pieces as lost that later transmissions have overtaken.
    fn find_lost(&mut self) {
        let Some(limit) = self
            .highest_echo
            .and_then(|echo| echo.checked_sub(REORDERING))
        else {
            return;
        };
        let mut newest = None;
        for (sequence, piece) in (self.base..self.unsent).zip(&self.pieces) {
            let Some((transmission, _)) = piece.sent else {
                break;
            };
            if !piece.arrived && transmission < limit && self.lost.insert(sequence) {
                self.in_flight -= weight(piece);
                newest = newest.max(Some(transmission));
            }
        }
        if newest.is_some_and(|transmission| transmission >= self.recovery) {
            self.narrow();
            self.window = self.threshold;
        }
    }

    fn timed_out(&mut self, now: Duration) {
        for (sequence, piece) in (self.base..self.unsent).zip(&self.pieces) {
            if !piece.arrived {
                self.lost.insert(sequence);
            }
        }
        self.in_flight = 0;
        self.timer = now;
        self.rtt.timed_out();
        self.narrow();
        self.window = 2 * self.piece;
    }

    /// Halves the threshold, once for everything sent so far.
    fn narrow(&mut self) {
        self.recovery = self.next_transmission;
        self.threshold = (self.window / 2).max(4 * self.piece);
    }

    fn piece(&self, sequence: u64) -> Option<&Piece> {
        self.pieces
            .get(usize::try_from(sequence.checked_sub(self.base)?).ok()?)
    }

    fn piece_mut(&mut self, sequence: u64) -> Option<&mut Piece> {
        self.pieces
            .get_mut(usize::try_from(sequence.checked_sub(self.base)?).ok()?)
    }

    fn encode(&self, kind: Kind<'_>) -> Vec<u8> {
        Segment {
            stream: self.stream,
            kind,
        }
        .encode()
    }
}

/// Returns the number of bytes that a piece counts for in flight: at least 1, so that an empty one is waited for, too.
fn weight(piece: &Piece) -> usize {
    piece.bytes.len().max(1)
}
