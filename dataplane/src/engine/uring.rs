//! The io_uring engine, after "the recipe that won" in the measurements: one system call a turn,
//! multishot receives from a ring of large buffers, one vectored inline send a port and turn.
#![allow(unsafe_code)]

mod buffer_ring;
mod enter;
mod op;
mod probe;
mod request;
mod zero_copy;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use self::buffer_ring::BufferRing;
use self::enter::Entrance;
use self::op::{Kind, Op, send_tag, tag};
use self::probe::{Features, Setup};
pub(crate) use self::probe::{SharedPoller, name_limit};
use self::request::Target;
use self::zero_copy::Lent;
use super::memory::Memory;
use super::socket;
use super::{ENOUGH, Event, Outgoing, hang_up};
use crate::DataPlaneOptions;
use crate::buffer::RECEIVE_LEN;
use crate::mailbox::Mailbox;

const SQ_ENTRIES: u32 = 1024;
const CQ_ENTRIES: u32 = 8192;
/// Arrivals that make a batch without waiting on.
const BATCH: usize = 8;
/// How long to look for the completions of inline sends that a kernel thread makes, before sleeping.
const INLINE_SPIN: Duration = Duration::from_micros(50);
/// Turns of 10 ms that dropping an engine waits for the kernel to let go of its memory.
const DROP_TURNS: usize = 300;

/// Receive buffers that the kernel has at the least, if there are as many.
const OFFERED_MIN: usize = 2;
/// Received bytes that make a turn a large one.
const LARGE_TURN: usize = 256 << 10;

/// One worker's ring, descriptors and memory.
pub(crate) struct Uring {
    ring: IoUring,
    entrance: Entrance,
    features: Features,
    slots: Vec<Slot>,
    free: Vec<u32>,
    pub(super) memory: Memory,
    buffers: BufferRing,
    /// Slots whose multishot receive ended, in the order in which they are armed again: more of them
    /// than there are buffers would only fail for want of one.
    rearm: VecDeque<u32>,
    /// Bytes received in this turn, and how many a receive brings, about.
    received: usize,
    fill: usize,
    /// How many bytes the next turn may receive, about.
    pub(super) enough: usize,
    /// Inline sends not yet completed: while there are any, the turn's memory must stay.
    inline: usize,
    lent: Lent,
    /// Why a request could not be queued. The engine is of no use then, as the request is lost.
    failed: Option<io::Error>,
    mailbox: Arc<Mailbox>,
    bell_armed: bool,
    /// The workers that we have sent messages, by their numbers.
    others: Vec<Option<Arc<Mailbox>>>,
    /// Times that a receive found no buffer.
    pub(super) out_of_buffers: u64,
    /// Sends without a copy.
    pub(super) zero_copy_sends: u64,
}

#[derive(Default)]
struct Slot {
    stream: Option<OwnedFd>,
    receiving: bool,
    closing: bool,
    /// What a send under way carries, and what kind of send it is.
    sending: Option<(Outgoing, Kind)>,
    /// Whether its drains may do without a copy: TCP sockets' may.
    zero_copy: bool,
    tcp: bool,
    send_flags: i32,
    /// The kernel reads these while it prepares the send under way.
    pieces: Vec<libc::iovec>,
    message: Option<Box<libc::msghdr>>,
}

impl Uring {
    /// Sets up a ring on the calling thread, which alone may use it.
    pub(super) fn new(
        mailbox: Arc<Mailbox>,
        poller: &SharedPoller,
        options: &DataPlaneOptions,
    ) -> io::Result<Self> {
        let (mut ring, setup, denied) = probe::build_ring(SQ_ENTRIES, CQ_ENTRIES, options, poller)?;
        let memory = Memory::new(options.receive_buffers);
        let buffers = BufferRing::new(&ring, memory.parts().1)?;
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
            memory,
            buffers,
            rearm: VecDeque::new(),
            received: 0,
            fill: 0,
            enough: ENOUGH,
            inline: 0,
            lent: Lent::default(),
            failed: None,
            mailbox,
            bell_armed: false,
            others: Vec::new(),
            out_of_buffers: 0,
            zero_copy_sends: 0,
        })
    }

    /// What of the kernel is used.
    pub(super) fn features(&self) -> &Features {
        &self.features
    }

    /// Wakes another worker: by a message to its ring, which goes with whatever we submit next, or
    /// by its bell, which is a system call of its own.
    pub(super) fn wake(&mut self, worker: usize, mailbox: &Arc<Mailbox>) {
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
        // SAFETY: a message names no memory; the descriptor lives in the mailbox, which we now hold.
        unsafe { self.push(&message) };
    }

    pub(super) fn add(&mut self, stream: OwnedFd) -> io::Result<u32> {
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

    pub(super) fn send(&mut self, slot: u32, outgoing: Outgoing, drain: bool) {
        let kind = match (drain, self.features.zero_copy) {
            (false, _) => Kind::Inline,
            (true, Some(least))
                if self.slots[slot as usize].zero_copy
                    && outgoing.owned.iter().map(|f| f.len()).sum::<usize>() >= least =>
            {
                Kind::ZeroCopy(self.lent.begin(slot))
            }
            (true, _) => Kind::Drain,
        };
        self.send_as(slot, outgoing, kind);
    }

    fn send_as(&mut self, slot: u32, outgoing: Outgoing, kind: Kind) {
        // A drain outlives the turn, so it may not point into the turn's memory.
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
        // Of another socket than TCP's, the kernel does not tell how far a send is: each of them takes
        // what the socket takes at a time.
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
        // change only when its next send is made, which the assertion above allows only after this
        // one has completed. Owned frames lie in boxes inside `sending`, which gives them up on
        // completion; where the kernel reads on after that, `lent` has them until it says that it does
        // not. Segments lie in the turn's memory or in held receive buffers; both are given up by
        // `end_turn` and `clear_gathered` alone, which assert that no inline send is under way, and
        // drains have none.
        // SAFETY: by the above, what is named outlives the request; and dropping the engine waits for
        // completions, or leaks.
        unsafe { self.push(&request.user_data(send_tag(slot, kind))) };
    }

    pub(super) fn stream(&self, slot: u32) -> Option<&OwnedFd> {
        self.slots.get(slot as usize)?.stream.as_ref()
    }

    /// Sets flags for all further sends.
    pub(super) fn set_send_flags(&mut self, slot: u32, flags: i32) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.send_flags = flags;
        }
    }

    pub(super) fn close(&mut self, slot: u32, reset: bool, events: &mut Vec<Event>) {
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

    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        batch: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        if self.inline == 0 {
            // Nothing points into the turn any more: the kernel may have the buffers while we wait.
            self.end_turn();
        }
        self.received = 0;
        // As many as hold a turn's bytes, if they are filled as they were lately.
        let enough = (self.enough / self.fill.max(1)).max(OFFERED_MIN);
        self.buffers.offer(enough, self.memory.parts().1);
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
            timeout
        } else {
            Some(Duration::ZERO)
        };
        if let Some(batch) = batch.filter(|_| timeout != Some(Duration::ZERO)) {
            // Each arrival takes a buffer; inline sends complete on top, at once.
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

    /// Whether completions are there, or work of the kernel's that makes some when we enter it. The
    /// ring was set up to tell so, for spinning.
    #[inline]
    pub(super) fn may_have_news(&mut self) -> bool {
        self.ring.submission().taskrun()
            || !self.ring.completion().is_empty()
            || !self.rearm.is_empty()
    }

    /// Sends what a large turn has to send before the next one receives, so that this one's buffers
    /// can be filled again while caches have them. A small turn saves the system call.
    pub(super) fn take_done(&mut self, events: &mut Vec<Event>) -> io::Result<bool> {
        let large = self.received >= LARGE_TURN && self.inline > 0;
        if large {
            self.finish_inline(events)?;
        }
        Ok(large)
    }

    pub(super) fn finish_inline(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        while self.inline > 0 {
            self.enter(Some(Duration::from_millis(100)))?;
            self.reap(events);
        }
        Ok(())
    }

    pub(super) fn end_turn(&mut self) {
        assert_eq!(self.inline, 0);
        self.memory.end_turn(|id| self.buffers.put_back(id));
    }

    pub(super) fn clear_gathered(&mut self) {
        assert_eq!(self.inline, 0);
        self.memory.clear_gathered();
    }

    /// Submits, and waits at most `timeout` for something to complete.
    fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        let want = u32::from(timeout != Some(Duration::ZERO));
        if self.inline > 0 && matches!(self.features.setup, Setup::Polled(_)) {
            // The kernel's thread is at it; going to sleep would take longer.
            let start = Instant::now();
            while self.ring.completion().is_empty() && start.elapsed() < INLINE_SPIN {
                std::hint::spin_loop();
            }
        }
        self.entrance.enter(&mut self.ring, want, timeout)
    }

    fn reap(&mut self, events: &mut Vec<Event>) {
        loop {
            let Some(completion) = self.ring.completion().next() else {
                return;
            };
            let (op, slot) = (completion.user_data() >> 32, completion.user_data() as u32);
            let (result, flags) = (completion.result(), completion.flags());
            if op == Op::Receive as u64 {
                self.received(slot, result, flags, events);
            } else if op == Op::Send as u64 {
                self.sent(slot, result, events);
            } else if op == Op::ZeroCopy as u64 {
                self.sent_without_copy(slot, result, flags, events);
            } else if op == Op::Bell as u64 {
                self.mailbox.bell.silence();
                self.bell_armed = cqueue::more(flags);
            } else if op == Op::Wake as u64
                && let Some(Some(mailbox)) = self.others.get(slot as usize)
            {
                // The message was not taken, and the other still sleeps.
                mailbox.bell.wake();
            }
        }
    }

    fn received(&mut self, slot: u32, result: i32, flags: u32, events: &mut Vec<Event>) {
        let buffer = cqueue::buffer_select(flags);
        if let Some(id) = buffer {
            self.memory.hold(id);
            self.buffers.taken();
        }
        let entry = &mut self.slots[slot as usize];
        if !cqueue::more(flags) {
            entry.receiving = false;
        }
        match (buffer, result) {
            _ if entry.closing => {}
            (Some(buffer), 1..) => {
                let len = (result as usize).min(RECEIVE_LEN);
                self.received += len;
                self.fill = (self.fill * 7 + len) / 8;
                events.push(Event::Received {
                    slot,
                    buffer,
                    at: 0,
                    len,
                });
            }
            (_, 0) => events.push(Event::Ended { slot, error: 0 }),
            (_, error) if error == -libc::ENOBUFS => {
                self.out_of_buffers += 1;
                self.rearm.push_back(slot);
            }
            (_, error) if error == -libc::EINTR || error == -libc::EAGAIN => {}
            (_, error) => events.push(Event::Ended {
                slot,
                error: -error,
            }),
        }
        if entry.closing {
            self.finish_close(slot, events);
        } else if !entry.receiving && (result > 0 || matches!(-result, libc::EINTR | libc::EAGAIN))
        {
            self.rearm.push_back(slot);
        }
    }

    fn sent(&mut self, slot: u32, result: i32, events: &mut Vec<Event>) {
        let entry = &mut self.slots[slot as usize];
        if let Some((outgoing, kind)) = entry.sending.take() {
            self.inline -= usize::from(kind == Kind::Inline);
            let result = usize::try_from(result).map_err(|_| -result);
            events.push(Event::Sent {
                slot,
                outgoing,
                result,
            });
        }
        if entry.closing {
            self.finish_close(slot, events);
        }
    }

    /// The same for a send without a copy, which completes twice: when it is over, and when the
    /// kernel has let go of its memory.
    fn sent_without_copy(&mut self, id: u32, result: i32, flags: u32, events: &mut Vec<Event>) {
        if cqueue::notif(flags) {
            return self.lent.let_go(id);
        }
        let Some(slot) = self.lent.over(id) else {
            return;
        };
        let entry = &mut self.slots[slot as usize];
        if let Some((outgoing, _)) = &mut entry.sending {
            let total = outgoing.owned.iter().map(|f| f.len()).sum::<usize>() - outgoing.skip;
            if cqueue::more(flags) {
                let frames = if usize::try_from(result) == Ok(total) {
                    outgoing.keep_owned()
                } else {
                    // What is left is sent, and freed, at the port's own time.
                    let copy = outgoing.owned.clone();
                    std::mem::replace(&mut outgoing.owned, copy)
                };
                self.lent.keep(id, frames);
            } else {
                self.lent.end(id);
            }
        }
        self.zero_copy_sends += 1;
        // Memory may be locked up to a limit, and not every device can do it.
        if matches!(-result, libc::ENOMEM | libc::ENOBUFS | libc::EOPNOTSUPP)
            && !entry.closing
            && let Some((outgoing, _)) = entry.sending.take()
        {
            entry.zero_copy &= result != -libc::EOPNOTSUPP;
            self.zero_copy_sends -= 1;
            return self.send_as(slot, outgoing, Kind::Drain);
        }
        self.sent(slot, result, events);
    }

    fn finish_close(&mut self, slot: u32, events: &mut Vec<Event>) {
        let entry = &mut self.slots[slot as usize];
        if entry.receiving || entry.sending.is_some() || entry.stream.is_none() {
            return;
        }
        if self.features.fixed_files > slot {
            // The table's own reference would keep the socket open; replacing it cannot fail.
            let _ = self.ring.submitter().register_files_update(slot, &[-1]);
        }
        *entry = Slot::default();
        events.push(Event::Closed { slot });
    }

    pub(super) fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Starts receiving on a slot, if it is open and does not: it may have closed, or have been
    /// given to another port, since it was put on a list to be armed.
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
            probe::set_receive_cap(&mut request, RECEIVE_LEN as u32);
        }
        // SAFETY: a receive that selects buffers names no memory; the buffers of its group live as
        // long as the engine, whose drop waits for completions, or leaks.
        unsafe { self.push(&request.user_data(tag(Op::Receive, slot))) };
    }

    fn arm_bell(&mut self) {
        let fd = types::Fd(self.mailbox.bell.descriptor().as_raw_fd());
        let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32)
            .multi(true)
            .build();
        self.bell_armed = true;
        // SAFETY: a poll names no memory; the descriptor lives in the mailbox, which we hold.
        unsafe { self.push(&poll.user_data(tag(Op::Bell, 0))) };
    }

    /// Queues a request, submitting first if the queue is full. If the kernel takes none, the next
    /// [`Self::enter`] fails.
    ///
    /// # Safety
    /// What the request points to must stay valid until it completes.
    unsafe fn push(&mut self, request: &squeue::Entry) {
        loop {
            // SAFETY: passed on to the caller.
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
        // A message may be queued, without which another worker would sleep on.
        let _ = self.enter(Some(Duration::ZERO));
        for slot in 0..self.slots.len() as u32 {
            if self.slots[slot as usize].stream.is_some() {
                self.close(slot, false, &mut events);
            }
        }
        let busy = |this: &Self| {
            let slots = || this.slots.iter();
            this.lent.count() > 0 || slots().any(|s| s.receiving || s.sending.is_some())
        };
        for _ in 0..DROP_TURNS {
            if !busy(self) {
                return;
            }
            if self.enter(Some(Duration::from_millis(10))).is_err() {
                break;
            }
            self.reap(&mut events);
        }
        if busy(self) {
            // The kernel may still read and write: better to lose the memory than to hand it to
            // others. The ring of buffers is where it looks up addresses to write to.
            self.buffers.leak();
            std::mem::forget(std::mem::replace(&mut self.memory, Memory::new(0)));
            let mut slots = std::mem::take(&mut self.slots);
            // The kernel has references of its own to the sockets.
            slots.iter_mut().for_each(|slot| slot.stream = None);
            std::mem::forget(slots);
            std::mem::forget(std::mem::take(&mut self.lent));
        }
    }
}

fn fd_of(slot: &Slot) -> RawFd {
    slot.stream.as_ref().map_or(-1, AsRawFd::as_raw_fd)
}

#[cfg(test)]
mod tests;
