//! Destinations that do not answer, whose cached coordinates may be wrong.
//!
//! Coordinates are cached for 60 s (protocol section 7). If the destination has moved meanwhile, every
//! frame that is sent to them is lost. So when nothing has been heard from a destination for a while,
//! frames to it are routed by SNEK, which needs no coordinates.

use std::collections::HashMap;
use std::time::Duration;

use pinecone_wire::PublicKey;

/// The time for which coordinates are used for a destination that does not answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The number of destinations kept. If there are more, all are forgotten and start anew.
const LIMIT: usize = 65_536;

/// The destinations that have not answered, with the time of the first unanswered frame.
#[derive(Default)]
pub(crate) struct Unanswered(HashMap<PublicKey, Duration>);

impl Unanswered {
    /// Records a frame to `key`, and reports whether its coordinates may still be used.
    pub(crate) fn sending(&mut self, now: Duration, key: &PublicKey) -> bool {
        if self.0.len() >= LIMIT && !self.0.contains_key(key) {
            self.0.clear();
        }
        let since = *self.0.entry(*key).or_insert(now);
        now.saturating_sub(since) <= PATIENCE
    }

    /// Reports whether the coordinates of `key` may be used.
    pub(crate) fn may_use(&self, now: Duration, key: &PublicKey) -> bool {
        (self.0.get(key)).is_none_or(|since| now.saturating_sub(*since) <= PATIENCE)
    }

    /// Records a frame from `key`.
    pub(crate) fn heard(&mut self, key: &PublicKey) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PublicKey = PublicKey([1; 32]);

    #[test]
    fn patience_begins_with_the_first_frame_that_is_not_answered() {
        let mut unanswered = Unanswered::default();
        let at = Duration::from_millis;
        assert!(unanswered.sending(at(100_000), &KEY));
        assert!(unanswered.sending(at(103_000), &KEY));
        assert!(unanswered.may_use(at(103_000), &KEY));
        assert!(!unanswered.sending(at(103_001), &KEY));
        assert!(!unanswered.may_use(at(103_001), &KEY));
        unanswered.heard(&KEY);
        assert!(unanswered.may_use(at(200_000), &KEY));
        assert!(unanswered.sending(at(200_000), &KEY));
        assert!(!unanswered.sending(at(300_000), &KEY));
        assert!(unanswered.sending(at(300_000), &PublicKey([2; 32])));
    }

    #[test]
    fn memory_is_bounded() {
        let mut unanswered = Unanswered::default();
        for n in 0..LIMIT as u64 + 10 {
            let mut key = PublicKey::MIN;
            key.0[..8].copy_from_slice(&n.to_be_bytes());
            unanswered.sending(Duration::ZERO, &key);
        }
        assert_eq!(unanswered.0.len(), 10);
    }
}
