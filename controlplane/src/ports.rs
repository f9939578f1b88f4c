//! Allocation of port numbers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pinecone_fib::PortId;

/// An allocator of port numbers. The lowest free number from 1 is allocated first (protocol section 1).
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// The highest number allocated so far.
    highest: u32,
    free: BinaryHeap<Reverse<u32>>,
}

impl Ports {
    /// Allocates the lowest free number, unless `limit` are in use.
    pub(crate) fn take(&mut self, limit: usize) -> Option<PortId> {
        if self.in_use() >= limit {
            return None;
        }
        if let Some(Reverse(port)) = self.free.pop() {
            return Some(PortId(port));
        }
        self.highest = self.highest.checked_add(1)?;
        Some(PortId(self.highest))
    }

    /// Frees a number.
    pub(crate) fn release(&mut self, port: PortId) {
        self.free.push(Reverse(port.0));
    }

    /// Returns the number of ports in use.
    pub(crate) fn in_use(&self) -> usize {
        self.highest as usize - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_allocated_first() {
        let mut ports = Ports::default();
        let taken: Vec<_> = (0..300).filter_map(|_| ports.take(300)).collect();
        assert_eq!(taken, (1..=300).map(PortId).collect::<Vec<_>>());
        assert_eq!(ports.take(300), None);
        for port in [7, 299, 3] {
            ports.release(PortId(port));
        }
        assert_eq!(ports.in_use(), 297);
        assert_eq!(ports.take(300), Some(PortId(3)));
        assert_eq!(ports.take(300), Some(PortId(7)));
        assert_eq!(ports.take(300), Some(PortId(299)));
        assert_eq!(ports.take(300), None);
    }
}
