use crate::PublicKey;

/// Proof of progress that a SNEK-routed frame carries (protocol sections 1 and 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watermark {
    /// The best key that a node on the way knew of.
    pub key: PublicKey,
    /// The sequence of the bootstrap that made it known, 0 where none did.
    pub sequence: u64,
}

impl Watermark {
    /// What every SNEK-routed frame starts from.
    pub const START: Self = Self {
        key: PublicKey::MAX,
        sequence: 0,
    };

    /// Whether `self` shows less progress than `other`.
    #[must_use]
    #[inline]
    pub fn is_worse_than(&self, other: &Self) -> bool {
        self.key > other.key
            || (self.key == other.key && self.sequence != 0 && self.sequence < other.sequence)
    }
}
