//! A histogram of times, with buckets at most 1/64 of their value wide.

use std::time::Duration;

/// Binary logarithm of the number of buckets between two powers of two.
const BITS: u32 = 6;
const SUB: usize = 1 << BITS;
/// Covers 2^42 ns, more than an hour. Longer times are counted in the last bucket.
const BUCKETS: usize = (42 - BITS as usize + 1) * SUB;

/// Counts of durations, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts a time.
    #[inline]
    pub(crate) fn record(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(ns);
    }

    /// Adds the counts of another histogram.
    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// Returns the quantile at `share` (0 to 1), accurate to 1/64.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = ((share * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(last_of(i).min(self.max));
            }
        }
        self.max()
    }
}

#[inline]
fn bucket(ns: u64) -> usize {
    if ns < SUB as u64 {
        return ns as usize;
    }
    let shift = ns.ilog2() - BITS;
    let index = (shift as usize + 1) * SUB + (ns >> shift) as usize - SUB;
    index.min(BUCKETS - 1)
}

/// Returns the longest time in bucket `index`.
fn last_of(index: usize) -> u64 {
    let (row, column) = (index / SUB, (index % SUB) as u64);
    match row.checked_sub(1) {
        None => column,
        Some(shift) => ((SUB as u64 + column + 1) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_of_known_times() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for us in 1..=1000 {
            histogram.record(us * 1000);
        }
        for (share, us) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = histogram.quantile(share).as_nanos() as f64 / 1000.0;
            assert!((us..us * 1.016).contains(&found), "{share}: {found}");
        }
        assert_eq!(histogram.quantile(1.0), Duration::from_millis(1));
        assert_eq!((histogram.count(), histogram.max().as_millis()), (1000, 1));
        let mut other = Histogram::default();
        other.record(u64::MAX);
        histogram.add(&other);
        assert_eq!(histogram.count(), 1001);
        assert_eq!(histogram.max(), Duration::from_nanos(u64::MAX));
    }

    proptest! {
        #[test]
        fn every_time_is_in_a_bucket_close_above_it(ns in 0..1u64 << 42) {
            let last = last_of(bucket(ns));
            prop_assert!(last >= ns && last - ns <= ns / 64, "{ns} {last}");
            prop_assert_eq!(bucket(last), bucket(ns));
            prop_assert_eq!(bucket(last + 1), (bucket(ns) + 1).min(BUCKETS - 1));
        }
    }
}
