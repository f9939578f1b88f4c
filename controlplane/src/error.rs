use std::time::Duration;

use pinecone_wire::{AnnouncementError, FrameError, SignedBodyError};

/// Why a peering is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The peer bears our own key: we reached ourselves, or somebody replays our handshake.
    #[error("the peer bears our own key")]
    OwnKey,
    /// All port numbers are taken.
    #[error("all {limit} peerings are taken")]
    TooMany {
        /// [`Config::max_peers`](crate::Config::max_peers).
        limit: usize,
    },
}

/// Why the control plane ends a peering.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The operator wished it.
    #[error("closed on request")]
    Requested,
    /// A frame cannot be read.
    #[error("malformed frame: {0}")]
    Frame(#[from] FrameError),
    /// An announcement is refused.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
    /// The same root as before with a lower sequence.
    #[error("announcement has root sequence {found}, the one before had {last}")]
    Replay {
        /// The sequence it has.
        found: u64,
        /// The sequence of the one before.
        last: u64,
    },
    /// A broadcast cannot be read.
    #[error("malformed broadcast: {0}")]
    Broadcast(SignedBodyError),
    /// Badly signed broadcasts, again and again.
    #[error("{count} badly signed broadcasts within {} s", window.as_secs())]
    Offences {
        /// How many.
        count: usize,
        /// Within which time.
        window: Duration,
    },
    /// The peer never proved its key with an announcement.
    #[error("no announcement within {} s", within.as_secs())]
    Unannounced {
        /// [`Config::announce_within`](crate::Config::announce_within).
        within: Duration,
    },
}
