//! The contract of an engine.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::memory::Memory;
use super::outgoing::Outgoing;
use super::poller::SharedPoller;
use crate::DataPlaneOptions;
use crate::mailbox::Mailbox;

/// Maximum number of pieces in one send: as many as one vectored system call takes.
pub(crate) const MAX_PIECES: usize = 1024;

/// The kind of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineKind {
    Uring,
    Epoll,
}

/// An event of a slot.
pub(crate) enum Event {
    /// Bytes arrived, in this range of this receive buffer.
    Received {
        slot: u32,
        buffer: u16,
        at: usize,
        len: usize,
    },
    /// The stream has ended: by the peer (0), or with an error number.
    Ended { slot: u32, error: i32 },
    /// A send has completed.
    Sent(Sent),
    /// A closed slot has no requests left, and its descriptor is gone.
    Closed { slot: u32 },
}

/// A send that has completed.
pub(crate) struct Sent {
    pub(crate) slot: u32,
    pub(crate) outgoing: Outgoing,
    /// The number of bytes that the socket took, or an error number.
    pub(crate) result: Result<usize, i32>,
}

/// The treatment of a socket that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendMode {
    /// The send ends with the bytes that the socket takes at once. It may point into the iteration's memory.
    Inline,
    /// The send waits until the socket has taken everything. It owns all its bytes.
    Drain,
}

/// Parameters of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// The longest wait for an event; `None` is without a bound.
    pub(crate) timeout: Option<Duration>,
    /// The time to wait first for several events together, if the engine can.
    pub(crate) batch: Option<Duration>,
    /// The number of bytes to receive, approximately.
    pub(crate) enough: usize,
    /// False if the engine need not poll for new events, because the caller is about to wait for its descriptor.
    pub(crate) polls: bool,
}

/// Counts that an engine keeps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EngineStats {
    /// Times that bytes had to wait because no receive buffer was free.
    pub(crate) out_of_buffers: u64,
    /// Sends whose bytes were not copied to the kernel.
    pub(crate) zero_copy_sends: u64,
}

/// The contract of an engine. One thread creates it and makes all calls.
///
/// # Slots
///
/// [`add`](Self::add) puts a socket into a slot and starts receiving from it. [`close`](Self::close)
/// ends its stream; [`Event::Closed`] follows as the slot's last event, and the slot is free for
/// another socket only after [`release`](Self::release). A slot has at most one send under way, and
/// none after `close`.
///
/// # Iterations
///
/// Received bytes and the segments of inline sends lie in [`Memory`], which is recycled once an
/// iteration. Each iteration makes these calls in this order:
///
/// 1. Handle all events of the last [`wait`](Self::wait). When gathered bytes become too many:
///    [`finish_inline`](Self::finish_inline), account for its [`Event::Sent`] events, and
///    [`clear_gathered`](Self::clear_gathered).
/// 2. [`Memory::mark_handled`]: the receive buffers that are held now go back to the kernel when the
///    iteration ends.
/// 3. [`send`](Self::send), and [`take_completed`](Self::take_completed) for sends that have
///    completed already.
/// 4. [`wait`](Self::wait), which also completes all inline sends.
/// 5. Account for the [`Event::Sent`] events, whose segments are still valid.
/// 6. [`end_iteration`](Self::end_iteration), which makes all segments invalid.
///
/// The guards of the [driver](super::driver) keep this order. The calls that are not listed are allowed at any time.
pub(crate) trait Engine: Sized {
    /// The kind of this engine.
    const KIND: EngineKind;

    /// Sets an engine up on the calling thread, which alone may use it.
    fn new(
        mailbox: Arc<Mailbox>,
        poller: &SharedPoller,
        options: &DataPlaneOptions,
    ) -> io::Result<Self>;

    /// Describes which parts of the kernel are in use, and which options are not available.
    fn features(&self, options: &DataPlaneOptions) -> String;

    /// Returns a descriptor that polls as readable when [`wait`](Self::wait) has something to return.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Reports whether [`wait`](Self::wait) has something to do at once, without an event of the kernel: requests to
    /// submit, or results to hand out.
    fn has_work(&mut self) -> bool;

    /// Reports whether a call of [`wait`](Self::wait) may return events, as far as can be told without a system call:
    /// for spinning. Queued requests must have been submitted before.
    fn may_have_news(&mut self) -> bool;

    /// Returns the counts so far.
    fn stats(&self) -> EngineStats;

    /// Returns the memory that segments and received bytes lie in.
    fn memory(&self) -> &Memory;

    /// Returns the memory that segments and received bytes lie in, to be filled and changed.
    fn memory_mut(&mut self) -> &mut Memory;

    /// Wakes another worker, at the latest with the next submission.
    fn wake(&mut self, worker: usize, mailbox: &Arc<Mailbox>);

    /// Takes a connected stream socket into a slot and starts receiving.
    fn add(&mut self, stream: OwnedFd) -> io::Result<u32>;

    /// Returns the socket in a slot.
    fn stream(&self, slot: u32) -> Option<&OwnedFd>;

    /// Returns the number of bytes of a slot's drain that the socket has taken, if the engine can tell.
    fn drained(&self, slot: u32) -> Option<u64>;

    /// Sets flags for all further sends of a slot.
    fn set_send_flags(&mut self, slot: u32, flags: i32);

    /// Shuts the stream of a slot down, or resets it. [`Event::Closed`] follows, at once or later.
    fn close(&mut self, slot: u32, reset: bool, events: &mut Vec<Event>);

    /// Frees a slot for another socket. Call it when [`Event::Closed`] is handled: events before that
    /// one still name the slot.
    fn release(&mut self, slot: u32);

    /// Starts a send.
    fn send(&mut self, slot: u32, outgoing: Outgoing, mode: SendMode);

    /// Appends the events of sends that have completed before [`wait`](Self::wait). Returns whether
    /// there may be some.
    fn take_completed(&mut self, events: &mut Vec<Event>) -> io::Result<bool>;

    /// Completes all inline sends, and appends events.
    fn finish_inline(&mut self, events: &mut Vec<Event>) -> io::Result<()>;

    /// Submits all requests, waits for an event, completes all inline sends, and appends events.
    fn wait(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()>;

    /// Recycles the memory of the iteration.
    fn end_iteration(&mut self);

    /// Recycles gathered bytes, but not received ones.
    fn clear_gathered(&mut self);
}

impl EngineKind {
    /// Returns the system call in which workers wait.
    pub(crate) const fn call(self) -> &'static str {
        match self {
            Self::Uring => "io_uring_enter",
            Self::Epoll => "epoll_wait",
        }
    }

    /// Returns the engine's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}
