//! Recently expired routes, which traffic may still follow: see [`Rescue`](pinecone_fib::Rescue).

use std::collections::VecDeque;
use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::PublicKey;

/// Time for which traffic that would otherwise be dropped may follow an expired route.
///
/// It exceeds [`HAND_OVER`](crate::recent::HAND_OVER), so that the routes towards a bootstrap that was handed over
/// last as long as that bootstrap's own.
const LIFETIME: Duration = Duration::from_secs(2);
/// Minimum time between two batches of removals.
const BATCH_GAP: Duration = Duration::from_millis(100);

/// Maximum number of routes kept. Beyond it the oldest is dropped.
const MAX: usize = 16_384;

/// The expired routes that the tables still hold, and the times at which to remove them.
#[derive(Debug, Default)]
pub(crate) struct ExpiredRoutes {
    /// The routes in order of removal.
    entries: VecDeque<Entry>,
    /// The time at which some were last removed.
    last: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    until: Duration,
    key: PublicKey,
    source: PortId,
}

impl ExpiredRoutes {
    /// Adds a route that has expired. Returns the key of the route dropped in exchange, if any.
    pub(crate) fn push(
        &mut self,
        now: Duration,
        key: PublicKey,
        source: PortId,
    ) -> Option<PublicKey> {
        let first = match self.entries.len() < MAX {
            true => None,
            false => self.entries.pop_front(),
        };
        self.entries.push_back(Entry {
            until: now + LIFETIME,
            key,
            source,
        });
        first.map(|entry| entry.key)
    }

    /// Removes and returns a key whose time is over.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<PublicKey> {
        if self.entries.front()?.until > now {
            return None;
        }
        self.last = Some(now);
        let first = self.entries.pop_front()?;
        // After a change of root there are many more than later.
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() + 4);
        }
        Some(first.key)
    }

    /// Removes and returns the keys whose routes led to `port`, whose peering has ended.
    pub(crate) fn take_port(&mut self, port: PortId) -> Vec<PublicKey> {
        let mut keys = Vec::new();
        self.entries.retain(|entry| {
            let gone = entry.source == port;
            if gone {
                keys.push(entry.key);
            }
            !gone
        });
        keys
    }

    /// Returns the time at which [`Self::pop`] next has something to return. Removals are batched.
    pub(crate) fn next(&self) -> Option<Duration> {
        let batch = self.last.map_or(Duration::ZERO, |last| last + BATCH_GAP);
        Some(self.entries.front()?.until.max(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> PublicKey {
        let mut key = PublicKey::MIN;
        key.0[..8].copy_from_slice(&n.to_be_bytes());
        key
    }

    #[test]
    fn routes_are_removed_in_batches_when_their_time_is_over() {
        let ms = Duration::from_millis;
        let mut expired = ExpiredRoutes::default();
        assert_eq!(expired.next(), None);
        for n in 0..3 {
            assert_eq!(expired.push(ms(60 * n), key(n as usize), PortId(1)), None);
        }
        assert_eq!(expired.next(), Some(ms(2000)));
        assert_eq!(expired.pop(ms(1999)), None);
        assert_eq!(expired.pop(ms(2000)), Some(key(0)));
        assert_eq!(expired.pop(ms(2000)), None);
        assert_eq!(expired.next(), Some(ms(2100)), "batched");
        assert_eq!(expired.pop(ms(2100)), Some(key(1)));
        assert_eq!(expired.next(), Some(ms(2200)));
        assert_eq!(expired.pop(ms(5000)), Some(key(2)));
        assert_eq!(expired.next(), None);
    }

    #[test]
    fn the_routes_of_a_port_are_removed_with_it() {
        let mut expired = ExpiredRoutes::default();
        for n in 0..6 {
            expired.push(Duration::ZERO, key(n), PortId(1 + n as u32 % 2));
        }
        assert_eq!(expired.take_port(PortId(1)), [key(0), key(2), key(4)]);
        assert_eq!(expired.take_port(PortId(1)), []);
        let left = std::iter::from_fn(|| expired.pop(LIFETIME));
        assert_eq!(left.collect::<Vec<_>>(), [key(1), key(3), key(5)]);
    }

    #[test]
    fn the_number_of_routes_is_bounded() {
        let mut expired = ExpiredRoutes::default();
        for n in 0..MAX + 10 {
            let gone = expired.push(Duration::ZERO, key(n), PortId(1));
            assert_eq!(gone, n.checked_sub(MAX).map(key));
        }
        assert_eq!(expired.entries.len(), MAX);
    }
}
