//! The owner of each port: written by owners, read by every worker for every frame.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::PortId;

/// Maximum number of workers: their number and a slot share 32 bits.
pub(crate) const MAX_WORKERS: usize = 250;
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
/// Maximum number of ports.
pub(crate) const MAX_PORTS: usize = SLOT_MASK as usize;

/// A table from port number to owner.
pub(crate) struct PortMap(Box<[AtomicU32]>);

/// A port's owner, and its slot there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) worker: usize,
    pub(crate) slot: u32,
}

impl PortMap {
    pub(crate) fn new(max_ports: usize) -> Self {
        // Memory for ports that are never opened is never touched.
        Self(bytemuck::allocation::zeroed_vec(max_ports + 1).into())
    }

    /// Returns the owner of an open port.
    #[inline]
    pub(crate) fn get(&self, port: PortId) -> Option<Owner> {
        let value = self.0.get(port.0 as usize)?.load(Ordering::Relaxed);
        let worker = (value >> SLOT_BITS).checked_sub(1)?;
        Some(Owner {
            worker: worker as usize,
            slot: value & SLOT_MASK,
        })
    }

    /// Reports whether the port number is in range.
    pub(crate) fn covers(&self, port: PortId) -> bool {
        port != PortId::LOCAL && (port.0 as usize) < self.0.len()
    }

    /// Sets the owner of a port.
    pub(crate) fn set(&self, port: PortId, owner: Option<Owner>) {
        let value = owner.map_or(0, |o| {
            (o.worker as u32 + 1) << SLOT_BITS | (o.slot & SLOT_MASK)
        });
        if let Some(entry) = self.0.get(port.0 as usize) {
            entry.store(value, Ordering::Relaxed);
        }
    }
}
