//! Packet filters, which are the application's code on worker threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::PortId;

/// A filter that sees every traffic frame on its way in, before it is routed. Called on worker threads: it must
/// be quick, and never block.
///
/// A filter that panics is taken out: the frame is dropped, and all later ones pass.
pub trait PacketFilter: Send + Sync {
    /// Returns whether the frame may go on.
    fn pass(&self, ingress: PortId, frame: &[u8]) -> bool;
}

/// A filter as workers call it, shared by all of them.
pub(crate) struct GuardedFilter {
    filter: Arc<dyn PacketFilter>,
    panicked: AtomicBool,
}

impl GuardedFilter {
    pub(crate) fn new(filter: Arc<dyn PacketFilter>) -> Self {
        Self {
            filter,
            panicked: AtomicBool::new(false),
        }
    }

    /// Returns whether the frame may go on.
    #[inline]
    pub(crate) fn pass(&self, ingress: PortId, frame: &[u8]) -> bool {
        if self.panicked.load(Ordering::Relaxed) {
            return true;
        }
        // After a panic, the filter is not called again.
        let call = AssertUnwindSafe(|| self.filter.pass(ingress, frame));
        catch_unwind(call).unwrap_or_else(|_| {
            if !self.panicked.swap(true, Ordering::Relaxed) {
                tracing::error!("the packet filter panicked and is taken out: frames pass unseen");
            }
            false
        })
    }
}
