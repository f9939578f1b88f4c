//! The reasons for refusing and ending peerings.

use std::time::Duration;

use pinecone_wire::{AnnouncementError, FrameError, SignedBodyError};

/// The reason for refusing a peering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The peer presented this node's own key: the node reached itself, or its handshake was replayed.
    #[error("the peer presented this node's own key")]
    OwnKey,
    /// The maximum number of peerings is reached.
    #[error("the limit of {limit} peerings is reached")]
    TooMany {
        /// [`Config::max_peers`](crate::Config::max_peers).
        limit: usize,
    },
}

/// The reason for ending a peering.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The operator requested it.
    #[error("closed on request")]
    Requested,
    /// A frame is malformed.
    #[error("malformed frame: {0}")]
    Frame(#[from] FrameError),
    /// An announcement is invalid.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
    /// An announcement has the same root as the previous one and a lower sequence.
    #[error("announcement has root sequence {found}, the previous one had {last}")]
    Replay {
        /// The sequence of the announcement.
        found: u64,
        /// The sequence of the previous one.
        last: u64,
    },
    /// A broadcast is malformed.
    #[error("malformed broadcast: {0}")]
    Broadcast(SignedBodyError),
    /// The peer sent too many badly signed broadcasts.
    #[error("{count} badly signed broadcasts within {} s", window.as_secs())]
    Offences {
        /// The number of broadcasts.
        count: usize,
        /// The time within which they arrived.
        window: Duration,
    },
    /// The peer did not prove its key with an announcement in time.
    #[error("no announcement within {} s", within.as_secs())]
    Unannounced {
        /// [`Config::announce_within`](crate::Config::announce_within).
        within: Duration,
    },
}
