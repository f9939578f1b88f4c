//! A rate limit on forwarded broadcasts that is fair between their sources.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use pinecone_wire::PublicKey;
use pinecone_wire::timing::{BROADCAST_INTERVAL, BROADCAST_MEMORY};

/// Maximum number of sources recorded as served in a round, and as waiting.
const MAX_SOURCES: usize = 16_384;

/// A token bucket for forwarded broadcasts that fills up in a minute.
///
/// Below the limit every broadcast is forwarded. Above it, a source that has been served in the current round is served
/// again only from what the waiting sources leave over. When no source waits, the next round begins. So the sources
/// whose broadcasts arrive first in a minute do not win every time.
#[derive(Debug)]
pub(crate) struct BroadcastBudget {
    /// The budget at the time `at`, expressed as the time in which it accrues.
    budget: Duration,
    at: Duration,
    /// Sources served in this round.
    served: HashSet<PublicKey>,
    /// Sources that were held back and not served in this round, with the time at which that last happened.
    waiting: HashMap<PublicKey, Duration>,
    /// The time at which sources that no longer wait were last removed.
    swept: Duration,
}

impl Default for BroadcastBudget {
    fn default() -> Self {
        Self {
            budget: BROADCAST_INTERVAL,
            at: Duration::ZERO,
            served: HashSet::new(),
            waiting: HashMap::new(),
            swept: Duration::ZERO,
        }
    }
}

impl BroadcastBudget {
    /// Reports whether a broadcast of `source` may be forwarded, with at most `limit` a minute, and spends the
    /// budget if so.
    pub(crate) fn take(&mut self, now: Duration, source: PublicKey, limit: usize) -> bool {
        self.budget = (self.budget + now.saturating_sub(self.at)).min(BROADCAST_INTERVAL);
        self.at = self.at.max(now);
        if now >= self.swept + BROADCAST_INTERVAL {
            self.swept = now;
            self.waiting
                .retain(|_, last| now < *last + BROADCAST_MEMORY);
        }
        let cost = BROADCAST_INTERVAL / u32::try_from(limit).unwrap_or(u32::MAX).max(1);
        let over = self.waiting.is_empty() || self.served.len() >= MAX_SOURCES;
        if over && self.served.contains(&source) {
            self.served.clear();
        }
        if self.served.contains(&source) {
            let reserved = cost.saturating_mul(self.waiting.len() as u32);
            if self.budget < cost.saturating_add(reserved) {
                return false;
            }
        } else if self.budget < cost {
            if self.waiting.len() < MAX_SOURCES || self.waiting.contains_key(&source) {
                self.waiting.insert(source, now);
            }
            return false;
        }
        self.waiting.remove(&source);
        if self.served.len() < MAX_SOURCES {
            self.served.insert(source);
        }
        self.budget -= cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn source(n: u64) -> PublicKey {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        PublicKey(key)
    }

    /// Simulates `sources` that broadcast once a minute, always in the same order and spread over `within`.
    /// Returns how often each was forwarded, and the most that were in one minute.
    fn served(sources: u64, minutes: u64, within: Duration) -> (Vec<u64>, u64) {
        let mut budget = BroadcastBudget::default();
        let mut counts: BTreeMap<u64, u64> = (0..sources).map(|n| (n, 0)).collect();
        let mut most = 0;
        for minute in 0..minutes {
            let mut passed = 0;
            for n in 0..sources {
                let at = BROADCAST_INTERVAL * minute as u32 + within * n as u32 / sources as u32;
                if budget.take(at, source(n), 64) {
                    passed += 1;
                    *counts.entry(n).or_default() += 1;
                }
            }
            most = most.max(passed);
        }
        (counts.into_values().collect(), most)
    }

    #[test]
    fn below_the_limit_all_are_forwarded() {
        for within in [Duration::ZERO, Duration::from_secs(20), BROADCAST_INTERVAL] {
            for sources in [1, 33, 64] {
                let (counts, _) = served(sources, 10, within);
                assert!(counts.iter().all(|n| *n == 10), "{sources}: {counts:?}");
            }
        }
    }

    #[test]
    fn above_the_limit_all_sources_are_served() {
        for within in [Duration::ZERO, Duration::from_secs(20), BROADCAST_INTERVAL] {
            for sources in [65, 100, 640, 1_785] {
                let minutes = 300;
                let (counts, most) = served(sources, minutes, within);
                // The first minute starts with a full budget, and more accrues during it.
                assert!(most <= 2 * 64, "{sources}: {most} in a minute");
                let all: u64 = counts.iter().sum();
                assert!(all <= 64 * (minutes + 1), "{sources}: {all}");
                let fair = all / sources;
                let least = counts.iter().min().unwrap();
                assert!(
                    *least >= 1 && 2 * least >= fair,
                    "{sources}: {least} of {fair}"
                );
            }
        }
    }

    #[test]
    fn sources_that_are_gone_do_not_block_others() {
        let mut budget = BroadcastBudget::default();
        for n in 0..1_000 {
            budget.take(Duration::ZERO, source(n), 64);
        }
        for minute in 4..10 {
            assert!(
                budget.take(BROADCAST_INTERVAL * minute, source(1), 64),
                "{minute}"
            );
        }
    }

    #[test]
    fn the_number_of_recorded_sources_is_bounded() {
        let mut budget = BroadcastBudget::default();
        for n in 0..3 * MAX_SOURCES as u64 {
            budget.take(BROADCAST_INTERVAL / 64 * n as u32, source(n), 64);
            assert!(budget.served.len() <= MAX_SOURCES);
            budget.take(Duration::ZERO, source(n), 1);
            assert!(budget.waiting.len() <= MAX_SOURCES);
        }
    }
}
