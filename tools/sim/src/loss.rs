//! Reasons for the loss of traffic.

/// A reason for which a traffic frame did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Loss {
    /// A node had no next hop.
    NoRoute,
    /// The next hop was the peer from which the frame came.
    Backwards,
    /// The next hop would have made the frame's watermark worse.
    Watermark,
    /// The hop limit was used up.
    HopLimit,
    /// The frame would have become longer than 65,535 bytes.
    TooLong,
    /// A node delivered the frame to itself as the closest to the destination, which is another node.
    WrongNode,
    /// The queue of a slow link was full.
    QueueFull,
    /// The frame's link was down.
    LinkDown,
    /// The frame's peering had ended.
    PeeringOver,
    /// An adversary dropped the frame.
    Adversary,
    /// The frame took more hops than there are nodes.
    Loop,
    /// The frame could not be parsed.
    Malformed,
}

impl Loss {
    /// The number of reasons.
    pub const COUNT: usize = Self::ALL.len();
    /// The reasons in order.
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

    /// Returns the name in tables and JSON.
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

/// The number of lost frames, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses([u64; Loss::COUNT]);

impl Losses {
    pub(crate) fn count(&mut self, loss: Loss) {
        if let Some(n) = self.0.get_mut(loss as usize) {
            *n += 1;
        }
    }

    /// Returns every reason and its number of frames, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64)> {
        Loss::ALL.into_iter().zip(self.0)
    }

    /// Returns the number of frames lost for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the losses since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut new = *self;
        new.0.iter_mut().zip(before.0).for_each(|(n, b)| *n -= b);
        new
    }
}
