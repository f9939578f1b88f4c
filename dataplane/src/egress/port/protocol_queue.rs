//! Protocol frames that wait for a port.

use std::collections::VecDeque;

use crate::frames::is_announcement;

/// Maximum number of protocol frames in one send.
pub(super) const MAX_PROTOCOL: usize = 64;

/// Protocol frames that wait for a port, bounded in bytes.
pub(super) struct ProtocolQueue {
    frames: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// The number of announcements among the frames.
    announcements: usize,
    limit: usize,
}

impl ProtocolQueue {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            announcements: 0,
            limit,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a frame. If there are too many, drops the oldest frames, and announcements last: the
    /// control plane does not repeat them, and each builds on the one before. Returns the number of
    /// frames dropped.
    pub(super) fn push(&mut self, frame: Box<[u8]>) -> u64 {
        self.bytes += frame.len();
        self.announcements += usize::from(is_announcement(&frame));
        self.frames.push_back(frame);
        let mut dropped = 0;
        while self.bytes > self.limit {
            let other = self.frames.iter().position(|f| !is_announcement(f));
            if other.is_none() && self.announcements == 1 {
                break;
            }
            let Some(old) = self.frames.remove(other.unwrap_or(0)) else {
                break;
            };
            self.removed(&old);
            dropped += 1;
        }
        dropped
    }

    /// Moves frames to a send that has `owned` pieces already.
    pub(super) fn take(&mut self, owned: &mut Vec<Box<[u8]>>) {
        while owned.len() < MAX_PROTOCOL {
            let Some(frame) = self.frames.pop_front() else {
                return;
            };
            self.removed(&frame);
            owned.push(frame);
        }
    }

    /// Drops all frames.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    fn removed(&mut self, frame: &[u8]) {
        self.announcements -= usize::from(is_announcement(frame));
        self.bytes -= frame.len();
    }
}
