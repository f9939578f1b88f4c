//! Handling completions.

use io_uring::cqueue;

use super::op::{Kind, Op};
use super::{Slot, Uring};
use crate::engine::contract::{Event, Sent};

impl Uring {
    /// Handles all pending completions.
    pub(super) fn reap(&mut self, events: &mut Vec<Event>) {
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
                // The message failed, and the other worker still sleeps.
                mailbox.bell.wake();
            }
        }
    }

    /// Handles a completion of a receive.
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
                let len = (result as usize).min(self.memory.parts().1.buffer_len());
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
                self.stats.out_of_buffers += 1;
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

    /// Handles a completion of a send.
    fn sent(&mut self, slot: u32, result: i32, events: &mut Vec<Event>) {
        let entry = &mut self.slots[slot as usize];
        if let Some((outgoing, kind)) = entry.sending.take() {
            self.inline -= usize::from(kind == Kind::Inline);
            let result = usize::try_from(result).map_err(|_| -result);
            events.push(Event::Sent(Sent {
                slot,
                outgoing,
                result,
            }));
        }
        if entry.closing {
            self.finish_close(slot, events);
        }
    }

    /// Handles a completion of a send without a copy, which has two: the result, and a notice that the
    /// kernel no longer reads the memory.
    fn sent_without_copy(&mut self, id: u32, result: i32, flags: u32, events: &mut Vec<Event>) {
        if cqueue::notif(flags) {
            return self.in_flight.finished(id);
        }
        let Some(slot) = self.in_flight.sent(id) else {
            return;
        };
        let entry = &mut self.slots[slot as usize];
        if let Some((outgoing, _)) = &mut entry.sending {
            let total = outgoing.owned_bytes();
            if cqueue::more(flags) {
                let frames = if usize::try_from(result) == Ok(total) {
                    outgoing.take_in_flight()
                } else {
                    // The port sends the rest later, from a copy that it can free afterwards.
                    let copy = outgoing.owned.clone();
                    std::mem::replace(&mut outgoing.owned, copy)
                };
                self.in_flight.keep(id, frames);
            } else {
                self.in_flight.end(id);
            }
        }
        self.stats.zero_copy_sends += 1;
        // Locked memory is limited, and not every device supports this.
        if matches!(-result, libc::ENOMEM | libc::ENOBUFS | libc::EOPNOTSUPP)
            && !entry.closing
            && let Some((outgoing, _)) = entry.sending.take()
        {
            entry.zero_copy &= result != -libc::EOPNOTSUPP;
            self.stats.zero_copy_sends -= 1;
            return self.send_as(slot, outgoing, Kind::Drain);
        }
        self.sent(slot, result, events);
    }

    /// Ends the closing of a slot once none of its requests is under way.
    pub(super) fn finish_close(&mut self, slot: u32, events: &mut Vec<Event>) {
        let entry = &mut self.slots[slot as usize];
        if entry.receiving || entry.sending.is_some() || entry.stream.is_none() {
            return;
        }
        if self.features.fixed_files > slot {
            // The table's reference would keep the socket open; removing it cannot fail.
            let _ = self.ring.submitter().register_files_update(slot, &[-1]);
        }
        *entry = Slot::default();
        events.push(Event::Closed { slot });
    }
}
