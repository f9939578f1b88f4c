//! Accounting of the frames of each flow by their sequence numbers.

/// Sums over all flows of one or more sinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Frames that arrived, without duplicates.
    pub(crate) received: u64,
    /// Frames that have not arrived although a later one of their flow has.
    pub(crate) missing: u64,
    /// Frames that arrived after a later one of their flow.
    pub(crate) reordered: u64,
    /// Frames that arrived again. Recognized among the last 64 of a flow; older ones count as reordered.
    pub(crate) duplicates: u64,
    /// Frames that arrived but were not read: counted as received, and missing in their flows.
    pub(crate) skipped: u64,
}

/// The flows of one sink.
#[derive(Debug)]
pub(crate) struct Account {
    flows: Vec<Flow>,
    totals: Totals,
}

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// The lowest sequence number above all that arrived.
    next: u64,
    /// A bit for each of the 64 sequence numbers below `next`, the highest in bit 0.
    came: u64,
}

impl Account {
    pub(crate) fn new(flows: usize) -> Self {
        Self {
            flows: vec![Flow::default(); flows],
            totals: Totals::default(),
        }
    }

    /// Counts a frame. Returns false if there is no such flow.
    #[inline]
    pub(crate) fn record(&mut self, flow: usize, sequence: u64) -> bool {
        let Some(flow) = self.flows.get_mut(flow) else {
            return false;
        };
        let totals = &mut self.totals;
        if let Some(skipped) = sequence.checked_sub(flow.next) {
            totals.missing += skipped;
            flow.came = match skipped {
                0..63 => flow.came << (skipped + 1) | 1,
                _ => 1,
            };
            flow.next = sequence + 1;
        } else {
            let back = flow.next - 1 - sequence;
            if back < 64 {
                if flow.came & 1 << back != 0 {
                    totals.duplicates += 1;
                    return true;
                }
                flow.came |= 1 << back;
            }
            totals.reordered += 1;
            totals.missing = totals.missing.saturating_sub(1);
        }
        totals.received += 1;
        true
    }

    /// Counts frames that were not read.
    pub(crate) fn skip(&mut self, frames: u64) {
        self.totals.received += frames;
        self.totals.skipped += frames;
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.missing += other.missing;
        self.reordered += other.reordered;
        self.duplicates += other.duplicates;
        self.skipped += other.skipped;
    }

    /// Returns the number of lost frames: the missing ones without the skipped ones. Negative while skipped
    /// frames are not yet known to be missing.
    pub(crate) fn lost(&self) -> i64 {
        self.missing as i64 - self.skipped as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Passes,
        Lost,
        Twice,
        /// Arrives this many frames later.
        Late(usize),
    }

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            12 => Just(Fate::Passes),
            2 => Just(Fate::Lost),
            1 => Just(Fate::Twice),
            1 => (1..40usize).prop_map(Fate::Late),
        ]
    }

    /// Returns what arrives of a flow over a channel with these fates.
    fn channel(fates: &[Fate]) -> Vec<u64> {
        let mut arrivals = Vec::new();
        for (i, fate) in fates.iter().enumerate() {
            let sequence = i as u64;
            match fate {
                Fate::Passes => arrivals.push((i, sequence)),
                Fate::Lost => {}
                Fate::Twice => arrivals.extend([(i, sequence); 2]),
                Fate::Late(by) => arrivals.push((i + by, sequence)),
            }
        }
        arrivals.sort_by_key(|(at, _)| *at);
        arrivals.into_iter().map(|(_, sequence)| sequence).collect()
    }

    proptest! {
        #[test]
        fn loss_reordering_and_duplicates_are_counted(
            flows in prop::collection::vec(prop::collection::vec(fate(), 0..300), 1..4),
        ) {
            let mut account = Account::new(flows.len());
            let mut expected = Totals::default();
            for (flow, fates) in flows.iter().enumerate() {
                let mut seen = std::collections::BTreeSet::new();
                for sequence in channel(fates) {
                    let late = seen.last().is_some_and(|last| sequence < *last);
                    match seen.insert(sequence) {
                        true => expected.reordered += u64::from(late),
                        false => expected.duplicates += 1,
                    }
                    prop_assert!(account.record(flow, sequence));
                }
                expected.received += seen.len() as u64;
                expected.missing += seen.last().map_or(0, |last| last + 1) - seen.len() as u64;
            }
            prop_assert_eq!(account.totals(), expected);
            prop_assert!(!account.record(flows.len(), 0));
        }
    }

    #[test]
    fn long_gaps_and_old_frames() {
        let mut account = Account::new(1);
        for sequence in [0, 63, 127, 1000, 1063, 1001, 1000, 5] {
            assert!(account.record(0, sequence));
        }
        let expected = Totals {
            received: 7,
            missing: 1064 - 7,
            reordered: 2,
            duplicates: 1,
            skipped: 0,
        };
        assert_eq!(account.totals(), expected);
        account.skip(1064 - 7 - 3);
        let totals = account.totals();
        assert_eq!((totals.received, totals.lost()), (1061, 3));
    }
}
