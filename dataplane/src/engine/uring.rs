//! The io_uring engine: one system call an iteration, multishot receives from a ring of large buffers,
//! and one vectored inline send for each port and iteration.
#![allow(unsafe_code)]

mod buffer_ring;
mod completions;
mod enter;
mod in_flight;
mod op;
mod probe;
mod request;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, squeue, types};

use self::buffer_ring::BufferRing;
use self::enter::Entrance;
use self::in_flight::InFlight;
use self::op::{Kind, Op, send_tag, tag};
use self::probe::{Features, Setup};
use self::request::Target;
use super::contract::{Engine, EngineKind, EngineStats, Event, SendMode, Wait};
use super::memory::Memory;
use super::outgoing::Outgoing;
use super::poller::SharedPoller;
use super::socket::{self, hang_up};
use crate::DataPlaneOptions;
use crate::buffer::ReceiveBuffers;
use crate::mailbox::Mailbox;

/// Number of arrivals that end a wait for a batch.
const BATCH: usize = 8;
/// The time to spin for completions of inline sends that a kernel thread makes before the worker sleeps.
const INLINE_SPIN: Duration = Duration::from_micros(50);
/// The number of times that dropping an engine waits for 10 ms until the kernel no longer uses its memory.
const DROP_WAITS: usize = 300;

/// Minimum number of receive buffers that the kernel has, if there are as many.
const OFFERED_MIN: usize = 2;
/// Received bytes that make an iteration a large one.
const LARGE_ITERATION: usize = 256 << 10;

/// The ring, descriptors and memory of a worker.
pub(crate) struct Uring {
    ring: IoUring,
    entrance: Entrance,
    features: Features,
    slots: Vec<Slot>,
    free: Vec<u32>,
    memory: Memory,
    buffers: BufferRing,
    /// Slots whose multishot receive has ended, in the order in which they are armed again. Arming
    /// more of them than there are buffers would only make them fail for lack of one.
    rearm: VecDeque<u32>,
    /// The number of bytes received in this iteration.
    received: usize,
    /// The mean number of bytes of a receive.
    fill: usize,
    /// The number of inline sends that have not completed. While it is not 0, the iteration's memory must stay valid.
    inline: usize,
    in_flight: InFlight,
    /// The error because of which a request could not be queued. The request is lost, so the engine cannot go on.
    failed: Option<io::Error>,
    mailbox: Arc<Mailbox>,
    bell_armed: bool,
    /// The workers that were sent messages, by number.
    others: Vec<Option<Arc<Mailbox>>>,
    stats: EngineStats,
}

#[derive(Default)]
struct Slot {
    stream: Option<OwnedFd>,
    receiving: bool,
    closing: bool,
    /// The send under way, and its kind.
    sending: Option<(Outgoing, Kind)>,
    /// True if drains may be sent without a copy, as on TCP sockets.
    zero_copy: bool,
    tcp: bool,
    send_flags: i32,
    /// The pieces of the send under way, which the kernel reads while it prepares the send.
    pieces: Vec<libc::iovec>,
    message: Option<Box<libc::msghdr>>,
}

impl Engine for Uring {
    const KIND: EngineKind = EngineKind::Uring;

    fn new(
        mailbox: Arc<Mailbox>,
        poller: &SharedPoller,
        options: &DataPlaneOptions,
    ) -> io::Result<Self> {
        Self::set_up(mailbox, poller, options).map_err(probe::name_limit)
    }

    fn features(&self, _: &DataPlaneOptions) -> String {
        self.features.to_string()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns the descriptor and lives as long as the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    fn has_work(&mut self) -> bool {
        let queue = self.ring.submission();
        let requests = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        requests
            || !self.rearm.is_empty()
            || !self.bell_armed
            || self.failed.is_some()
            || !self.ring.completion().is_empty()
    }

    /// Reports whether there are completions, or pending work of the kernel that produces some when the kernel is
    /// entered. Rings of workers that spin are set up to report the latter.
    #[inline]
    fn may_have_news(&mut self) -> bool {
        self.ring.submission().taskrun()
            || !self.ring.completion().is_empty()
            || !self.rearm.is_empty()
    }

    fn stats(&self) -> EngineStats {
        self.stats
    }

    #[inline]
    fn memory(&self) -> &Memory {
        &self.memory
    }

    #[inline]
    fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Wakes another worker: by a message to its ring, which is sent with the next submission, or by its bell, which
    /// takes a system call of its own.
    fn wake(&mut self, worker: usize, mailbox: &Arc<Mailbox>) {
        let Some(ring) = mailbox.bell.io_uring().filter(|_| self.features.messages) else {
            return mailbox.bell.wake();
        };
        if self.others.len() <= worker {
            self.others.resize(worker + 1, None);
        }
        self.others[worker].get_or_insert_with(|| Arc::clone(mailbox));
        let fd = types::Fd(ring.as_raw_fd());
        let message = opcode::MsgRingData::new(fd, 0, tag(Op::Woken, 0), None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(tag(Op::Wake, worker as u32));
        // SAFETY: a message names no memory; the descriptor lives in the mailbox, which is now held.
        unsafe { self.push(&message) };
    }

    fn add(&mut self, stream: OwnedFd) -> io::Result<u32> {
        // A non-blocking descriptor would make io_uring report EAGAIN instead of waiting.
        rustix::io::ioctl_fionbio(&stream, false)?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        if self.features.fixed_files > slot {
            let registered = self
                .ring
                .submitter()
                .register_files_update(slot, &[stream.as_raw_fd()]);
            if let Err(e) = registered {
                self.free.push(slot);
                return Err(e);
            }
        }
        let tcp = socket::is_tcp(&stream);
        let zero_copy = self.features.zero_copy.is_some() && tcp;
        self.slots[slot as usize] = Slot {
            tcp,
            stream: Some(stream),
            zero_copy,
            ..Slot::default()
        };
        self.arm(slot);
        Ok(slot)
    }

    fn stream(&self, slot: u32) -> Option<&OwnedFd> {
        self.slots.get(slot as usize)?.stream.as_ref()
    }

    fn drained(&self, _: u32) -> Option<u64> {
        None
    }

    fn set_send_flags(&mut self, slot: u32, flags: i32) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.send_flags = flags;
        }
    }

    fn close(&mut self, slot: u32, reset: bool, events: &mut Vec<Event>) {
        let entry = &mut self.slots[slot as usize];
        if entry.closing {
            return;
        }
        entry.closing = true;
        if let Some(stream) = &entry.stream {
            hang_up(stream, reset);
        }
        let receiving = entry.receiving.then(|| tag(Op::Receive, slot));
        let sending = entry
            .sending
            .as_ref()
            .map(|&(_, kind)| send_tag(slot, kind));
        for request in receiving.into_iter().chain(sending) {
            let cancel = opcode::AsyncCancel::new(request)
                .build()
                .user_data(tag(Op::Cancel, slot));
            // SAFETY: a cancellation names no memory.
            unsafe { self.push(&cancel) };
        }
        self.finish_close(slot, events);
    }

    fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    fn send(&mut self, slot: u32, outgoing: Outgoing, mode: SendMode) {
        let kind = match (mode, self.features.zero_copy) {
            (SendMode::Inline, _) => Kind::Inline,
            (SendMode::Drain, Some(least))
                if self.slots[slot as usize].zero_copy
                    && outgoing.owned.iter().map(|f| f.len()).sum::<usize>() >= least =>
            {
                Kind::ZeroCopy(self.in_flight.begin(slot))
            }
            (SendMode::Drain, _) => Kind::Drain,
        };
        self.send_as(slot, outgoing, kind);
    }

    fn wait(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        if self.inline == 0 {
            // Nothing points into the memory any more: the kernel may have the buffers meanwhile.
            self.end_iteration();
        }
        self.received = 0;
        // The number of buffers that hold the bytes to receive, if they are filled as they were lately.
        let buffers = (wait.enough / self.fill.max(1)).max(OFFERED_MIN);
        self.buffers.offer(buffers, self.memory.parts().1);
        if !self.bell_armed {
            self.arm_bell();
        }
        for _ in 0..self.buffers.out().max(1) {
            let Some(slot) = self.rearm.pop_front() else {
                break;
            };
            self.arm(slot);
        }
        let timeout = if self.rearm.is_empty() {
            wait.timeout
        } else {
            Some(Duration::ZERO)
        };
        let batch = wait.batch.filter(|_| timeout != Some(Duration::ZERO));
        if let Some(batch) = batch {
            // Each arrival takes a buffer. Inline sends complete in addition, at once.
            let want = self.inline + (self.buffers.out() / 2).min(BATCH);
            let batch = timeout.map_or(batch, |timeout| timeout.min(batch));
            self.entrance
                .enter(&mut self.ring, want as u32, Some(batch))?;
        }
        if batch.is_none() || self.ring.completion().is_empty() {
            self.enter(timeout)?;
        }
        self.reap(events);
        self.finish_inline(events)
    }

    /// Completes the sends of a large iteration before the next one receives, so that its buffers can
    /// be filled again while caches have them. A small iteration saves the system call.
    fn take_completed(&mut self, events: &mut Vec<Event>) -> io::Result<bool> {
        let is_large = self.received >= LARGE_ITERATION && self.inline > 0;
        if is_large {
            self.finish_inline(events)?;
        }
        Ok(is_large)
    }

    fn finish_inline(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        while self.inline > 0 {
            self.enter(Some(Duration::from_millis(100)))?;
            self.reap(events);
        }
        Ok(())
    }

    fn end_iteration(&mut self) {
        assert_eq!(self.inline, 0);
        self.memory.end_iteration(|id| self.buffers.take_back(id));
    }

    fn clear_gathered(&mut self) {
        assert_eq!(self.inline, 0);
        self.memory.clear_gathered();
    }
}

impl Uring {
    /// Sets up a ring on the calling thread, which alone may use it.
    fn set_up(
        mailbox: Arc<Mailbox>,
        poller: &SharedPoller,
        options: &DataPlaneOptions,
    ) -> io::Result<Self> {
        let (mut ring, setup, denied) = probe::build_ring(options, poller)?;
        let receive = ReceiveBuffers::new(options.receive_buffers, options.receive_buffer_bytes);
        let buffers = BufferRing::new(&ring, &receive)?;
        let features = Features::probe(&mut ring, setup, denied, options)?;
        if features.messages {
            // SAFETY: the ring lives until the end of this function at least.
            let fd = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
            mailbox.bell.set_io_uring(fd.try_clone_to_owned()?);
        }
        Ok(Self {
            entrance: Entrance::new(&ring),
            ring,
            features,
            slots: Vec::new(),
            free: Vec::new(),
            memory: Memory::new(receive),
            buffers,
            rearm: VecDeque::new(),
            received: 0,
            fill: 0,
            inline: 0,
            in_flight: InFlight::default(),
            failed: None,
            mailbox,
            bell_armed: false,
            others: Vec::new(),
            stats: EngineStats::default(),
        })
    }

    fn send_as(&mut self, slot: u32, outgoing: Outgoing, kind: Kind) {
        // A drain outlives the iteration, so it must not point into the iteration's memory.
        assert!(kind == Kind::Inline || outgoing.segments.is_empty());
        let entry = &mut self.slots[slot as usize];
        assert!(entry.sending.is_none() && !entry.closing);
        entry.pieces.clear();
        for piece in outgoing.pieces(self.memory.parts()) {
            entry.pieces.push(libc::iovec {
                iov_base: piece.as_ptr() as *mut _,
                iov_len: piece.len(),
            });
        }
        let target = Target {
            slot,
            fd: fd_of(entry),
            fixed: self.features.fixed_files > slot,
        };
        // Only TCP sockets tell the progress of a send. On others, each drain sends the bytes that the socket takes at
        // a time.
        let flags = match kind {
            Kind::Inline => libc::MSG_DONTWAIT,
            Kind::Drain if !entry.tcp => 0,
            Kind::Drain | Kind::ZeroCopy(_) => libc::MSG_WAITALL,
        };
        let request = request::send(
            &target,
            &entry.pieces,
            &mut entry.message,
            kind,
            entry.send_flags | flags,
            self.features.vectored_send,
        );
        entry.sending = Some((outgoing, kind));
        self.inline += usize::from(kind == Kind::Inline);
        // The request names memory of three kinds. The pieces and the message belong to the slot and
        // change only for its next send, which the assertion above allows only after this one has
        // completed. Owned frames lie in boxes inside `sending`, which is taken on completion; where
        // the kernel reads on after that, `in_flight` keeps them until it has finished. Segments lie
        // in the iteration's memory, which includes references to shared payloads, or in held receive
        // buffers; both are recycled by `end_iteration` and `clear_gathered` alone, which assert that
        // no inline send is under way, and drains have no segments.
        // SAFETY: by the above, what is named outlives the request; and dropping the engine waits for
        // completions, or leaks the memory.
        unsafe { self.push(&request.user_data(send_tag(slot, kind))) };
    }

    /// Submits, and waits at most `timeout` for something to complete.
    fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        let want = u32::from(timeout != Some(Duration::ZERO));
        if self.inline > 0 && matches!(self.features.setup, Setup::Polled(_)) {
            // The kernel's thread is working on the sends; going to sleep would take longer.
            let start = Instant::now();
            while self.ring.completion().is_empty() && start.elapsed() < INLINE_SPIN {
                std::hint::spin_loop();
            }
        }
        self.entrance.enter(&mut self.ring, want, timeout)
    }

    /// Starts receiving on a slot, unless it receives already or is closed: it may have been closed, or
    /// given to another port, since it was put on the list to be armed.
    fn arm(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        if entry.closing || entry.receiving || entry.stream.is_none() {
            return;
        }
        entry.receiving = true;
        let target = Target {
            slot,
            fd: fd_of(entry),
            fixed: self.features.fixed_files > slot,
        };
        let mut request = target.entry(
            |fd| opcode::RecvMulti::new(fd, buffer_ring::GROUP).build(),
            |fd| opcode::RecvMulti::new(fd, buffer_ring::GROUP).build(),
        );
        if self.features.receive_cap {
            let len = self.memory.parts().1.buffer_len();
            probe::set_receive_cap(&mut request, len as u32);
        }
        // SAFETY: a receive that selects buffers names no memory; the buffers of its group live as long
        // as the engine, whose drop waits for completions, or leaks them.
        unsafe { self.push(&request.user_data(tag(Op::Receive, slot))) };
    }

    fn arm_bell(&mut self) {
        let fd = types::Fd(self.mailbox.bell.descriptor().as_raw_fd());
        let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32)
            .multi(true)
            .build();
        self.bell_armed = true;
        // SAFETY: a poll names no memory; the descriptor lives in the mailbox, which is held.
        unsafe { self.push(&poll.user_data(tag(Op::Bell, 0))) };
    }

    /// Queues a request, after submitting others if the queue is full. If the kernel takes none, the
    /// next [`Self::enter`] fails.
    ///
    /// # Safety
    /// What the request points to must stay valid until it completes.
    unsafe fn push(&mut self, request: &squeue::Entry) {
        loop {
            // SAFETY: the caller vouches for the request.
            if unsafe { self.ring.submission().push(request) }.is_ok() {
                return;
            }
            if let Err(e) = self.entrance.make_room(&mut self.ring) {
                self.failed.get_or_insert(e);
                return;
            }
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        let mut events = Vec::new();
        // Submits the queued requests: another worker may be waiting for a message.
        let _ = self.enter(Some(Duration::ZERO));
        for slot in 0..self.slots.len() as u32 {
            if self.slots[slot as usize].stream.is_some() {
                self.close(slot, false, &mut events);
            }
        }
        let busy = |this: &Self| {
            let slots = || this.slots.iter();
            this.in_flight.count() > 0 || slots().any(|s| s.receiving || s.sending.is_some())
        };
        for _ in 0..DROP_WAITS {
            if !busy(self) {
                return;
            }
            if self.enter(Some(Duration::from_millis(10))).is_err() {
                break;
            }
            self.reap(&mut events);
        }
        if busy(self) {
            // The kernel may still read and write the memory, so it is leaked rather than freed. The
            // ring of buffers is where the kernel looks up addresses to write to.
            self.buffers.leak();
            let nothing = Memory::new(ReceiveBuffers::new(0, 0));
            std::mem::forget(std::mem::replace(&mut self.memory, nothing));
            let mut slots = std::mem::take(&mut self.slots);
            // The kernel has references of its own to the sockets.
            slots.iter_mut().for_each(|slot| slot.stream = None);
            std::mem::forget(slots);
            std::mem::forget(std::mem::take(&mut self.in_flight));
        }
    }
}

fn fd_of(slot: &Slot) -> RawFd {
    slot.stream.as_ref().map_or(-1, AsRawFd::as_raw_fd)
}

#[cfg(test)]
mod tests;
