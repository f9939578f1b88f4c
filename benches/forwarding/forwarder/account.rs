//! The interface of forwarders: their threads and their counters.

use anyhow::{Result, ensure};

/// Moves frames or bytes from the first half of its connections to the second half.
pub trait Forwarder: Sync {
    /// Returns the threads whose CPU time is measured.
    fn threads(&self) -> &[u32];
    /// Returns the counters; `None` for a relay, which does not know frames.
    fn account(&self) -> Option<Account>;
    /// Reports whether frames are routed by their destinations.
    fn routes(&self) -> bool {
        true
    }
}

/// The counters of a router.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub received: u64,
    pub forwarded: u64,
    pub forwarded_bytes: u64,
    pub delivered: u64,
    pub dropped: u64,
    /// The drops by reason.
    pub reasons: String,
    pub waiting: u64,
}

impl Account {
    /// Checks that each frame that was sent has been received, and then forwarded, delivered or dropped.
    pub fn balance(&self, sent: u64) -> Result<()> {
        ensure!(
            self.received == sent,
            "{sent} frames were sent to the router, which counted {}",
            self.received
        );
        ensure!(
            self.received == self.forwarded + self.delivered + self.dropped && self.waiting == 0,
            "the router's counters do not add up: {self:?}"
        );
        Ok(())
    }
}
