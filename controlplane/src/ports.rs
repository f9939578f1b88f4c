use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pinecone_fib::PortId;

/// Port numbers: the lowest free one from 1 is given first (protocol section 1).
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// The highest number given so far.
    highest: u32,
    free: BinaryHeap<Reverse<u32>>,
}

impl Ports {
    /// Takes the lowest free number, unless `limit` are taken.
    pub(crate) fn take(&mut self, limit: usize) -> Option<PortId> {
        if self.taken() >= limit {
            return None;
        }
        if let Some(Reverse(port)) = self.free.pop() {
            return Some(PortId(port));
        }
        self.highest = self.highest.checked_add(1)?;
        Some(PortId(self.highest))
    }

    /// Gives a taken number back.
    pub(crate) fn give_back(&mut self, port: PortId) {
        self.free.push(Reverse(port.0));
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.highest as usize - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_given_first() {
        let mut ports = Ports::default();
        let taken: Vec<_> = (0..300).filter_map(|_| ports.take(300)).collect();
        assert_eq!(taken, (1..=300).map(PortId).collect::<Vec<_>>());
        assert_eq!(ports.take(300), None);
        for port in [7, 299, 3] {
            ports.give_back(PortId(port));
        }
        assert_eq!(ports.taken(), 297);
        assert_eq!(ports.take(300), Some(PortId(3)));
        assert_eq!(ports.take(300), Some(PortId(7)));
        assert_eq!(ports.take(300), Some(PortId(299)));
        assert_eq!(ports.take(300), None);
    }
}
