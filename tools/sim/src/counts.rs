//! What happened in a network.

use pinecone_fib::Rescue;
use pinecone_wire::FrameType;

use crate::loss::Losses;

/// Frames of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// How many.
    pub frames: u64,
    /// How many bytes they have in all.
    pub bytes: u64,
}

/// Traffic that went on thanks to a second look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rescues {
    /// How often a frame followed a route that had just expired.
    pub expired_route: u64,
    /// How often a frame was led round.
    pub detour: u64,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keepalives sent, which are worked out from the gaps between frames.
    pub keepalives: Volume,
    /// Tree announcements sent.
    pub announcements: Volume,
    /// Bootstraps sent, by their origin or passed on.
    pub bootstraps: Volume,
    /// Wakeup broadcasts sent, by their origin or passed on.
    pub broadcasts: Volume,
    /// Traffic sent, by its origin or passed on.
    pub traffic: Volume,
    /// Traffic lost.
    pub losses: Losses,
    /// Traffic that would have been lost, that of probes included.
    pub rescues: Rescues,
    /// How often a probe came to a node again without having made progress since: it goes round.
    pub revisits: u64,
    /// Protocol frames that were under way when their link or peering ended.
    pub protocol_lost: u64,
    /// Frames that an adversary dropped, traffic or not.
    pub adversary_dropped: u64,
    /// Frames that an adversary made up.
    pub adversary_sent: u64,
    /// How often a node took another parent.
    pub reparentings: u64,
    /// How often a node's root became another.
    pub root_changes: u64,
    /// Peerings made.
    pub peerings: u64,
    /// Peerings that a node ended because of what its peer sent.
    pub peerings_refused: u64,
    /// Peerings that ended because nothing came for too long, or nothing could be sent.
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
    /// All that the protocol itself sent.
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
