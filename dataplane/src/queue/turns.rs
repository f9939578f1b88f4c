//! Deficit round robin with a list for newcomers, as in FQ-CoDel (RFC 8290): whoever has just
//! become active goes before the others, once.

use std::collections::VecDeque;

/// Bytes that a turn adds to a deficit. A frame may be eight times as long and then takes several
/// rounds, but on a slow link a turn must not take seconds.
pub(super) const QUANTUM: usize = 8 << 10;

/// The order of turns among numbered members.
#[derive(Debug, Default)]
pub(super) struct Turns {
    new: VecDeque<u32>,
    old: VecDeque<u32>,
}

impl Turns {
    /// Adds a member that has just become active.
    pub(super) fn add(&mut self, member: u32) {
        self.new.push_back(member);
    }

    /// The member whose turn it is.
    pub(super) fn current(&self) -> Option<u32> {
        self.new.front().or_else(|| self.old.front()).copied()
    }

    /// Ends the current turn; the member gets another one after all others.
    pub(super) fn rotate(&mut self) {
        if let Some(member) = self.new.pop_front().or_else(|| self.old.pop_front()) {
            self.old.push_back(member);
        }
    }

    /// Ends the current turn of a member that has nothing left. Returns whether the member is out.
    /// A newcomer stays for one round, or it could be new again at once.
    pub(super) fn leave(&mut self) -> bool {
        match self.new.pop_front() {
            Some(member) => {
                self.old.push_back(member);
                false
            }
            None => self.old.pop_front().is_some(),
        }
    }
}
