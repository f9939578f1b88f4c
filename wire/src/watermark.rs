use crate::PublicKey;

/// The progress of a frame that is routed by SNEK, which it carries (protocol sections 1 and 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watermark {
    /// The best key so far that a node on the path knew.
    pub key: PublicKey,
    /// The sequence of the bootstrap that announced the key; 0 if there was none.
    pub sequence: u64,
}

impl Watermark {
    /// The watermark of a frame at its origin.
    pub const START: Self = Self {
        key: PublicKey::MAX,
        sequence: 0,
    };

    /// Reports whether `self` shows less progress than `other`.
    #[must_use]
    #[inline]
    pub fn is_worse_than(&self, other: &Self) -> bool {
        self.key > other.key
            || (self.key == other.key && self.sequence != 0 && self.sequence < other.sequence)
    }
}
