//! The epoll engine, for where io_uring cannot be had: sockets are read and written at once, with
//! `MSG_DONTWAIT`, when level-triggered polling says that they are ready.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use rustix::time::Timespec;

use super::memory::Memory;
use super::{ENOUGH, Event, Outgoing, hang_up};
use crate::buffer::RECEIVE_LEN;
use crate::mailbox::Mailbox;

/// Events taken in one turn; what is left comes in the next.
const EVENTS: usize = 1024;
/// Several receives share a buffer as long as each has this much room.
const ROOM: usize = RECEIVE_LEN / 2;
/// What the doorbell's events carry in place of a slot.
const BELL: u64 = u64::MAX;

/// One worker's polling, descriptors and memory.
pub(crate) struct Epoll {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    pub(super) memory: Memory,
    free_buffers: Vec<u16>,
    /// The buffer that is being filled, and how far it is.
    filling: Option<(u16, usize)>,
    /// Slots to read from, in their order: those that the turn had no buffer or no time for come
    /// first in the next one.
    readable: VecDeque<u32>,
    /// What is over and has not been handed out.
    done: Vec<Event>,
    /// Whether something in `done` points into the turn's memory.
    turn_in_use: bool,
    /// How many bytes a turn may receive, about.
    pub(super) enough: usize,
    /// Kept for its allocation.
    pieces: Vec<IoSlice<'static>>,
    mailbox: Arc<Mailbox>,
    /// Turns in which bytes had to wait because no receive buffer was free.
    pub(super) out_of_buffers: u64,
}

#[derive(Default)]
struct Slot {
    stream: Option<OwnedFd>,
    /// In the list of slots to read from.
    listed: bool,
    /// Nothing is to be read any more.
    ended: bool,
    /// Whether polling tells when the socket takes bytes. It goes on until it does so in vain: one
    /// drain often follows another.
    polls_out: bool,
    drain: Option<Drain>,
    send_flags: i32,
}

struct Drain {
    outgoing: Outgoing,
    /// How many of its bytes have gone.
    sent: usize,
}

impl Epoll {
    /// Sets up polling.
    pub(super) fn new(mailbox: Arc<Mailbox>, receive_buffers: u16) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = mailbox.bell.descriptor();
        epoll::add(&epoll, bell, EventData::new_u64(BELL), EventFlags::IN)?;
        let memory = Memory::new(receive_buffers);
        Ok(Self {
            epoll,
            ready: Vec::with_capacity(EVENTS),
            slots: Vec::new(),
            free: Vec::new(),
            free_buffers: (0..memory.parts().1.count()).rev().collect(),
            memory,
            filling: None,
            readable: VecDeque::new(),
            done: Vec::new(),
            turn_in_use: false,
            enough: ENOUGH,
            pieces: Vec::new(),
            mailbox,
            out_of_buffers: 0,
        })
    }

    pub(super) fn add(&mut self, stream: OwnedFd) -> io::Result<u32> {
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

    pub(super) fn send(&mut self, slot: u32, outgoing: Outgoing, drain: bool) {
        // As for the other engine: a drain outlives the turn.
        assert!(!drain || outgoing.segments.is_empty());
        assert!(self.slots[slot as usize].drain.is_none());
        if drain {
            self.slots[slot as usize].drain = Some(Drain { outgoing, sent: 0 });
            return self.go_on(slot);
        }
        let result = self.transmit(slot, &outgoing, 0);
        self.turn_in_use |= !outgoing.segments.is_empty();
        self.done.push(Event::Sent {
            slot,
            outgoing,
            result: result.map_err(Errno::raw_os_error),
        });
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

    /// How many bytes of a slot's drain the socket has taken.
    pub(super) fn taken(&self, slot: u32) -> Option<u64> {
        let drain = self.slots.get(slot as usize)?.drain.as_ref();
        drain.map(|drain| drain.sent as u64)
    }

    pub(super) fn close(&mut self, slot: u32, reset: bool) {
        let entry = std::mem::take(&mut self.slots[slot as usize]);
        let Some(stream) = entry.stream else { return };
        hang_up(&stream, reset);
        // Others may hold the socket: closing ours would not end the polling.
        let _ = epoll::delete(&self.epoll, &stream);
        if entry.listed {
            self.readable.retain(|listed| *listed != slot);
        }
        if let Some(Drain { outgoing, sent }) = entry.drain {
            let result = match sent {
                0 => Err(Errno::CANCELED.raw_os_error()),
                sent => Ok(sent),
            };
            self.done.push(Event::Sent {
                slot,
                outgoing,
                result,
            });
        }
        // Behind whatever else of the slot is done.
        self.done.push(Event::Closed { slot });
    }

    pub(super) fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    pub(super) fn take_done(&mut self, events: &mut Vec<Event>) -> bool {
        let any = !self.done.is_empty();
        events.append(&mut self.done);
        self.turn_in_use = false;
        any
    }

    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        if !self.turn_in_use {
            self.end_turn();
        }
        self.filling = None;
        let timeout = match self.done.is_empty() && self.readable.is_empty() {
            true => timeout,
            false => Some(Duration::ZERO),
        };
        self.poll(timeout)?;
        self.receive(events);
        self.take_done(events);
        Ok(())
    }

    pub(super) fn end_turn(&mut self) {
        assert!(!self.turn_in_use);
        self.memory.end_turn(|id| self.free_buffers.push(id));
    }

    pub(super) fn clear_gathered(&mut self) {
        assert!(!self.turn_in_use);
        self.memory.clear_gathered();
    }

    /// Waits, lists what can be read from and goes on with drains.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // What a timespec cannot hold is for ever.
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
            // Errors and hang-ups are for whoever reads, or writes, to meet.
            if flags != EventFlags::OUT {
                let entry = &mut self.slots[slot as usize];
                if !entry.listed && !entry.ended {
                    entry.listed = true;
                    self.readable.push_back(slot);
                }
            }
            if flags.contains(EventFlags::OUT) {
                self.go_on(slot);
            }
        }
        self.ready = ready;
        Ok(())
    }

    /// Reads once from each listed slot, as long as there are buffers and until it is enough.
    fn receive(&mut self, events: &mut Vec<Event>) {
        let mut received = 0;
        for _ in 0..self.readable.len() {
            if received >= self.enough {
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
            let into = &mut self.memory.parts_mut().1.bytes_mut(buffer, RECEIVE_LEN)[at..];
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

    /// Where the next receive goes.
    fn room(&mut self) -> Option<(u16, usize)> {
        if let Some((_, filled)) = self.filling
            && filled + ROOM <= RECEIVE_LEN
        {
            return self.filling;
        }
        let buffer = self.free_buffers.pop()?;
        self.memory.hold(buffer);
        self.filling = Some((buffer, 0));
        self.filling
    }

    /// Sends what is left of a slot's drain, as far as the socket takes it.
    fn go_on(&mut self, slot: u32) {
        let Some(Drain { outgoing, mut sent }) = self.slots[slot as usize].drain.take() else {
            return self.poll_out(slot, false);
        };
        let total = outgoing.owned.iter().map(|f| f.len()).sum::<usize>() - outgoing.skip;
        let result = match self.transmit(slot, &outgoing, sent) {
            Ok(n) => {
                sent += n;
                (sent == total).then_some(Ok(sent))
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            // What has gone comes first; the next send meets the error again.
            Err(_) if sent > 0 => Some(Ok(sent)),
            Err(error) => Some(Err(error.raw_os_error())),
        };
        match result {
            Some(result) => self.done.push(Event::Sent {
                slot,
                outgoing,
                result,
            }),
            None => {
                self.slots[slot as usize].drain = Some(Drain { outgoing, sent });
                self.poll_out(slot, true);
            }
        }
    }

    /// One system call that sends what the socket takes at once of what lies behind the first
    /// `skip` bytes.
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
        // Of another lifetime and in the same allocation.
        self.pieces = pieces.into_iter().map(|_| IoSlice::new(&[])).collect();
        result
    }

    /// Turns polling for room in the socket on or off.
    fn poll_out(&mut self, slot: u32, on: bool) {
        let entry = &mut self.slots[slot as usize];
        let Some(stream) = entry.stream.as_ref().filter(|_| entry.polls_out != on) else {
            return;
        };
        let mut flags = EventFlags::IN;
        flags.set(EventFlags::OUT, on);
        let data = EventData::new_u64(slot.into());
        // Fails only for want of memory: the port's write time-out is there for such a case too.
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
