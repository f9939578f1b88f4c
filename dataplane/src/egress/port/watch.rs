//! A port's timers: keepalives, and the timeouts of the peer.

use pinecone_wire::timing::{KEEPALIVE_INTERVAL, PEER_TIMEOUT};

use crate::engine::Readiness;
use crate::report::CloseReason;

/// Keepalives and the silence that ends a peering, in milliseconds (protocol section 3).
const KEEPALIVE_MS: u64 = KEEPALIVE_INTERVAL.as_millis() as u64;
const DEAD_MS: u64 = PEER_TIMEOUT.as_millis() as u64;
/// Within this time, a frame that has begun must be complete, or [`FRAME_BYTES`] more of it must have arrived: 1 KiB a
/// second.
const FRAME_MS: u64 = 5000;
const FRAME_BYTES: usize = 5 << 10;
/// The time in milliseconds that a write may take without progress: the same as the peer's timeout for silence, and
/// longer than TCP takes to find that long segments do not get through (3.2 s).
const WRITE_MS: u64 = DEAD_MS;
/// The time between two checks for the progress of a long write, in milliseconds.
const LOOK_MS: u64 = 1000;
/// Milliseconds of silence after which a long send follows a keepalive in a segment of its own.
pub(super) const QUIET_MS: u64 = 1000;

/// The state of a port's socket that its timers depend on.
pub(in crate::egress) trait Socket {
    /// Returns the progress of the drain under way: a number that changes when the peer takes bytes.
    fn progress(&self) -> Option<u64>;

    /// Returns the readiness of the socket at this moment.
    fn readiness(&self) -> Readiness;
}

/// The times of the last events on a port, in milliseconds since its worker started.
pub(super) struct Watch {
    /// True if keepalives are sent and expected.
    keepalives: bool,
    last_rx: u64,
    last_tx: u64,
    /// The time at which the partial frame was last seen to grow by [`FRAME_BYTES`], and its length then.
    frame_mark: (u64, usize),
    /// The time at which the drain under way began.
    drain_since: Option<u64>,
    /// The time at which the drain under way was last seen to advance, and its progress then. The outer `Option` is
    /// `None` until the drain is checked for the first time.
    progress_at: u64,
    progress: Option<Option<u64>>,
    /// The time of the next check.
    due: u64,
}

/// The state of a port that its timers depend on.
pub(super) struct Now {
    /// The time.
    pub(super) now: u64,
    /// The time of the last complete poll of the sockets: bytes that had arrived by then have been read, or are still
    /// in the socket.
    pub(super) looked_at: u64,
    /// The length of the partial frame.
    pub(super) partial: usize,
    /// True if a keepalive could be sent: no frame is being sent or waits.
    pub(super) is_idle: bool,
}

/// The actions due for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// True to send a keepalive.
    pub(super) keepalive: bool,
    /// The time of the next check.
    pub(super) next: Option<u64>,
}

impl Watch {
    pub(super) const fn new(keepalives: bool, now: u64) -> Self {
        Self {
            keepalives,
            last_rx: now,
            last_tx: now,
            frame_mark: (now, 0),
            drain_since: None,
            progress_at: now,
            progress: None,
            due: u64::MAX,
        }
    }

    /// Records that bytes have arrived, and whether the partial frame is still the one from before.
    #[inline]
    pub(super) const fn received(&mut self, continues: bool, now: u64) {
        self.last_rx = now;
        if !continues {
            self.frame_mark = (now, 0);
        }
    }

    /// Records that bytes have been sent.
    pub(super) const fn sent(&mut self, now: u64) {
        self.last_tx = now;
    }

    /// Records that a drain has begun.
    pub(super) const fn drain_begins(&mut self, now: u64) {
        self.drain_since = Some(now);
        self.progress_at = now;
        self.progress = None;
    }

    /// Records that a send has completed. Returns the time that it took, if it was a drain.
    pub(super) fn drain_ends(&mut self, now: u64) -> Option<u64> {
        let since = self.drain_since.take()?;
        Some(now.saturating_sub(since))
    }

    /// Reports whether the peer has heard nothing for a while.
    pub(super) const fn is_quiet(&self, now: u64) -> bool {
        self.keepalives && now >= self.last_tx + QUIET_MS
    }

    /// Returns the time of the first check.
    pub(super) fn first_timer(&mut self) -> Option<u64> {
        if !self.keepalives {
            return None;
        }
        self.due = self.last_tx + KEEPALIVE_MS;
        Some(self.due)
    }

    /// Returns the time at which to check a drain that has just begun, if that is before the timer that is set.
    pub(super) fn drain_timer(&mut self, now: u64) -> Option<u64> {
        let due = now + LOOK_MS;
        (due < self.due).then(|| {
            self.due = due;
            due
        })
    }

    /// Reports whether a check is due.
    pub(super) const fn is_due(&self, now: u64) -> bool {
        now >= self.due
    }

    /// Returns the actions that are due, or the reason why the port must close.
    ///
    /// The worker may have been stopped until just now, with bytes of the peer in the socket. So a peer is judged by
    /// the bytes that had arrived by `looked_at`, after which all sockets have been read once, and only if its socket
    /// has no unread bytes: an iteration may have too few buffers to read from all sockets.
    pub(super) fn run(&mut self, at: &Now, socket: &impl Socket) -> Result<Due, CloseReason> {
        let (now, looked_at) = (at.now, at.looked_at);
        let mut keepalive = false;
        let mut due = u64::MAX;
        if let Some(since) = self.drain_since {
            due = since + LOOK_MS;
            if now >= due {
                self.look(now, socket.progress());
                let is_stuck = now >= self.progress_at + WRITE_MS;
                if is_stuck
                    && looked_at >= self.progress_at + WRITE_MS
                    && !socket.readiness().writable
                {
                    return Err(CloseReason::WriteTimeout);
                }
                due = now + if is_stuck { 1 } else { LOOK_MS };
            }
        }
        if self.keepalives {
            let unread = |since: u64| looked_at < since || socket.readiness().readable;
            if now >= self.last_rx + DEAD_MS && !unread(self.last_rx + DEAD_MS) {
                return Err(CloseReason::Dead);
            }
            if at.partial > 0 {
                let (since, len) = self.frame_mark;
                if now >= since + FRAME_MS {
                    if at.partial >= len + FRAME_BYTES {
                        self.frame_mark = (now, at.partial);
                    } else if !unread(since + FRAME_MS) {
                        return Err(CloseReason::SlowFrame);
                    }
                }
                due = due.min(self.frame_mark.0 + FRAME_MS);
            }
            if now >= self.last_tx + KEEPALIVE_MS && at.is_idle {
                self.last_tx = now;
                keepalive = true;
            }
            due = due
                .min((self.last_tx + KEEPALIVE_MS).max(now + 1))
                .min(self.last_rx + DEAD_MS);
        }
        self.due = due.max(now + 1);
        Ok(Due {
            keepalive,
            next: (self.due != u64::MAX).then_some(self.due),
        })
    }

    /// Records the progress of a long drain.
    fn look(&mut self, now: u64, progress: Option<u64>) {
        let has_moved = match self.progress {
            Some(before) => progress != before,
            // The first check has no earlier progress to compare with: the peer may have taken bytes until now.
            None => now >= self.progress_at + 2 * LOOK_MS,
        };
        if has_moved {
            self.progress_at = now;
        }
        self.progress = Some(progress);
    }
}

#[cfg(test)]
mod tests;
