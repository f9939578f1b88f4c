//! Detection of roots that flap: that appear and disappear too often.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pinecone_wire::PublicKey;

use crate::Config;

/// Maximum number of roots that are remembered. Beyond it the one that was lost longest ago is forgotten.
const MAX_ROOTS: usize = 64;

/// The roots that the node has recently lost to lower ones.
///
/// Each time a root appears and disappears, all nodes move and all routes are set up anew. So a root that was lost
/// [`max_root_flaps`](Config) times within the window is held back: no peer is taken as the parent for its sake for a
/// while, which doubles with every further loss. If the parent itself follows that root, the node does so too, as it
/// would be cut off from the parent otherwise.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    roots: BTreeMap<PublicKey, VecDeque<Duration>>,
}

impl Flaps {
    /// Records that `root` was lost: no peer leads to it any more.
    pub(super) fn lost(&mut self, now: Duration, root: PublicKey, config: &Config) {
        self.expire(now, config);
        let losses = self.roots.entry(root).or_default();
        // More losses than make the longest hold are not needed.
        if losses.len() > config.max_root_flaps.saturating_add(32) {
            losses.pop_front();
        }
        losses.push_back(now);
        if self.roots.len() > MAX_ROOTS {
            let longest_ago = |(_, losses): &(_, &VecDeque<_>)| losses.back().copied();
            let oldest = self.roots.iter().min_by_key(longest_ago);
            if let Some(root) = oldest.map(|(root, _)| *root) {
                self.roots.remove(&root);
            }
        }
    }

    /// Returns the time until which `root` is held back, if it is.
    pub(super) fn held(
        &self,
        now: Duration,
        root: &PublicKey,
        config: &Config,
    ) -> Option<Duration> {
        let losses = self.roots.get(root)?;
        let last = *losses.back()?;
        let recent = |at: &&Duration| **at + config.root_flap_window > now;
        let count = losses.iter().filter(recent).count();
        let beyond = count.checked_sub(config.max_root_flaps)?;
        let doubled = 1u32.checked_shl(beyond as u32).unwrap_or(u32::MAX);
        let hold = config.root_change_delay.saturating_mul(doubled);
        let until = last + hold.min(config.root_flap_hold);
        (now < until).then_some(until)
    }

    /// Forgets all roots.
    pub(super) fn clear(&mut self) {
        self.roots.clear();
    }

    /// Forgets losses before the window.
    fn expire(&mut self, now: Duration, config: &Config) {
        self.roots.retain(|_, losses| {
            while losses
                .front()
                .is_some_and(|at| *at + config.root_flap_window <= now)
            {
                losses.pop_front();
            }
            !losses.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PublicKey = PublicKey([1; 32]);

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_hold_doubles_up_to_its_limit_and_expires() {
        let config = Config {
            max_root_flaps: 3,
            root_flap_window: secs(600),
            root_change_delay: secs(10),
            root_flap_hold: secs(60),
            ..Config::default()
        };
        let mut flaps = Flaps::default();
        let mut holds = Vec::new();
        for n in 1..=8 {
            let now = secs(n);
            flaps.lost(now, A, &config);
            let until = flaps.held(now, &A, &config);
            holds.push(until.map_or(0, |until| (until - now).as_secs()));
            assert_eq!(flaps.held(now, &PublicKey([2; 32]), &config), None);
        }
        assert_eq!(holds, [0, 0, 10, 20, 40, 60, 60, 60]);
        assert_eq!(flaps.held(secs(67), &A, &config), Some(secs(68)));
        assert_eq!(flaps.held(secs(68), &A, &config), None);
        // Ten minutes after the first six losses, two are left in the window.
        flaps.lost(secs(606), A, &config);
        assert_eq!(flaps.held(secs(606), &A, &config), Some(secs(616)));
        flaps.clear();
        assert_eq!(flaps.held(secs(606), &A, &config), None);
    }

    #[test]
    fn the_number_of_roots_is_bounded() {
        let config = Config::default();
        let mut flaps = Flaps::default();
        for n in 0..200 {
            for _ in 0..100 {
                flaps.lost(secs(n), PublicKey([n as u8; 32]), &config);
            }
        }
        assert_eq!(flaps.roots.len(), MAX_ROOTS);
        let most = flaps.roots.values().map(VecDeque::len).max().unwrap();
        assert!(most <= config.max_root_flaps + 33, "{most}");
        assert!(flaps.roots.contains_key(&PublicKey([199; 32])));
        assert!(!flaps.roots.contains_key(&PublicKey([100; 32])));
    }
}
