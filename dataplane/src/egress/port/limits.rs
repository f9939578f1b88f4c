//! Bounds of the frames that may wait at the ports of a worker.

use std::cell::Cell;
use std::rc::Rc;

use crate::LinkType;
use crate::options::DataPlaneOptions;
use crate::queue::QueueLimits;

/// Maximum number of frames that wait for a Bluetooth peering: 16 flows of 16, as in the deployed
/// nodes (protocol section 7).
const BLUETOOTH_FRAMES: usize = 16 * 16;

/// Bounds of the frames that may wait at the ports of a worker.
pub(in crate::egress) struct Limits {
    queue: QueueLimits,
    pub(super) protocol: usize,
    pub(super) total: Rc<Total>,
}

/// Bytes of traffic that wait at all ports of a worker.
pub(super) struct Total {
    bytes: Cell<usize>,
    limit: usize,
}

impl Limits {
    pub(in crate::egress) fn new(options: &DataPlaneOptions) -> Self {
        let queue = QueueLimits {
            bytes: options.port_queue_bytes,
            frames: usize::MAX,
            delay: options.queue_delay.map(|d| d.as_millis() as u64),
        };
        let total = Total {
            bytes: Cell::new(0),
            limit: options.queue_bytes / options.workers.max(1),
        };
        Self {
            queue,
            protocol: options.port_protocol_bytes,
            total: Rc::new(total),
        }
    }

    /// Returns the limits of the queue of a port.
    pub(super) fn queue_of(&self, link: LinkType) -> QueueLimits {
        match link {
            LinkType::Bluetooth => QueueLimits {
                frames: BLUETOOTH_FRAMES,
                ..self.queue
            },
            _ => self.queue,
        }
    }
}

impl Total {
    /// Records that a port had `before` bytes waiting and now has `after`.
    pub(super) fn change(&self, before: usize, after: usize) {
        self.bytes.set(self.bytes.get() + after - before);
    }

    /// Returns the number of bytes that the other ports leave to one with `own` bytes waiting.
    pub(super) fn room(&self, own: usize) -> usize {
        self.limit.saturating_sub(self.bytes.get() - own)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.get()
    }
}
