//! Counts of the reasons for which peerings ended.

use pinecone_dataplane::CloseReason;

use crate::Counter;

/// The number of peerings that ended for each kind of reason.
#[derive(Default)]
pub(crate) struct Closings([u64; NAMES.len()]);

const NAMES: [&str; 8] = [
    "peerings_closed_by_us",
    "peerings_closed_by_peer",
    "peerings_dead",
    "peerings_write_timeout",
    "peerings_bad_frame",
    "peerings_io_error",
    "peerings_slow_frame",
    "peerings_worker_failed",
];

impl Closings {
    pub(crate) fn count(&mut self, reason: &CloseReason) {
        let kind = match reason {
            CloseReason::Requested(_) | CloseReason::Shutdown => 0,
            CloseReason::PeerClosed => 1,
            CloseReason::Dead => 2,
            CloseReason::WriteTimeout => 3,
            CloseReason::Frame(_) => 4,
            CloseReason::Io(_) => 5,
            CloseReason::SlowFrame => 6,
            CloseReason::Worker(_) => 7,
        };
        self.0[kind] += 1;
    }

    pub(crate) fn counters(&self) -> impl Iterator<Item = Counter> + '_ {
        let counts = NAMES.iter().zip(self.0);
        counts.map(|(&name, value)| Counter { name, value })
    }
}
