//! Roots that come and go too often are held back, so that nobody re-parents without end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::PublicKey;

use crate::{Config, ControlPlane};

/// Roots that are remembered; the one that was lost longest ago is forgotten first.
const MAX_ROOTS: usize = 64;

/// Roots that were lost for lower ones, and may come back only to be lost again.
///
/// Each time a root comes and goes, all nodes move and all routes are set up anew. So one that was
/// lost [`max_root_flaps`](Config) times within the window is held: no peer is taken as the parent
/// for it for a while, which doubles with every further loss. It is followed to where the parent
/// goes all the same: to stay behind would cut us off from the parent.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    roots: BTreeMap<PublicKey, VecDeque<Duration>>,
}

impl Flaps {
    /// `root` was lost: there is no way to it any more.
    pub(super) fn lost(&mut self, now: Duration, root: PublicKey, config: &Config) {
        self.forget(now, config);
        let losses = self.roots.entry(root).or_default();
        // As many as make the longest hold, and no more.
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

    /// Until when `root` is held, if it is.
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

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.roots.clear();
    }

    fn forget(&mut self, now: Duration, config: &Config) {
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

impl ControlPlane {
    /// Whether the root that a peer follows comes and goes too often to take that peer as the
    /// parent now.
    pub(super) fn is_held(&mut self, port: PortId) -> bool {
        let announced = self.rib.announced(port);
        let Some(root) = announced.map(|announced| announced.announcement.root()) else {
            return false;
        };
        let held = self.held_until(&root);
        if let Some(until) = held {
            self.counters.root_flaps_damped += 1;
            self.defer(until);
        }
        held.is_some()
    }

    pub(super) fn held_until(&self, root: &PublicKey) -> Option<Duration> {
        // Among those who follow where we are already, any may be the parent.
        if *root <= self.tree.position.root {
            return None;
        }
        let now = self.now.monotonic;
        self.tree.flaps.held(now, root, &self.config)
    }

    pub(super) fn defer(&mut self, until: Duration) {
        let earlier = self.tree.deferred.filter(|at| *at <= until);
        self.tree.deferred = Some(earlier.unwrap_or(until));
    }

    /// Takes note of the root that we follow now, after any waiting.
    pub(super) fn settle_root(&mut self) {
        let root = self.tree.position.root;
        let before = std::mem::replace(&mut self.tree.settled_root, root);
        if before > root {
            let now = self.now.monotonic;
            self.tree.flaps.lost(now, before, &self.config);
        }
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
    fn the_hold_doubles_up_to_its_limit_and_is_forgotten() {
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
        // Ten minutes after the first six there are two left.
        flaps.lost(secs(606), A, &config);
        assert_eq!(flaps.held(secs(606), &A, &config), Some(secs(616)));
        flaps.clear();
        assert_eq!(flaps.held(secs(606), &A, &config), None);
    }

    #[test]
    fn made_up_roots_do_not_pile_up() {
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
