//! Driving an engine in the order that its contract demands.
//!
//! ```text
//! Driver::begin -> Handling -> Sending -> Ending -> Driver
//! ```
//!
//! Each guard borrows the [`Driver`] and is consumed by the step to the next one. Calls that the
//! contract allows at any time are on [`Sockets`], to which all guards dereference.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::contract::{Engine, EngineStats, Event, SendMode, Sent, Wait};
use super::outgoing::Outgoing;
use super::poller::SharedPoller;
use super::socket::{self, Readiness};
use crate::DataPlaneOptions;
use crate::buffer::{IterationMemory, ReceiveBuffers};
use crate::mailbox::Mailbox;

/// Bytes that an iteration receives, approximately: sending costs less while caches hold the received bytes. The number
/// grows with the ports that are sent to, so that each gets enough bytes for a send to pay, and with the length of
/// frames, since long ones are sent without being copied.
const ENOUGH: usize = 1 << 20;
const ENOUGH_A_PORT: usize = 64 << 10;
const ENOUGH_LONG: usize = 3 << 20;
/// Frames that make an iteration long enough.
const ENOUGH_FRAMES: usize = 2560;

/// An engine, and the only way to use it.
pub(crate) struct Driver<E> {
    sockets: Sockets<E>,
}

/// The sockets of an engine, and the other calls that are allowed at any time.
pub(crate) struct Sockets<E> {
    engine: E,
    /// The number of bytes that the next wait may receive, approximately.
    enough: usize,
}

/// An iteration whose events are being handled.
#[must_use]
pub(crate) struct Handling<'a, E: Engine> {
    driver: &'a mut Driver<E>,
}

/// An iteration whose events have been handled, and whose frames are being sent.
#[must_use]
pub(crate) struct Sending<'a, E: Engine> {
    driver: &'a mut Driver<E>,
}

/// An iteration that has waited for events, and whose sends have completed.
#[must_use]
pub(crate) struct Ending<'a, E: Engine> {
    driver: &'a mut Driver<E>,
}

/// The access to an engine that makes sends.
pub(crate) struct Outbox<'a, E> {
    engine: &'a mut E,
}

impl<E: Engine> Driver<E> {
    /// Sets an engine up on the calling thread, which alone may use it.
    pub(crate) fn new(
        mailbox: Arc<Mailbox>,
        poller: &SharedPoller,
        options: &DataPlaneOptions,
    ) -> io::Result<Self> {
        Ok(Self {
            sockets: Sockets {
                engine: E::new(mailbox, poller, options)?,
                enough: ENOUGH,
            },
        })
    }

    /// Describes which parts of the kernel are in use, and which options are not available.
    pub(crate) fn features(&self, options: &DataPlaneOptions) -> String {
        let mut text = self.sockets.engine.features(options);
        if let Some(limit) = options.busy_poll {
            text += &format!(", busy polling for {} us", limit.as_micros());
        }
        text
    }

    /// Returns a descriptor that polls as readable when an iteration has something to do.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.sockets.engine.descriptor()
    }

    /// Reports whether the next iteration has something to do at once, without an event of the kernel.
    pub(crate) fn has_work(&mut self) -> bool {
        self.sockets.engine.has_work()
    }

    /// Returns the sockets, between two iterations.
    pub(crate) fn sockets(&mut self) -> &mut Sockets<E> {
        &mut self.sockets
    }

    /// Begins an iteration, which handles the events that the last one waited for.
    pub(crate) fn begin(&mut self) -> Handling<'_, E> {
        Handling { driver: self }
    }
}

impl<E: Engine> Sockets<E> {
    /// Takes a connected stream socket into a slot and starts receiving.
    pub(crate) fn add(&mut self, stream: OwnedFd) -> io::Result<u32> {
        if let Some(state) = socket::tcp_state(&stream) {
            socket::retry_soon(&stream, state.rtt_us);
        }
        self.engine.add(stream)
    }

    /// Shuts the stream of a slot down, or resets it. [`Event::Closed`] follows, at once or later.
    pub(crate) fn close(&mut self, slot: u32, reset: bool, events: &mut Vec<Event>) {
        self.engine.close(slot, reset, events);
    }

    /// Frees a slot for another socket. Call it when [`Event::Closed`] is handled: events before that
    /// one still name the slot.
    pub(crate) fn release(&mut self, slot: u32) {
        self.engine.release(slot);
    }

    /// Wakes another worker, at the latest with the next submission.
    pub(crate) fn wake(&mut self, worker: usize, mailbox: &Arc<Mailbox>) {
        self.engine.wake(worker, mailbox);
    }

    /// Returns the engine's counts so far.
    pub(crate) fn stats(&self) -> EngineStats {
        self.engine.stats()
    }

    /// Returns the progress of the drain under way: a number that changes when the peer takes bytes. Also fits the time
    /// between retransmissions to the round-trip time. With io_uring, a drain to anything but TCP ends whenever bytes
    /// are taken, and has no such number.
    pub(crate) fn progress(&self, slot: u32) -> Option<u64> {
        let tcp = self
            .engine
            .stream(slot)
            .and_then(|stream| Some((stream, socket::tcp_state(stream)?)));
        let Some((stream, state)) = tcp else {
            return self.engine.drained(slot);
        };
        socket::retry_soon(stream, state.rtt_us);
        Some(state.acked)
    }

    /// Returns the readiness of a slot's socket at this moment. Makes a system call.
    pub(crate) fn readiness(&self, slot: u32) -> Readiness {
        let stream = self.engine.stream(slot);
        stream.map(socket::readiness).unwrap_or_default()
    }
}

impl<'a, E: Engine> Handling<'a, E> {
    /// Returns the memory that segments and received bytes lie in.
    #[inline]
    pub(crate) fn memory_mut(&mut self) -> (&mut IterationMemory, &mut ReceiveBuffers) {
        self.driver.sockets.engine.memory_mut().parts_mut()
    }

    /// Reports whether the gathered bytes should be sent before more events are handled.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.driver.sockets.engine.memory().parts().0.is_high()
    }

    /// The access to an engine that makes sends.
    pub(crate) fn outbox(&mut self) -> Outbox<'_, E> {
        Outbox {
            engine: &mut self.driver.sockets.engine,
        }
    }

    /// Completes all inline sends in the middle of handling, hands them to `account`, and recycles gathered bytes.
    /// Appends other events to `events`: handle them in this iteration, as the buffers that they name are recycled at
    /// its end.
    pub(crate) fn flush_gathered(
        &mut self,
        events: &mut Vec<Event>,
        account: impl FnMut(Sent, &IterationMemory, &ReceiveBuffers),
    ) -> io::Result<()> {
        let engine = &mut self.driver.sockets.engine;
        engine.finish_inline(events)?;
        self.driver.sockets.account(events, account);
        self.driver.sockets.engine.clear_gathered();
        Ok(())
    }

    /// Ends the handling of events: received bytes are no longer accessible.
    pub(crate) fn handled(self) -> Sending<'a, E> {
        self.driver.sockets.engine.memory_mut().mark_handled();
        Sending {
            driver: self.driver,
        }
    }
}

impl<'a, E: Engine> Sending<'a, E> {
    /// The access to an engine that makes sends.
    pub(crate) fn outbox(&mut self) -> Outbox<'_, E> {
        Outbox {
            engine: &mut self.driver.sockets.engine,
        }
    }

    /// Records the number of ports that are sent to, and the mean length of the frames received: the next iteration
    /// will hardly differ.
    pub(crate) fn set_load(&mut self, ports: usize, frame_len: usize) {
        let enough = &mut self.driver.sockets.enough;
        // The number falls slowly, as there are small iterations between large ones.
        *enough = (*enough - *enough / 8)
            .max((frame_len * ENOUGH_FRAMES).clamp(ENOUGH, ENOUGH_LONG))
            .max(ports * ENOUGH_A_PORT);
    }

    /// Hands the sends that have completed already to `account`, and appends other events to
    /// `events`. Returns whether there may have been some.
    pub(crate) fn take_completed(
        &mut self,
        events: &mut Vec<Event>,
        account: impl FnMut(Sent, &IterationMemory, &ReceiveBuffers),
    ) -> io::Result<bool> {
        let sockets = &mut self.driver.sockets;
        let any = sockets.engine.take_completed(events)?;
        if any {
            sockets.account(events, account);
        }
        Ok(any)
    }

    /// Submits all requests, waits for an event, and completes all inline sends. Waits at most `timeout`. If `batch` is
    /// given, first waits that long for several events together.
    ///
    /// # Errors
    /// The engine cannot go on.
    pub(crate) fn wait(
        self,
        timeout: Option<Duration>,
        batch: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<Ending<'a, E>> {
        self.driver.sockets.wait(timeout, batch, true, events)?;
        Ok(Ending {
            driver: self.driver,
        })
    }

    /// Ends the sends without a poll for new events, which the caller waits for by the descriptor.
    ///
    /// # Errors
    /// The engine cannot go on.
    pub(crate) fn skip_wait(self, events: &mut Vec<Event>) -> io::Result<Ending<'a, E>> {
        let sockets = &mut self.driver.sockets;
        sockets.wait(Some(Duration::ZERO), None, false, events)?;
        Ok(Ending {
            driver: self.driver,
        })
    }
}

impl<E: Engine> Ending<'_, E> {
    /// Waits again, after a wait that has returned no event.
    ///
    /// # Errors
    /// The engine cannot go on.
    pub(crate) fn wait_again(
        &mut self,
        timeout: Option<Duration>,
        batch: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        debug_assert!(events.is_empty(), "sends to account for");
        self.driver.sockets.wait(timeout, batch, true, events)
    }

    /// Reports whether [`Self::wait_again`] may return events, as far as can be told without a system call.
    #[inline]
    pub(crate) fn may_have_news(&mut self) -> bool {
        self.driver.sockets.engine.may_have_news()
    }

    /// Ends the iteration: hands the sends among `events` to `account` and recycles the memory that
    /// they point to. Handle the remaining events in the next iteration.
    pub(crate) fn end(
        self,
        events: &mut Vec<Event>,
        account: impl FnMut(Sent, &IterationMemory, &ReceiveBuffers),
    ) {
        self.driver.sockets.account(events, account);
        self.driver.sockets.engine.end_iteration();
    }
}

impl<E: Engine> Outbox<'_, E> {
    /// Starts a send. A slot has at most one under way.
    pub(crate) fn send(&mut self, slot: u32, outgoing: Outgoing, mode: SendMode) {
        self.engine.send(slot, outgoing, mode);
    }

    /// Sends a few bytes right now, between two sends. Returns the number of bytes that the socket took.
    pub(crate) fn send_at_once(&mut self, slot: u32, bytes: &[u8]) -> usize {
        let stream = self.engine.stream(slot);
        stream.map_or(0, |stream| socket::send_at_once(stream, bytes))
    }

    /// Limits the bytes that the kernel has taken for a slot and cannot send yet.
    pub(crate) fn limit_unsent(&mut self, slot: u32, limit: Option<usize>) {
        if let Some(stream) = self.engine.stream(slot) {
            socket::limit_unsent(stream, limit);
        }
        let flags = match limit {
            // Otherwise TCP appends to its last segment, which may become long, without regard to
            // the limit.
            Some(_) => libc::MSG_EOR,
            None => 0,
        };
        self.engine.set_send_flags(slot, flags);
    }
}

impl<E: Engine> Sockets<E> {
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        batch: Option<Duration>,
        polls: bool,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        let wait = Wait {
            timeout,
            batch,
            enough: self.enough,
            polls,
        };
        self.engine.wait(wait, events)
    }

    /// Hands the sends among `events` to `account`.
    fn account(
        &mut self,
        events: &mut Vec<Event>,
        mut account: impl FnMut(Sent, &IterationMemory, &ReceiveBuffers),
    ) {
        let (memory, receive) = self.engine.memory().parts();
        for event in events.extract_if(.., |e| matches!(e, Event::Sent(_))) {
            if let Event::Sent(sent) = event {
                account(sent, memory, receive);
            }
        }
    }
}

macro_rules! deref_to_sockets {
    ($($guard:ident)*) => {
        $(
            impl<E: Engine> Deref for $guard<'_, E> {
                type Target = Sockets<E>;

                fn deref(&self) -> &Sockets<E> {
                    &self.driver.sockets
                }
            }

            impl<E: Engine> DerefMut for $guard<'_, E> {
                fn deref_mut(&mut self) -> &mut Sockets<E> {
                    &mut self.driver.sockets
                }
            }
        )*
    };
}

deref_to_sockets! { Handling Sending Ending }
