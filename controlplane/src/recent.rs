//! The most recent bootstraps, kept so that they can be handed over to a new neighbour of their key.

use std::collections::VecDeque;
use std::time::Duration;

use pinecone_wire::{PublicKey, Signature, SignedBody};

use crate::rib::Route;

/// Time for which a bootstrap may be handed over to a new neighbour of its key. The route that it then sets up may
/// outlive, by up to this, the routes that lead there.
pub(crate) const HAND_OVER: Duration = Duration::from_millis(1500);
/// Maximum number of bootstraps kept. Beyond it the oldest is dropped.
const MAX: usize = 49_152;

/// The bootstraps accepted within the last [`HAND_OVER`] under the current root.
///
/// Every bootstrap is kept and few are read again. So an entry does not repeat what the route of its key holds, and
/// lookups do not search: the route stores the place of its last bootstrap. Signatures take most of the memory, so
/// only the last bootstrap of each key keeps one.
#[derive(Debug, Default)]
pub(crate) struct RecentBootstraps {
    entries: VecDeque<Entry>,
    /// The place of the first entry. Places are consecutive and wrap around.
    first: u32,
    signatures: Vec<Signature>,
    /// Unused places in `signatures`.
    free: Vec<u32>,
    /// The root of all entries.
    root: (PublicKey, u64),
}

#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Entry {
    /// Time of arrival in nanoseconds.
    came: u64,
    /// Index of its signature, [`UNSIGNED`], or [`NONE`] if a later bootstrap of its key has superseded it.
    signature: u32,
}

const NONE: u32 = u32::MAX;
/// Sentinel for a signature of zeros. In networks simulated without signatures all are, and take no memory.
const UNSIGNED: u32 = u32::MAX - 1;
/// The signature that [`UNSIGNED`] represents.
const ZEROS: Signature = Signature([0; 64]);

impl RecentBootstraps {
    /// Adds an accepted bootstrap. Returns its place, for [`Route::recent`].
    pub(crate) fn push(&mut self, now: Duration, body: &SignedBody) -> u32 {
        let root = (body.root, body.root_sequence);
        if self.root != root {
            self.root = root;
            self.drop_first(self.entries.len());
        }
        self.expire(now);
        if self.entries.len() >= MAX {
            self.drop_first(1);
        }
        let signature = self.store(body.signature);
        if self.entries.len() == self.entries.capacity() {
            // Doubling would leave half of it unused, at every node of a simulated network.
            self.entries.reserve_exact(8 + self.entries.len() / 8);
        }
        self.entries.push_back(Entry {
            came: nanos(now),
            signature,
        });
        self.first.wrapping_add(self.entries.len() as u32 - 1)
    }

    /// Drops the bootstrap that last refreshed `route`, because a later one has come or the route is gone.
    pub(crate) fn supersede(&mut self, route: &Route) {
        if let Some(at) = self.find(route)
            && let Some(entry) = self.entries.get_mut(at)
            && entry.signature != NONE
        {
            if entry.signature != UNSIGNED {
                self.free.push(entry.signature);
            }
            entry.signature = NONE;
        }
    }

    /// Returns the bootstrap that last refreshed `route`.
    pub(crate) fn get(&mut self, now: Duration, route: &Route) -> Option<SignedBody> {
        self.expire(now);
        let entry = self.entries.get(self.find(route)?)?;
        let signature = match entry.signature {
            UNSIGNED => &ZEROS,
            at => self.signatures.get(at as usize)?,
        };
        Some(SignedBody {
            sequence: route.sequence,
            root: self.root.0,
            root_sequence: self.root.1,
            signature: *signature,
        })
    }

    fn find(&self, route: &Route) -> Option<usize> {
        let at = route.recent.wrapping_sub(self.first) as usize;
        // After a wrap-around the place may belong to another bootstrap.
        let came = self.entries.get(at)?.came;
        (came == nanos(route.last_seen)).then_some(at)
    }

    fn store(&mut self, signature: Signature) -> u32 {
        if signature == ZEROS {
            return UNSIGNED;
        }
        if let Some(at) = self.free.pop()
            && let Some(slot) = self.signatures.get_mut(at as usize)
        {
            *slot = signature;
            return at;
        }
        if self.signatures.len() == self.signatures.capacity() {
            self.signatures.reserve_exact(8 + self.signatures.len() / 8);
        }
        self.signatures.push(signature);
        self.signatures.len() as u32 - 1
    }

    fn expire(&mut self, now: Duration) {
        let Some(last) = now.checked_sub(HAND_OVER).map(nanos) else {
            return;
        };
        let over = self.entries.iter().take_while(|entry| entry.came <= last);
        self.drop_first(over.count());
    }

    fn drop_first(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let signatures = self.entries.drain(..count).map(|entry| entry.signature);
        self.free.extend(signatures.filter(|at| *at < UNSIGNED));
        self.first = self.first.wrapping_add(count as u32);
        self.shrink();
    }

    /// Frees memory. Right after a start there are many more bootstraps than later.
    fn shrink(&mut self) {
        let fitting = |len: usize| 8 + len * 9 / 8;
        if self.entries.len() < self.entries.capacity() / 2 {
            self.entries.shrink_to(fitting(self.entries.len()));
        }
        let kept = self.signatures.len() - self.free.len();
        if fitting(kept) >= self.signatures.capacity() / 2 {
            return;
        }
        let old = std::mem::take(&mut self.signatures);
        self.free = Vec::new();
        self.signatures.reserve_exact(fitting(kept));
        for entry in &mut self.entries {
            if let Some(signature) = old.get(entry.signature as usize) {
                entry.signature = self.signatures.len() as u32;
                self.signatures.push(*signature);
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use pinecone_fib::PortId;

    use super::*;

    fn body(sequence: u64, root_sequence: u64) -> SignedBody {
        SignedBody {
            sequence,
            root: PublicKey::MIN,
            root_sequence,
            signature: Signature([sequence as u8; 64]),
        }
    }

    /// Adds a bootstrap and returns the route that it sets up.
    fn taken(recent: &mut RecentBootstraps, at: Duration, body: &SignedBody) -> Route {
        Route {
            key: PublicKey::MIN,
            source: PortId(1),
            destination: None,
            sequence: body.sequence,
            told: false,
            corrected: false,
            last_seen: at,
            recent: recent.push(at, body),
        }
    }

    #[test]
    fn bootstraps_expire_and_belong_to_one_root() {
        let ms = Duration::from_millis;
        // Places wrap around after the first two.
        let mut recent = RecentBootstraps {
            first: u32::MAX - 1,
            ..RecentBootstraps::default()
        };
        let bodies = [body(1, 1), body(2, 1), body(3, 1)];
        let routes: Vec<_> = (0..3)
            .map(|n| taken(&mut recent, ms(100 * n), &bodies[n as usize]))
            .collect();
        let found = |recent: &mut RecentBootstraps, at| -> Vec<_> {
            let found = routes.iter().map(|route| recent.get(ms(at), route));
            found.collect()
        };
        let [first, second, third] = bodies.map(Some);
        assert_eq!(found(&mut recent, 1499), [first, second, third]);
        assert_eq!(found(&mut recent, 1500), [None, second, third]);
        assert_eq!(found(&mut recent, 1600), [None, None, third]);
        let other = body(4, 2);
        let route = taken(&mut recent, ms(1650), &other);
        assert_eq!(found(&mut recent, 1650), [None; 3]);
        assert_eq!(recent.get(ms(1650), &route), Some(other));
        assert_eq!(recent.get(ms(3150), &route), None);
        assert!(recent.entries.is_empty());
    }

    #[test]
    fn a_key_keeps_only_the_signature_of_its_last_bootstrap() {
        let ms = Duration::from_millis;
        let mut recent = RecentBootstraps::default();
        let kept = taken(&mut recent, ms(0), &body(7, 1));
        let mut route = taken(&mut recent, ms(0), &body(0, 1));
        for n in 1..=1000 {
            let next = taken(&mut recent, ms(n), &body(n, 1));
            recent.supersede(&route);
            assert_eq!(recent.get(ms(n), &route), None);
            route = next;
        }
        assert_eq!(recent.entries.len(), 1002);
        assert!(recent.signatures.len() <= 3);
        assert_eq!(recent.get(ms(1000), &route), Some(body(1000, 1)));
        assert_eq!(recent.get(ms(1000), &kept), Some(body(7, 1)));
    }

    #[test]
    fn bootstraps_without_a_signature_take_less_memory() {
        let mut recent = RecentBootstraps::default();
        let routes: Vec<_> = [0, 1, 0, 256]
            .map(|n| taken(&mut recent, Duration::ZERO, &body(n, 1)))
            .into();
        assert_eq!(recent.signatures.len(), 1);
        recent.supersede(&routes[2]);
        assert!(recent.free.is_empty());
        for (at, expected) in [(0, Some(0)), (1, Some(1)), (2, None), (3, Some(256))] {
            let kept = recent.get(Duration::ZERO, &routes[at]);
            assert_eq!(kept, expected.map(|sequence| body(sequence, 1)));
        }
    }

    #[test]
    fn memory_is_freed() {
        let ms = Duration::from_millis;
        let mut recent = RecentBootstraps::default();
        for n in 0..1000 {
            taken(&mut recent, ms(n), &body(n, 1));
        }
        let routes: Vec<_> = (0..20)
            .map(|n| taken(&mut recent, ms(2000 + n), &body(n, 1)))
            .collect();
        assert_eq!(recent.get(ms(2500), &routes[0]), Some(body(0, 1)));
        assert!(recent.signatures.capacity() < 100 && recent.entries.capacity() < 100);
        for (n, route) in routes.iter().enumerate() {
            assert_eq!(recent.get(ms(2600), route), Some(body(n as u64, 1)));
        }
    }

    #[test]
    fn the_number_of_bootstraps_is_bounded() {
        let mut recent = RecentBootstraps::default();
        let routes: Vec<_> = (0..MAX as u64 + 10)
            .map(|n| taken(&mut recent, Duration::ZERO, &body(n, 1)))
            .collect();
        assert_eq!(recent.entries.len(), MAX);
        for (n, route) in routes.iter().enumerate() {
            let expected = (n >= 10).then(|| body(n as u64, 1));
            assert_eq!(recent.get(Duration::ZERO, route), expected);
        }
    }
}
