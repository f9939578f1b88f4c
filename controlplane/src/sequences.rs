//! The sequences of this node's own bootstraps and broadcasts.

use crate::context::Context;

/// The sequences that the node has used for bodies of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnSequences {
    last: u64,
    highest: u64,
}

impl OwnSequences {
    /// Returns the next sequence: Unix milliseconds, and usually higher than the last one.
    pub(crate) fn next(&mut self, cx: &mut Context) -> u64 {
        let time = &mut cx.network_time;
        let sequence = time.sequence_after(&cx.config, cx.now, &cx.peers, self.last);
        self.last = sequence;
        self.highest = self.highest.max(sequence);
        cx.own_key.record_sent(sequence);
        sequence
    }

    /// Returns the last sequence.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Returns the highest sequence so far. The last one is lower after a correction of the clock.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }
}
