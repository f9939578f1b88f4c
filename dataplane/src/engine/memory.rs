//! The memory of an engine, and which of its receive buffers belong to which turn.

use crate::buffer::{ReceiveBuffers, TurnMemory};

/// Receive buffers and the turn's own memory. What is lent out of it by reference to the kernel is
/// the engine's to know: it calls what voids segments.
pub(super) struct Memory {
    turn: TurnMemory,
    receive: ReceiveBuffers,
    /// Receive buffers handed out and not yet given back.
    in_use: Vec<u16>,
    /// How many of these have been dealt with: all that were filled before the last wait.
    old: usize,
}

impl Memory {
    pub(super) fn new(receive_buffers: u16) -> Self {
        Self {
            turn: TurnMemory::default(),
            receive: ReceiveBuffers::new(receive_buffers.max(2).next_power_of_two()),
            in_use: Vec::new(),
            old: 0,
        }
    }

    #[inline]
    pub(super) fn parts(&self) -> (&TurnMemory, &ReceiveBuffers) {
        (&self.turn, &self.receive)
    }

    #[inline]
    pub(super) fn parts_mut(&mut self) -> (&mut TurnMemory, &mut ReceiveBuffers) {
        (&mut self.turn, &mut self.receive)
    }

    /// Takes a receive buffer until the next turn ends.
    pub(super) fn hold(&mut self, buffer: u16) {
        self.receive.hold(buffer);
        self.in_use.push(buffer);
    }

    /// Says that what is held now has been dealt with: it goes with the next [`Self::end_turn`].
    pub(super) fn make_old(&mut self) {
        self.old = self.in_use.len();
    }

    /// Voids the turn's segments and gives its receive buffers back, to `give` each.
    pub(super) fn end_turn(&mut self, mut give: impl FnMut(u16)) {
        self.turn.clear();
        for id in self.in_use.drain(..std::mem::take(&mut self.old)) {
            self.receive.release(id);
            give(id);
        }
    }

    /// Voids what was gathered in this turn; what was received stays.
    pub(super) fn clear_gathered(&mut self) {
        self.turn.clear();
    }
}
