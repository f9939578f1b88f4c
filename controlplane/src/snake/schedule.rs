//! The schedule of the node's own bootstraps.

use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::PublicKey;
use pinecone_wire::timing::BOOTSTRAP_INTERVAL;

use crate::rib::BootstrapHop;

/// Delays between the bootstraps that follow the first one after a change.
const EAGER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// The times of the node's last bootstrap and of its next.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// The maintenance at which the node last bootstrapped. None: it must bootstrap at the next one.
    last: Option<Duration>,
    /// The port that the last bootstrap was sent out of, and the key that it was led towards.
    ascending: Option<(PortId, PublicKey)>,
    /// Number of further bootstraps that are sent sooner than at the regular interval.
    eager: usize,
}

impl Schedule {
    /// Schedules a bootstrap for the next maintenance, because something changed.
    pub(super) fn soon(&mut self) {
        self.last = None;
        self.eager = EAGER.len();
    }

    /// Reports whether the node must bootstrap at the maintenance that was due at `due`, and records it if so. `hop` is
    /// the way that its bootstrap would take.
    pub(super) fn take(&mut self, due: Duration, hop: &BootstrapHop) -> bool {
        let ascending = Some((hop.port, hop.watermark.key));
        if self.ascending != ascending {
            // A better way up is a change like others. Waiting for the regular interval would cost a round at every
            // node.
            self.soon();
        }
        let gap = self.gap();
        if self.last.is_some_and(|last| due.saturating_sub(last) < gap) {
            return false;
        }
        if self.last.is_some() {
            self.eager = self.eager.saturating_sub(1);
        }
        self.last = Some(due);
        self.ascending = ascending;
        true
    }

    /// Returns the time between the last bootstrap and the next.
    fn gap(&self) -> Duration {
        let passed = EAGER.len() - self.eager.min(EAGER.len());
        EAGER.get(passed).copied().unwrap_or(BOOTSTRAP_INTERVAL)
    }
}
