//! Deficit round robin with a list for newcomers, as in FQ-CoDel (RFC 8290): a member that has just become active is
//! served before the others, once.

use std::collections::VecDeque;

/// Bytes that a round adds to a deficit. A frame may be eight times as long and then takes several
/// rounds, but on a slow link one member must not hold up the others for seconds.
pub(super) const QUANTUM: usize = 8 << 10;

/// The order in which numbered members are served.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    new: VecDeque<u32>,
    old: VecDeque<u32>,
}

impl RoundRobin {
    /// Adds a member that has just become active.
    pub(super) fn add(&mut self, member: u32) {
        self.new.push_back(member);
    }

    /// Returns the member to be served.
    pub(super) fn current(&self) -> Option<u32> {
        self.new.front().or_else(|| self.old.front()).copied()
    }

    /// Moves the current member behind all others.
    pub(super) fn rotate(&mut self) {
        if let Some(member) = self.new.pop_front().or_else(|| self.old.pop_front()) {
            self.old.push_back(member);
        }
    }

    /// Ends the service of a member that has no frames left. Returns whether the member has been removed. A newcomer
    /// stays for one more round, so that it does not count as new again at once.
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
