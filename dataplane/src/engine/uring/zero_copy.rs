//! Sends that the kernel makes from where the bytes lie. It goes on reading them after the send is
//! over, until the peer has acknowledged them, and then says so.

/// Memory that the kernel may read, by the number that its requests carry.
#[derive(Default)]
pub(super) struct Lent {
    entries: Vec<Option<Loan>>,
    free: Vec<u32>,
    count: usize,
}

/// One send.
pub(super) struct Loan {
    /// The slot that it is of, as long as it is not over.
    slot: Option<u32>,
    /// The frames, once it is over; until then the slot has them.
    frames: Vec<Box<[u8]>>,
    /// The kernel has let go of the frames before it said that the send is over.
    early: bool,
}

impl Lent {
    /// Begins a send of this slot, and numbers it.
    pub(super) fn begin(&mut self, slot: u32) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            (self.entries.len() - 1) as u32
        });
        self.entries[id as usize] = Some(Loan {
            slot: Some(slot),
            frames: Vec::new(),
            early: false,
        });
        self.count += 1;
        id
    }

    /// The send is over: which slot it is of. Nothing if that was said before.
    pub(super) fn over(&mut self, id: u32) -> Option<u32> {
        self.entries[id as usize].as_mut()?.slot.take()
    }

    /// Keeps frames of a send that is over until the kernel lets go of them.
    pub(super) fn keep(&mut self, id: u32, frames: Vec<Box<[u8]>>) {
        match &mut self.entries[id as usize] {
            Some(loan) if !loan.early => loan.frames = frames,
            _ => self.end(id),
        }
    }

    /// The kernel has let go.
    pub(super) fn let_go(&mut self, id: u32) {
        match &mut self.entries[id as usize] {
            Some(loan) if loan.slot.is_some() => loan.early = true,
            _ => self.end(id),
        }
    }

    /// The send is over and nothing of it is kept.
    pub(super) fn end(&mut self, id: u32) {
        if self.entries[id as usize].take().is_some() {
            self.free.push(id);
            self.count -= 1;
        }
    }

    /// Sends that the kernel has not let go of.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::Lent;

    #[test]
    fn a_number_is_free_again_when_the_kernel_has_let_go() {
        let mut lent = Lent::default();
        let (a, b) = (lent.begin(7), lent.begin(8));
        assert_eq!((lent.over(a), lent.over(b)), (Some(7), Some(8)));
        assert_eq!(lent.over(a), None);
        lent.keep(a, vec![Box::new([1])]);
        assert_eq!(lent.count(), 2);
        lent.let_go(a);
        lent.let_go(a);
        assert_eq!(lent.count(), 1);
        assert_eq!(lent.begin(9), a);
        assert_eq!((lent.over(a), lent.over(b)), (Some(9), None));
    }

    #[test]
    fn a_send_is_told_to_be_over_whenever_the_kernel_lets_go() {
        let mut lent = Lent::default();
        let a = lent.begin(7);
        lent.let_go(a);
        assert_ne!(lent.begin(8), a);
        assert_eq!(lent.over(a), Some(7));
        lent.keep(a, vec![Box::new([1])]);
        assert_eq!(lent.count(), 1);
    }
}
