//! Counters of a network.

use pinecone_fib::Rescue;
use pinecone_wire::FrameType;

use crate::loss::Losses;

/// The number and size of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// The number of frames.
    pub frames: u64,
    /// The number of bytes in them.
    pub bytes: u64,
}

/// Traffic frames that would have been dropped, but for a rescue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rescues {
    /// Frames that followed a route which had just expired.
    pub expired_route: u64,
    /// Frames that took a detour to another known key.
    pub detour: u64,
}

/// Counters since the start of the run. Frames are counted at every node that sends them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keepalives sent, computed from the gaps between frames.
    pub keepalives: Volume,
    /// Tree announcements sent.
    pub announcements: Volume,
    /// Bootstraps sent, by their origin or forwarded.
    pub bootstraps: Volume,
    /// Wakeup broadcasts sent, by their origin or forwarded.
    pub broadcasts: Volume,
    /// Traffic sent, by its origin or forwarded.
    pub traffic: Volume,
    /// Traffic lost, by reason.
    pub losses: Losses,
    /// Rescued traffic, including probes.
    pub rescues: Rescues,
    /// Visits of a probe to a node that it visited before, without progress since: it is in a loop.
    pub revisits: u64,
    /// Protocol frames that were lost because their link or peering ended.
    pub protocol_lost: u64,
    /// Frames of all types that adversaries dropped.
    pub adversary_dropped: u64,
    /// Frames that adversaries made up.
    pub adversary_sent: u64,
    /// Changes of a node's parent.
    pub reparentings: u64,
    /// Changes of a node's root.
    pub root_changes: u64,
    /// Peerings opened.
    pub peerings: u64,
    /// Peerings that a node closed because of what its peer sent.
    pub peerings_refused: u64,
    /// Peerings that ended because nothing arrived for too long, or a write took too long.
    pub peerings_timed_out: u64,
}

impl Rescues {
    pub(crate) fn count(&mut self, rescue: Option<Rescue>) {
        match rescue {
            Some(Rescue::ExpiredRoute) => self.expired_route += 1,
            Some(Rescue::Detour) => self.detour += 1,
            None => {}
        }
    }
}

impl Counts {
    /// Returns the sum of all protocol frames.
    #[must_use]
    pub fn protocol(&self) -> Volume {
        let kinds = [
            self.keepalives,
            self.announcements,
            self.bootstraps,
            self.broadcasts,
        ];
        Volume {
            frames: kinds.iter().map(|v| v.frames).sum(),
            bytes: kinds.iter().map(|v| v.bytes).sum(),
        }
    }

    pub(crate) fn sent(&mut self, kind: FrameType, len: usize) {
        let volume = match kind {
            FrameType::Announcement => &mut self.announcements,
            FrameType::Bootstrap => &mut self.bootstraps,
            FrameType::Broadcast => &mut self.broadcasts,
            FrameType::Traffic => &mut self.traffic,
            FrameType::Keepalive | FrameType::Unknown(_) => &mut self.keepalives,
        };
        volume.frames += 1;
        volume.bytes += len as u64;
    }
}
