//! Why traffic is lost.

/// Why a traffic frame did not get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Loss {
    /// A node knew no next hop.
    NoRoute,
    /// The next hop was where the frame came from.
    Backwards,
    /// The next hop would have undone the frame's progress.
    Watermark,
    /// Its hop limit was used up.
    HopLimit,
    /// It would have grown past 65,535 bytes.
    TooLong,
    /// A node that it was not for thought itself the closest to its destination.
    WrongNode,
    /// It found no room in the queue of a slow link.
    QueueFull,
    /// It was on a link, or about to go out over one, that was down.
    LinkDown,
    /// It was under way to a peering that had ended.
    PeeringOver,
    /// An adversary dropped it.
    Adversary,
    /// It was given up after more hops than there are nodes.
    Loop,
    /// It could not be read.
    Malformed,
}

impl Loss {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::NoRoute,
        Self::Backwards,
        Self::Watermark,
        Self::HopLimit,
        Self::TooLong,
        Self::WrongNode,
        Self::QueueFull,
        Self::LinkDown,
        Self::PeeringOver,
        Self::Adversary,
        Self::Loop,
        Self::Malformed,
    ];

    /// A name for tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::Backwards => "backwards",
            Self::Watermark => "watermark",
            Self::HopLimit => "hop_limit",
            Self::TooLong => "too_long",
            Self::WrongNode => "wrong_node",
            Self::QueueFull => "queue_full",
            Self::LinkDown => "link_down",
            Self::PeeringOver => "peering_over",
            Self::Adversary => "adversary",
            Self::Loop => "loop",
            Self::Malformed => "malformed",
        }
    }
}

/// How many frames were lost, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses([u64; Loss::COUNT]);

impl Losses {
    pub(crate) fn count(&mut self, loss: Loss) {
        if let Some(n) = self.0.get_mut(loss as usize) {
            *n += 1;
        }
    }

    /// Every reason with how often it was the one, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64)> {
        Loss::ALL.into_iter().zip(self.0)
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut new = *self;
        new.0.iter_mut().zip(before.0).for_each(|(n, b)| *n -= b);
        new
    }
}
