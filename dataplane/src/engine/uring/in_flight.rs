//! Sends without a copy. The kernel keeps reading their frames after a send has completed, until the peer has
//! acknowledged them, and reports the end separately.

/// The sends without a copy that have not finished, by the number in their requests' user data.
#[derive(Default)]
pub(super) struct InFlight {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    count: usize,
}

/// A send without a copy.
struct Entry {
    /// The slot of the send, until the send has completed.
    slot: Option<u32>,
    /// The frames, once the send has completed; until then the slot has them.
    frames: Vec<Box<[u8]>>,
    /// True if the kernel has finished reading before the send has completed.
    finished_early: bool,
}

impl InFlight {
    /// Begins a send of a slot, and returns its number.
    pub(super) fn begin(&mut self, slot: u32) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            (self.entries.len() - 1) as u32
        });
        self.entries[id as usize] = Some(Entry {
            slot: Some(slot),
            frames: Vec::new(),
            finished_early: false,
        });
        self.count += 1;
        id
    }

    /// Records that a send has completed, and returns its slot; `None` if that was recorded before.
    pub(super) fn sent(&mut self, id: u32) -> Option<u32> {
        self.entries[id as usize].as_mut()?.slot.take()
    }

    /// Keeps the frames of a send that has completed until the kernel has finished reading them.
    pub(super) fn keep(&mut self, id: u32, frames: Vec<Box<[u8]>>) {
        match &mut self.entries[id as usize] {
            Some(entry) if !entry.finished_early => entry.frames = frames,
            _ => self.end(id),
        }
    }

    /// Records that the kernel has finished reading.
    pub(super) fn finished(&mut self, id: u32) {
        match &mut self.entries[id as usize] {
            Some(entry) if entry.slot.is_some() => entry.finished_early = true,
            _ => self.end(id),
        }
    }

    /// Ends a send of which no frame is kept.
    pub(super) fn end(&mut self, id: u32) {
        if self.entries[id as usize].take().is_some() {
            self.free.push(id);
            self.count -= 1;
        }
    }

    /// Returns the number of sends whose frames the kernel may still read.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::InFlight;

    #[test]
    fn a_number_is_reused_when_the_kernel_has_finished() {
        let mut sends = InFlight::default();
        let (a, b) = (sends.begin(7), sends.begin(8));
        assert_eq!((sends.sent(a), sends.sent(b)), (Some(7), Some(8)));
        assert_eq!(sends.sent(a), None);
        sends.keep(a, vec![Box::new([1])]);
        assert_eq!(sends.count(), 2);
        sends.finished(a);
        sends.finished(a);
        assert_eq!(sends.count(), 1);
        assert_eq!(sends.begin(9), a);
        assert_eq!((sends.sent(a), sends.sent(b)), (Some(9), None));
    }

    #[test]
    fn completion_is_noted_also_after_the_kernel_has_finished() {
        let mut sends = InFlight::default();
        let a = sends.begin(7);
        sends.finished(a);
        assert_ne!(sends.begin(8), a);
        assert_eq!(sends.sent(a), Some(7));
        sends.keep(a, vec![Box::new([1])]);
        assert_eq!(sends.count(), 1);
    }
}
