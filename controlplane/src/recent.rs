//! The bootstraps of the last moment, in order of their keys.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pinecone_wire::{PublicKey, SignedBody};

use crate::timers::HAND_OVER;

/// Bootstraps kept at most; the oldest give way.
const MAX: usize = 16_384;

/// What came within the last [`HAND_OVER`].
#[derive(Debug, Default)]
pub(crate) struct Recent {
    by_key: BTreeMap<PublicKey, (Duration, SignedBody)>,
    /// By when they came; an entry counts only while `by_key` agrees with it.
    queue: VecDeque<(Duration, PublicKey)>,
}

impl Recent {
    /// A bootstrap was taken.
    pub(crate) fn insert(&mut self, now: Duration, key: PublicKey, body: SignedBody) {
        self.forget(now);
        while self.queue.len() >= MAX {
            self.pop();
        }
        self.by_key.insert(key, (now, body));
        self.queue.push_back((now, key));
    }

    /// The one whose key is right below `key`.
    pub(crate) fn below(
        &mut self,
        now: Duration,
        key: &PublicKey,
    ) -> Option<(PublicKey, SignedBody)> {
        self.forget(now);
        let (key, (_, body)) = self.by_key.range(..key).next_back()?;
        Some((*key, *body))
    }

    fn forget(&mut self, now: Duration) {
        while self
            .queue
            .front()
            .is_some_and(|(came, _)| *came + HAND_OVER <= now)
        {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((came, key)) = self.queue.pop_front()
            && self.by_key.get(&key).is_some_and(|(at, _)| *at == came)
        {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use pinecone_wire::Signature;

    use super::*;

    fn body(sequence: u64) -> SignedBody {
        SignedBody {
            sequence,
            root: PublicKey::MIN,
            root_sequence: 1,
            signature: Signature([0; 64]),
        }
    }

    #[test]
    fn the_next_key_below_for_a_moment() {
        let mut recent = Recent::default();
        let key = |n: u8| PublicKey([n; 32]);
        let found = |recent: &mut Recent, at, n| {
            let found = recent.below(Duration::from_millis(at), &key(n));
            found.map(|(key, body)| (key.0[0], body.sequence))
        };
        recent.insert(Duration::ZERO, key(1), body(1));
        recent.insert(Duration::from_millis(100), key(3), body(1));
        recent.insert(Duration::from_millis(200), key(1), body(2));
        assert_eq!(found(&mut recent, 200, 1), None);
        assert_eq!(found(&mut recent, 200, 3), Some((1, 2)));
        assert_eq!(found(&mut recent, 200, 4), Some((3, 1)));
        // The first one of key 1 is over, the second is not.
        assert_eq!(found(&mut recent, 600, 4), Some((1, 2)));
        assert_eq!(found(&mut recent, 700, 4), None);
        assert!(recent.by_key.is_empty() && recent.queue.is_empty());
    }

    #[test]
    fn not_too_many_are_kept() {
        let mut recent = Recent::default();
        for n in 0..MAX as u32 + 10 {
            let mut key = PublicKey::MIN;
            key.0[..4].copy_from_slice(&n.to_be_bytes());
            recent.insert(Duration::ZERO, key, body(1));
        }
        assert_eq!((recent.by_key.len(), recent.queue.len()), (MAX, MAX));
    }
}
