//! The epoll engine, for kernels without io_uring: sockets are read and written at once, with `MSG_DONTWAIT`, when
//! level-triggered polling reports them as ready.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use rustix::time::Timespec;

use super::contract::{Engine, EngineKind, EngineStats, Event, SendMode, Sent, Wait};
use super::memory::Memory;
use super::outgoing::Outgoing;
use super::poller::SharedPoller;
use super::socket::hang_up;
use crate::DataPlaneOptions;
use crate::buffer::ReceiveBuffers;
use crate::mailbox::Mailbox;

/// Maximum number of events taken in one iteration; the next one takes the rest.
const EVENTS: usize = 1024;
/// Identifies the doorbell's events, in place of a slot.
const BELL: u64 = u64::MAX;

/// The epoll instance, descriptors and memory of a worker.
pub(crate) struct Epoll {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    memory: Memory,
    free_buffers: Vec<u16>,
    /// The buffer that is being filled, and the number of bytes in it.
    filling: Option<(u16, usize)>,
    /// Slots to read from, in order: those for which an iteration had no buffer or no time are first in the next one.
    readable: VecDeque<u32>,
    /// Events that have not been handed out.
    done: Vec<Event>,
    /// True if an event in `done` points into the iteration's memory.
    memory_in_use: bool,
    /// Kept for its allocation.
    pieces: Vec<IoSlice<'static>>,
    mailbox: Arc<Mailbox>,
    /// Iterations in which bytes had to wait because no receive buffer was free.
    out_of_buffers: u64,
}

#[derive(Default)]
struct Slot {
    stream: Option<OwnedFd>,
    /// True if it is in the list of slots to read from.
    listed: bool,
    /// True if the stream has ended.
    ended: bool,
    /// True if the socket is polled for room. That stays on until the socket is reported ready without a drain, as one
    /// drain often follows another.
    polls_out: bool,
    drain: Option<Drain>,
    send_flags: i32,
}

struct Drain {
    outgoing: Outgoing,
    /// The number of bytes that the socket has taken.
    sent: usize,
}

impl Engine for Epoll {
    const KIND: EngineKind = EngineKind::Epoll;

    fn new(
        mailbox: Arc<Mailbox>,
        _: &SharedPoller,
        options: &DataPlaneOptions,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = mailbox.bell.descriptor();
        epoll::add(&epoll, bell, EventData::new_u64(BELL), EventFlags::IN)?;
        let receive = ReceiveBuffers::new(options.receive_buffers, options.receive_buffer_bytes);
        Ok(Self {
            epoll,
            ready: Vec::with_capacity(EVENTS),
            slots: Vec::new(),
            free: Vec::new(),
            free_buffers: (0..receive.count()).rev().collect(),
            memory: Memory::new(receive),
            filling: None,
            readable: VecDeque::new(),
            done: Vec::new(),
            memory_in_use: false,
            pieces: Vec::new(),
            mailbox,
            out_of_buffers: 0,
        })
    }

    fn features(&self, options: &DataPlaneOptions) -> String {
        let mut text = "level-triggered".to_owned();
        if let Some(core) = options.sqpoll {
            text += &format!(", no kernel thread on core {core}: only io_uring has it");
        }
        if options.zero_copy.is_some() {
            text += ", no sends without a copy: only io_uring has them";
        }
        text
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn has_work(&mut self) -> bool {
        !self.done.is_empty() || !self.readable.is_empty()
    }

    #[inline]
    fn may_have_news(&mut self) -> bool {
        // A system call is needed to find out.
        true
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            out_of_buffers: self.out_of_buffers,
            zero_copy_sends: 0,
        }
    }

    #[inline]
    fn memory(&self) -> &Memory {
        &self.memory
    }

    #[inline]
    fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    fn wake(&mut self, _: usize, mailbox: &Arc<Mailbox>) {
        mailbox.bell.wake();
    }

    fn add(&mut self, stream: OwnedFd) -> io::Result<u32> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let data = EventData::new_u64(slot.into());
        if let Err(e) = epoll::add(&self.epoll, &stream, data, EventFlags::IN) {
            self.free.push(slot);
            return Err(e.into());
        }
        self.slots[slot as usize] = Slot {
            stream: Some(stream),
            ..Slot::default()
        };
        Ok(slot)
    }

    fn stream(&self, slot: u32) -> Option<&OwnedFd> {
        self.slots.get(slot as usize)?.stream.as_ref()
    }

    fn drained(&self, slot: u32) -> Option<u64> {
        let drain = self.slots.get(slot as usize)?.drain.as_ref();
        drain.map(|drain| drain.sent as u64)
    }

    fn set_send_flags(&mut self, slot: u32, flags: i32) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.send_flags = flags;
        }
    }

    fn close(&mut self, slot: u32, reset: bool, _: &mut Vec<Event>) {
        let entry = std::mem::take(&mut self.slots[slot as usize]);
        let Some(stream) = entry.stream else { return };
        hang_up(&stream, reset);
        // Another descriptor may refer to the socket, so closing this one would not end the polling.
        let _ = epoll::delete(&self.epoll, &stream);
        if entry.listed {
            self.readable.retain(|listed| *listed != slot);
        }
        if let Some(Drain { outgoing, sent }) = entry.drain {
            let result = match sent {
                0 => Err(Errno::CANCELED.raw_os_error()),
                sent => Ok(sent),
            };
            self.done.push(Event::Sent(Sent {
                slot,
                outgoing,
                result,
            }));
        }
        // This is the last event of the slot.
        self.done.push(Event::Closed { slot });
    }

    fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    fn send(&mut self, slot: u32, outgoing: Outgoing, mode: SendMode) {
        // A drain outlives the iteration, as in the other engine.
        assert!(mode == SendMode::Inline || outgoing.segments.is_empty());
        assert!(self.slots[slot as usize].drain.is_none());
        if mode == SendMode::Drain {
            self.slots[slot as usize].drain = Some(Drain { outgoing, sent: 0 });
            return self.continue_drain(slot);
        }
        let result = self.transmit(slot, &outgoing, 0);
        self.memory_in_use |= !outgoing.segments.is_empty();
        self.done.push(Event::Sent(Sent {
            slot,
            outgoing,
            result: result.map_err(Errno::raw_os_error),
        }));
    }

    fn take_completed(&mut self, events: &mut Vec<Event>) -> io::Result<bool> {
        let any = !self.done.is_empty();
        events.append(&mut self.done);
        self.memory_in_use = false;
        Ok(any)
    }

    fn finish_inline(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        self.take_completed(events)?;
        Ok(())
    }

    fn wait(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        if !self.memory_in_use {
            self.end_iteration();
        }
        self.filling = None;
        let timeout = match self.has_work() {
            false => wait.timeout,
            true => Some(Duration::ZERO),
        };
        if wait.polls {
            self.poll(timeout)?;
        }
        self.receive(wait.enough, events);
        self.take_completed(events)?;
        Ok(())
    }

    fn end_iteration(&mut self) {
        assert!(!self.memory_in_use);
        self.memory.end_iteration(|id| self.free_buffers.push(id));
    }

    fn clear_gathered(&mut self) {
        assert!(!self.memory_in_use);
        self.memory.clear_gathered();
    }
}

impl Epoll {
    /// Waits, lists the slots that can be read from, and continues drains.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // A timeout that a timespec cannot hold counts as none.
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        let buffer = rustix::buffer::spare_capacity(&mut ready);
        match epoll::wait(&self.epoll, buffer, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in &ready {
            let (flags, data) = (event.flags, event.data.u64());
            if data == BELL {
                self.mailbox.bell.silence();
                continue;
            }
            let slot = data as u32;
            // Errors and hang-ups show up in the next read or write.
            if flags != EventFlags::OUT {
                let entry = &mut self.slots[slot as usize];
                if !entry.listed && !entry.ended {
                    entry.listed = true;
                    self.readable.push_back(slot);
                }
            }
            if flags.contains(EventFlags::OUT) {
                self.continue_drain(slot);
            }
        }
        self.ready = ready;
        Ok(())
    }

    /// Reads once from each listed slot, until no buffer is free or `enough` bytes are received.
    fn receive(&mut self, enough: usize, events: &mut Vec<Event>) {
        let mut received = 0;
        for _ in 0..self.readable.len() {
            if received >= enough {
                return;
            }
            let Some((buffer, at)) = self.room() else {
                self.out_of_buffers += 1;
                return;
            };
            let Some(slot) = self.readable.pop_front() else {
                return;
            };
            let entry = &mut self.slots[slot as usize];
            entry.listed = false;
            let Some(stream) = &entry.stream else {
                continue;
            };
            let receive = self.memory.parts_mut().1;
            let len = receive.buffer_len();
            let into = &mut receive.bytes_mut(buffer, len)[at..];
            match rustix::net::recv(stream, into, RecvFlags::DONTWAIT).map(|(_, n)| n) {
                Ok(0) => {
                    entry.ended = true;
                    events.push(Event::Ended { slot, error: 0 });
                }
                Ok(len) => {
                    self.filling = Some((buffer, at + len));
                    received += len;
                    events.push(Event::Received {
                        slot,
                        buffer,
                        at,
                        len,
                    });
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => {
                    entry.ended = true;
                    let error = error.raw_os_error();
                    events.push(Event::Ended { slot, error });
                }
            }
        }
    }

    /// Returns the buffer, and the offset in it, for the next receive.
    fn room(&mut self) -> Option<(u16, usize)> {
        // Several receives share a buffer, as long as half of it is free for each.
        if let Some((_, filled)) = self.filling
            && filled <= self.memory.parts().1.buffer_len() / 2
        {
            return self.filling;
        }
        let buffer = self.free_buffers.pop()?;
        self.memory.hold(buffer);
        self.filling = Some((buffer, 0));
        self.filling
    }

    /// Sends the rest of a slot's drain, as far as the socket takes it.
    fn continue_drain(&mut self, slot: u32) {
        let Some(Drain { outgoing, mut sent }) = self.slots[slot as usize].drain.take() else {
            return self.poll_out(slot, false);
        };
        let total = outgoing.owned_bytes();
        let result = match self.transmit(slot, &outgoing, sent) {
            Ok(n) => {
                sent += n;
                (sent == total).then_some(Ok(sent))
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            // The bytes that were sent are reported first; the next send meets the error again.
            Err(_) if sent > 0 => Some(Ok(sent)),
            Err(error) => Some(Err(error.raw_os_error())),
        };
        match result {
            Some(result) => self.done.push(Event::Sent(Sent {
                slot,
                outgoing,
                result,
            })),
            None => {
                self.slots[slot as usize].drain = Some(Drain { outgoing, sent });
                self.poll_out(slot, true);
            }
        }
    }

    /// Makes one system call that sends the bytes after the first `skip`, as far as the socket takes them at once.
    fn transmit(
        &mut self,
        slot: u32,
        outgoing: &Outgoing,
        mut skip: usize,
    ) -> Result<usize, Errno> {
        let stream = self.slots[slot as usize].stream.as_ref();
        let stream = stream.ok_or(Errno::PIPE)?;
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.extend(outgoing.pieces(self.memory.parts()).filter_map(|piece| {
            let gone = skip.min(piece.len());
            skip -= gone;
            (gone < piece.len()).then(|| IoSlice::new(&piece[gone..]))
        }));
        let flags = SendFlags::from_bits_retain(self.slots[slot as usize].send_flags as u32);
        let flags = flags | SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let result = match &pieces[..] {
            [one] => rustix::net::send(stream, one, flags),
            many => {
                let mut no_control = SendAncillaryBuffer::default();
                rustix::net::sendmsg(stream, many, &mut no_control, flags)
            }
        };
        pieces.clear();
        // This changes the lifetime and keeps the allocation.
        self.pieces = pieces.into_iter().map(|_| IoSlice::new(&[])).collect();
        result
    }

    /// Switches polling for room in the socket on or off.
    fn poll_out(&mut self, slot: u32, on: bool) {
        let entry = &mut self.slots[slot as usize];
        let Some(stream) = entry.stream.as_ref().filter(|_| entry.polls_out != on) else {
            return;
        };
        let mut flags = EventFlags::IN;
        flags.set(EventFlags::OUT, on);
        let data = EventData::new_u64(slot.into());
        // Fails only for lack of memory, in which case the port's write timeout applies.
        if epoll::modify(&self.epoll, stream, data, flags).is_ok() {
            entry.polls_out = on;
        }
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        for stream in self.slots.iter().filter_map(|s| s.stream.as_ref()) {
            hang_up(stream, false);
        }
    }
}
