/// Frames by what has become of them, summed over flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames that arrived, without duplicates.
    pub received: u64,
    /// Frames that have not arrived although a later one of their flow has.
    pub missing: u64,
    /// Frames that arrived after a later one of their flow.
    pub reordered: u64,
    /// Frames that arrived again. Recognized among the last 64 of a flow; older ones count as reordered.
    pub duplicates: u64,
    /// Frames that arrived but were not read: counted as received, and missing in their flows.
    pub skipped: u64,
}

/// The place of an arriving frame among those of its flow, by its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// No later frame of its flow has arrived before.
    InOrder,
    /// A later frame of its flow has arrived before.
    Reordered,
    /// The frame itself has arrived before.
    Duplicate,
}

/// The accounting of the frames of several flows. In each flow, sequence numbers begin with 0.
///
/// ```
/// use pinecone_load::{Arrival, FlowAccount};
///
/// let mut account = FlowAccount::new(2);
/// assert_eq!(account.record(1, 0), Some(Arrival::InOrder));
/// assert_eq!(account.record(1, 2), Some(Arrival::InOrder));
/// assert_eq!(account.totals().missing, 1);
/// assert_eq!(account.record(1, 1), Some(Arrival::Reordered));
/// assert_eq!(account.totals().missing, 0);
/// ```
#[derive(Clone, Debug)]
pub struct FlowAccount {
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

impl FlowAccount {
    /// Creates the account of this many flows.
    #[must_use]
    pub fn new(flows: usize) -> Self {
        Self {
            flows: vec![Flow::default(); flows],
            totals: Totals::default(),
        }
    }

    /// Counts a frame. Returns `None` if there is no such flow.
    #[inline]
    pub fn record(&mut self, flow: usize, sequence: u64) -> Option<Arrival> {
        let flow = self.flows.get_mut(flow)?;
        let totals = &mut self.totals;
        let arrival;
        if let Some(skipped) = sequence.checked_sub(flow.next) {
            totals.missing += skipped;
            flow.came = match skipped {
                0..63 => flow.came << (skipped + 1) | 1,
                _ => 1,
            };
            flow.next = sequence + 1;
            arrival = Arrival::InOrder;
        } else {
            let back = flow.next - 1 - sequence;
            if back < 64 {
                if flow.came & 1 << back != 0 {
                    totals.duplicates += 1;
                    return Some(Arrival::Duplicate);
                }
                flow.came |= 1 << back;
            }
            totals.reordered += 1;
            totals.missing = totals.missing.saturating_sub(1);
            arrival = Arrival::Reordered;
        }
        totals.received += 1;
        Some(arrival)
    }

    /// Counts frames that were not read.
    pub fn skip(&mut self, frames: u64) {
        self.totals.received += frames;
        self.totals.skipped += frames;
    }

    /// Returns the sums over all flows.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

impl Totals {
    /// Adds the totals of other flows.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.missing += other.missing;
        self.reordered += other.reordered;
        self.duplicates += other.duplicates;
        self.skipped += other.skipped;
    }

    /// Returns the number of lost frames: the missing ones without the skipped ones. Negative while skipped
    /// frames are not yet known to be missing.
    #[must_use]
    pub fn lost(&self) -> i64 {
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
            let mut account = FlowAccount::new(flows.len());
            let mut expected = Totals::default();
            for (flow, fates) in flows.iter().enumerate() {
                let mut seen = std::collections::BTreeSet::new();
                for sequence in channel(fates) {
                    let late = seen.last().is_some_and(|last| sequence < *last);
                    let arrival = match (seen.insert(sequence), late) {
                        (true, false) => Arrival::InOrder,
                        (true, true) => Arrival::Reordered,
                        (false, _) => Arrival::Duplicate,
                    };
                    expected.reordered += u64::from(arrival == Arrival::Reordered);
                    expected.duplicates += u64::from(arrival == Arrival::Duplicate);
                    prop_assert_eq!(account.record(flow, sequence), Some(arrival));
                }
                expected.received += seen.len() as u64;
                expected.missing += seen.last().map_or(0, |last| last + 1) - seen.len() as u64;
            }
            prop_assert_eq!(account.totals(), expected);
            prop_assert_eq!(account.record(flows.len(), 0), None);
        }
    }

    #[test]
    fn long_gaps_and_old_frames() {
        let mut account = FlowAccount::new(1);
        for sequence in [0, 63, 127, 1000, 1063, 1001, 1000, 5] {
            assert!(account.record(0, sequence).is_some());
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
