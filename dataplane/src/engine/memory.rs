//! The memory of an engine, and the recycling of its receive buffers.

use crate::buffer::{IterationMemory, ReceiveBuffers};

/// The receive buffers of an engine, and the memory of its current iteration. The engine keeps track of the memory that
/// the kernel is reading, and calls the methods that make segments invalid.
pub(crate) struct Memory {
    iteration: IterationMemory,
    receive: ReceiveBuffers,
    /// Receive buffers that are held.
    in_use: Vec<u16>,
    /// The number of these that have been handled: all that were filled before the last wait.
    handled: usize,
}

impl Memory {
    pub(super) fn new(receive: ReceiveBuffers) -> Self {
        Self {
            iteration: IterationMemory::default(),
            receive,
            in_use: Vec::new(),
            handled: 0,
        }
    }

    #[inline]
    pub(super) fn parts(&self) -> (&IterationMemory, &ReceiveBuffers) {
        (&self.iteration, &self.receive)
    }

    #[inline]
    pub(super) fn parts_mut(&mut self) -> (&mut IterationMemory, &mut ReceiveBuffers) {
        (&mut self.iteration, &mut self.receive)
    }

    /// Takes a receive buffer until the next iteration ends.
    pub(super) fn hold(&mut self, buffer: u16) {
        self.receive.hold(buffer);
        self.in_use.push(buffer);
    }

    /// Marks the buffers that are held now as handled: [`Self::end_iteration`] releases them.
    pub(super) fn mark_handled(&mut self) {
        self.handled = self.in_use.len();
    }

    /// Makes all segments invalid, and passes each receive buffer that has been handled to `recycle`.
    pub(super) fn end_iteration(&mut self, mut recycle: impl FnMut(u16)) {
        self.iteration.clear();
        for id in self.in_use.drain(..std::mem::take(&mut self.handled)) {
            self.receive.release(id);
            recycle(id);
        }
    }

    /// Makes gathered segments invalid; received bytes stay.
    pub(super) fn clear_gathered(&mut self) {
        self.iteration.clear();
    }
}
