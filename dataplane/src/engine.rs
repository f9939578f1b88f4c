//! The engine: what stands between a worker's decisions and the kernel.
//!
//! An engine owns the descriptors and the memory that frames lie in. Once a turn it submits what
//! the worker wants sent, waits, and hands over what has happened since. Sends come in two kinds:
//! *inline* ones take what the socket takes at once and may point into the turn's memory; a *drain*
//! waits until the socket has taken everything, and may only send bytes that it owns.
//!
//! There are two, alike in all that a worker sees: [`Uring`] completes requests, [`Epoll`] polls
//! for readiness where io_uring cannot be had.

mod epoll;
mod memory;
mod socket;
mod uring;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::Shutdown;

use self::epoll::Epoll;
pub(crate) use self::socket::Readiness;
pub(crate) use self::uring::SharedPoller;
use self::uring::Uring;
use crate::DataPlaneOptions;
use crate::buffer::{ReceiveBuffers, Segment, TurnMemory};
use crate::frames::{frames_in, is_traffic};
use crate::mailbox::Mailbox;

/// Most pieces in one send: what one vectored system call takes.
pub(crate) const MAX_PIECES: usize = 1024;

/// Bytes that a turn receives, about: sending costs less while caches hold what was received. With
/// many ways out it is more, so that each gets enough for a send to pay, and with long frames, which
/// are sent from where they lie.
const ENOUGH: usize = 1 << 20;
const ENOUGH_A_PORT: usize = 64 << 10;
const ENOUGH_LONG: usize = 3 << 20;
/// Frames that make a turn long enough.
const ENOUGH_FRAMES: usize = 2560;

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineKind {
    Uring,
    Epoll,
}

/// One worker's engine.
pub(crate) enum Engine {
    Uring(Box<Uring>),
    Epoll(Box<Epoll>),
}

/// What has happened.
pub(crate) enum Event {
    /// Bytes came: these of this receive buffer.
    Received {
        slot: u32,
        buffer: u16,
        at: usize,
        len: usize,
    },
    /// No more will come: the peer ended the stream (0), or an error number.
    Ended { slot: u32, error: i32 },
    /// A send is over.
    Sent {
        slot: u32,
        outgoing: Outgoing,
        result: Result<usize, i32>,
    },
    /// Everything of a closed slot is finished, and its descriptor is gone.
    Closed { slot: u32 },
}

/// What one send carries: owned frames first, then segments of the turn.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// Whole frames, one or several to a piece, the first perhaps sent in part.
    pub(crate) owned: Vec<Box<[u8]>>,
    /// How much of the first owned frame has gone before.
    pub(crate) skip: usize,
    /// Traffic frames where they lie.
    pub(crate) segments: Vec<Segment>,
    /// Frames in `segments`.
    pub(crate) segment_frames: u64,
    /// Bytes in `segments`.
    pub(crate) segment_bytes: usize,
    /// What the engine has kept of a send that went out whole, in place of `owned` frames: the
    /// kernel still reads them.
    pub(crate) kept: Kept,
}

/// Owned frames that are sent, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) traffic_frames: u64,
    pub(crate) traffic_bytes: u64,
    pub(crate) protocol_frames: u64,
    pub(crate) protocol_bytes: u64,
}

impl EngineKind {
    /// The system call in which its workers wait.
    pub(crate) const fn call(self) -> &'static str {
        match self {
            Self::Uring => "io_uring_enter",
            Self::Epoll => "epoll_wait",
        }
    }

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl Engine {
    /// Sets an engine up on the calling thread, which alone may use it.
    pub(crate) fn new(
        kind: EngineKind,
        mailbox: Arc<Mailbox>,
        poller: &SharedPoller,
        options: &DataPlaneOptions,
    ) -> io::Result<Self> {
        let buffers = options.receive_buffers;
        Ok(match kind {
            EngineKind::Uring => {
                let uring = Uring::new(mailbox, poller, options).map_err(uring::name_limit)?;
                Self::Uring(Box::new(uring))
            }
            EngineKind::Epoll => Self::Epoll(Box::new(Epoll::new(mailbox, buffers)?)),
        })
    }

    /// What of the kernel is used, and what has been asked for.
    pub(crate) fn features(&self, options: &DataPlaneOptions) -> String {
        let mut text = match self {
            Self::Uring(uring) => uring.features().to_string(),
            Self::Epoll(_) => "level-triggered".to_owned(),
        };
        if let (Self::Epoll(_), Some(core)) = (self, options.sqpoll) {
            text += &format!(", no kernel thread on core {core}: only io_uring has it");
        }
        if let (Self::Epoll(_), Some(_)) = (self, options.zero_copy) {
            text += ", no sends without a copy: only io_uring has them";
        }
        if let Some(limit) = options.busy_poll {
            text += &format!(", busy polling for {} us", limit.as_micros());
        }
        text
    }

    /// The memory that segments and received bytes lie in.
    #[inline]
    pub(crate) fn memory(&self) -> (&TurnMemory, &ReceiveBuffers) {
        match self {
            Self::Uring(uring) => uring.memory.parts(),
            Self::Epoll(epoll) => epoll.memory.parts(),
        }
    }

    /// The same, for filling the turn and for changing frames where they lie.
    #[inline]
    pub(crate) fn memory_mut(&mut self) -> (&mut TurnMemory, &mut ReceiveBuffers) {
        match self {
            Self::Uring(uring) => uring.memory.parts_mut(),
            Self::Epoll(epoll) => epoll.memory.parts_mut(),
        }
    }

    /// Times that bytes had to wait because no receive buffer was free.
    pub(crate) fn out_of_buffers(&self) -> u64 {
        match self {
            Self::Uring(uring) => uring.out_of_buffers,
            Self::Epoll(epoll) => epoll.out_of_buffers,
        }
    }

    /// Sends whose bytes the kernel read where they lay.
    pub(crate) fn zero_copy_sends(&self) -> u64 {
        match self {
            Self::Uring(uring) => uring.zero_copy_sends,
            Self::Epoll(_) => 0,
        }
    }

    /// Wakes another worker, at the latest with what is submitted next.
    pub(crate) fn wake(&mut self, worker: usize, mailbox: &Arc<Mailbox>) {
        match self {
            Self::Uring(uring) => uring.wake(worker, mailbox),
            Self::Epoll(_) => mailbox.bell.wake(),
        }
    }

    /// Takes a connected stream socket over and starts receiving.
    pub(crate) fn add(&mut self, stream: OwnedFd) -> io::Result<u32> {
        if let Some(state) = socket::tcp_state(&stream) {
            socket::retry_soon(&stream, state.rtt_us);
        }
        match self {
            Self::Uring(uring) => uring.add(stream),
            Self::Epoll(epoll) => epoll.add(stream),
        }
    }

    /// Sends: inline, taking what goes at once, or as a drain, which waits for all of it. Never two
    /// at once on one slot.
    pub(crate) fn send(&mut self, slot: u32, outgoing: Outgoing, drain: bool) {
        match self {
            Self::Uring(uring) => uring.send(slot, outgoing, drain),
            Self::Epoll(epoll) => epoll.send(slot, outgoing, drain),
        }
    }

    /// Sends a few bytes right now, between two sends; returns how many the socket took.
    pub(crate) fn send_at_once(&self, slot: u32, bytes: &[u8]) -> usize {
        self.stream(slot)
            .map_or(0, |stream| socket::send_at_once(stream, bytes))
    }

    /// Limits the bytes that the kernel has taken for a slot and cannot send yet.
    pub(crate) fn limit_unsent(&mut self, slot: u32, limit: Option<usize>) {
        if let Some(stream) = self.stream(slot) {
            socket::limit_unsent(stream, limit);
        }
        let flags = match limit {
            // Or TCP would add to its last segment, which may become long, without regard to the
            // limit.
            Some(_) => libc::MSG_EOR,
            None => 0,
        };
        match self {
            Self::Uring(uring) => uring.set_send_flags(slot, flags),
            Self::Epoll(epoll) => epoll.set_send_flags(slot, flags),
        }
    }

    /// How far a drain under way is: a number that changes when the peer takes bytes. Fits the time
    /// between retransmissions to the round-trip time meanwhile. With io_uring,
    /// a drain to anything but TCP ends whenever bytes are taken, and has none.
    pub(crate) fn progress(&self, slot: u32) -> Option<u64> {
        let taken = match self {
            Self::Uring(_) => None,
            Self::Epoll(epoll) => epoll.taken(slot),
        };
        let Some((stream, state)) = self
            .stream(slot)
            .and_then(|stream| Some((stream, socket::tcp_state(stream)?)))
        else {
            return taken;
        };
        socket::retry_soon(stream, state.rtt_us);
        Some(state.acked)
    }

    /// What a slot's socket is ready for at this moment: a system call.
    pub(crate) fn readiness(&self, slot: u32) -> Readiness {
        self.stream(slot).map(socket::readiness).unwrap_or_default()
    }

    fn stream(&self, slot: u32) -> Option<&OwnedFd> {
        match self {
            Self::Uring(uring) => uring.stream(slot),
            Self::Epoll(epoll) => epoll.stream(slot),
        }
    }

    /// Shuts the stream down, or resets it; `Event::Closed` follows when the kernel has let go of it.
    pub(crate) fn close(&mut self, slot: u32, reset: bool, events: &mut Vec<Event>) {
        match self {
            Self::Uring(uring) => uring.close(slot, reset, events),
            Self::Epoll(epoll) => epoll.close(slot, reset),
        }
    }

    /// Gives the slot away again: once `Event::Closed` has been dealt with, and not before, since
    /// events that lie before it still name the slot.
    pub(crate) fn release(&mut self, slot: u32) {
        match self {
            Self::Uring(uring) => uring.release(slot),
            Self::Epoll(epoll) => epoll.release(slot),
        }
    }

    /// Whether it may be worth asking [`Self::wait`] for news, as far as can be told without a
    /// system call: for spinning. What is queued must have been submitted before.
    #[inline]
    pub(crate) fn may_have_news(&mut self) -> bool {
        match self {
            Self::Uring(uring) => uring.may_have_news(),
            // Only the kernel can tell.
            Self::Epoll(_) => true,
        }
    }

    /// Says that all that was received has been dealt with: it goes with the next
    /// [`Self::end_turn`].
    pub(crate) fn all_handled(&mut self) {
        match self {
            Self::Uring(uring) => uring.memory.make_old(),
            Self::Epoll(epoll) => epoll.memory.make_old(),
        }
    }

    /// Says how many ports the turn sends to, and the mean length of the frames that it received:
    /// the next one will hardly be otherwise.
    pub(crate) fn set_load(&mut self, ports: usize, frame_len: usize) {
        let enough = match self {
            Self::Uring(uring) => &mut uring.enough,
            Self::Epoll(epoll) => &mut epoll.enough,
        };
        // Down slowly: a small turn in between says little.
        *enough = (*enough - *enough / 8)
            .max((frame_len * ENOUGH_FRAMES).clamp(ENOUGH, ENOUGH_LONG))
            .max(ports * ENOUGH_A_PORT);
    }

    /// Appends what is over before [`Self::wait`], and says whether there may be something.
    pub(crate) fn take_done(&mut self, events: &mut Vec<Event>) -> io::Result<bool> {
        match self {
            Self::Uring(uring) => uring.take_done(events),
            Self::Epoll(epoll) => Ok(epoll.take_done(events)),
        }
    }

    /// Submits, waits at most `timeout` for something to happen (for ever if there is none), and
    /// appends what did. With `batch`, it first waits for so long for several things to happen, if
    /// it can. All inline sends are over then; their events come with the others and must be dealt
    /// with before [`Self::end_turn`] voids what they point to.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        batch: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        match self {
            Self::Uring(uring) => uring.wait(timeout, batch, events),
            Self::Epoll(epoll) => epoll.wait(timeout, events),
        }
    }

    /// Submits, and waits for the inline sends alone.
    pub(crate) fn finish_inline(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        match self {
            Self::Uring(uring) => uring.finish_inline(events),
            Self::Epoll(epoll) => {
                epoll.take_done(events);
                Ok(())
            }
        }
    }

    /// Gives back what the turn before the last [`Self::wait`] received and gathered.
    pub(crate) fn end_turn(&mut self) {
        match self {
            Self::Uring(uring) => uring.end_turn(),
            Self::Epoll(epoll) => epoll.end_turn(),
        }
    }

    /// Gives back gathered bytes in the middle of a turn, all of them sent; what was received stays.
    pub(crate) fn clear_gathered(&mut self) {
        match self {
            Self::Uring(uring) => uring.clear_gathered(),
            Self::Epoll(epoll) => epoll.clear_gathered(),
        }
    }
}

/// Ends a stream both ways, whoever else has its descriptor. A reset waits for no answer of the
/// peer; only TCP knows it.
fn hang_up(stream: &OwnedFd, reset: bool) {
    if reset {
        // For the kernels that disconnect no socket that somebody reads from.
        let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        if rustix::net::connect_unspec(stream).is_ok() {
            return;
        }
    }
    // Fails only if the peer has already ended the stream.
    let _ = rustix::net::shutdown(stream, Shutdown::Both);
}

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.owned.is_empty() && self.segments.is_empty()
    }

    /// Takes the owned pieces out, all of them sent, and leaves the numbers of their frames.
    fn keep_owned(&mut self) -> Vec<Box<[u8]>> {
        let owned = std::mem::take(&mut self.owned);
        self.skip = 0;
        for frame in owned.iter().flat_map(|piece| frames_in(piece)) {
            let (frames, bytes) = if is_traffic(frame) {
                (&mut self.kept.traffic_frames, &mut self.kept.traffic_bytes)
            } else {
                (
                    &mut self.kept.protocol_frames,
                    &mut self.kept.protocol_bytes,
                )
            };
            *frames += 1;
            *bytes += frame.len() as u64;
        }
        owned
    }

    /// Its bytes, piece by piece.
    fn pieces<'a>(
        &'a self,
        (turn, receive): (&'a TurnMemory, &'a ReceiveBuffers),
    ) -> impl Iterator<Item = &'a [u8]> {
        let mut skip = self.skip;
        let owned = self.owned.iter().map(|frame| &frame[..]);
        let segments = self.segments.iter().map(move |s| turn.bytes(s, receive));
        owned
            .chain(segments)
            .map(move |piece| &piece[std::mem::take(&mut skip).min(piece.len())..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece that waited may hold several small frames: each counts.
    #[test]
    fn kept_frames_are_counted_one_by_one() {
        let traffic = *b"pine\0\x03\0\0\0\x0c..";
        let keepalive = pinecone_wire::frame::KEEPALIVE;
        let mut outgoing = Outgoing {
            owned: vec![
                Box::new(keepalive),
                Box::new(traffic),
                traffic.repeat(3).into(),
            ],
            ..Outgoing::default()
        };
        assert_eq!(outgoing.keep_owned().len(), 3);
        let kept = &outgoing.kept;
        assert_eq!((kept.protocol_frames, kept.protocol_bytes), (1, 10));
        assert_eq!((kept.traffic_frames, kept.traffic_bytes), (4, 48));
    }
}
