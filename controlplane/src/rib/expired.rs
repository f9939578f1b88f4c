//! Routes that expired a moment ago: see [`Rescue`](pinecone_fib::Rescue).

use std::collections::VecDeque;
use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::PublicKey;

use crate::timers::{EXPIRED_BATCH, EXPIRED_LIFE};

/// Routes kept at most; the oldest give way.
const MAX: usize = 16_384;

/// When the tables are to forget the expired routes that they keep aside.
#[derive(Debug, Default)]
pub(crate) struct Expired {
    /// Those that go first come first.
    entries: VecDeque<Entry>,
    /// When some were last forgotten.
    last: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    until: Duration,
    key: PublicKey,
    source: PortId,
}

impl Expired {
    /// Notes that a route has expired. Returns the key of the one that gives way to it, if any.
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
            until: now + EXPIRED_LIFE,
            key,
            source,
        });
        first.map(|entry| entry.key)
    }

    /// Takes out a key whose route's time is over.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<PublicKey> {
        if self.entries.front()?.until > now {
            return None;
        }
        self.last = Some(now);
        let first = self.entries.pop_front()?;
        // After a change of the root there are many more than later.
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() + 4);
        }
        Some(first.key)
    }

    /// Takes out the keys whose routes led to `port`, which is gone.
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

    /// When [`Self::pop`] has something to return next, in batches.
    pub(crate) fn next(&self) -> Option<Duration> {
        let batch = self
            .last
            .map_or(Duration::ZERO, |last| last + EXPIRED_BATCH);
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
    fn routes_are_kept_for_their_time_in_batches() {
        let ms = Duration::from_millis;
        let mut expired = Expired::default();
        assert_eq!(expired.next(), None);
        for n in 0..3 {
            assert_eq!(expired.push(ms(60 * n), key(n as usize), PortId(1)), None);
        }
        assert_eq!(expired.next(), Some(ms(2000)));
        assert_eq!(expired.pop(ms(1999)), None);
        assert_eq!(expired.pop(ms(2000)), Some(key(0)));
        assert_eq!(expired.pop(ms(2000)), None);
        assert_eq!(expired.next(), Some(ms(2100)), "not right after");
        assert_eq!(expired.pop(ms(2100)), Some(key(1)));
        assert_eq!(expired.next(), Some(ms(2200)));
        assert_eq!(expired.pop(ms(5000)), Some(key(2)));
        assert_eq!(expired.next(), None);
    }

    #[test]
    fn those_of_a_port_go_with_it() {
        let mut expired = Expired::default();
        for n in 0..6 {
            expired.push(Duration::ZERO, key(n), PortId(1 + n as u32 % 2));
        }
        assert_eq!(expired.take_port(PortId(1)), [key(0), key(2), key(4)]);
        assert_eq!(expired.take_port(PortId(1)), []);
        let left = std::iter::from_fn(|| expired.pop(EXPIRED_LIFE));
        assert_eq!(left.collect::<Vec<_>>(), [key(1), key(3), key(5)]);
    }

    #[test]
    fn not_too_many_are_kept() {
        let mut expired = Expired::default();
        for n in 0..MAX + 10 {
            let gone = expired.push(Duration::ZERO, key(n), PortId(1));
            assert_eq!(gone, n.checked_sub(MAX).map(key));
        }
        assert_eq!(expired.entries.len(), MAX);
    }
}
