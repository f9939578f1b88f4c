//! Counters of the control plane.

use std::fmt;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the start: what happened, and what the limits rejected.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Returns every counter with its name, in a fixed order.
            #[must_use]
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Announcements received.
    announcements,
    /// Announcements refused for their content or a signature. Each ended its peering.
    announcements_refused,
    /// Announcements with a lower sequence than the previous one. Each ended its peering.
    announcements_replayed,
    /// Announcements from the parent that were identical to the previous one, and ignored.
    announcements_repeated,
    /// Announcements with too many signatures to be followed.
    announcements_too_long,
    /// Announcements not sent because they were identical to the last one sent on that peering.
    announcements_unchanged,
    /// Announcements signed with this node's key that this node did not sign.
    announcements_own_elsewhere,
    /// Bootstraps received.
    bootstraps,
    /// Bootstraps received with this node's key.
    bootstraps_own,
    /// Bootstraps received with this node's key that it did not sign.
    bootstraps_own_elsewhere,
    /// Bootstraps dropped because their root is not the one that this node follows.
    bootstraps_other_root,
    /// Bootstraps dropped because they are not newer than the last one of their key.
    bootstraps_stale,
    /// Bootstraps dropped because they are too far ahead of this node's clock.
    bootstraps_future,
    /// Malformed bootstraps.
    bootstraps_malformed,
    /// Bootstraps dropped because of a bad signature.
    bootstraps_bad_signature,
    /// Bootstraps accepted that ended here because they have no next hop.
    bootstraps_ended,
    /// Bootstraps accepted but not forwarded because their next hop was the port that they came from.
    bootstraps_backwards,
    /// Bootstraps accepted but not forwarded because their watermark would have got worse.
    bootstraps_watermark,
    /// Bootstraps forwarded.
    bootstraps_forwarded,
    /// Bootstraps forwarded on a detour because their next hop was the port that they came from.
    bootstraps_detoured,
    /// Bootstraps handed over to a new neighbour of their key on the snake.
    bootstraps_handed_over,
    /// Bootstraps also sent along the previous path of their key.
    bootstraps_corrected,
    /// Notices of broken paths received.
    break_notices,
    /// Notices of broken paths sent or forwarded.
    break_notices_sent,
    /// Notices of broken paths not sent because of a limit.
    break_notices_held_back,
    /// Bootstraps of this node sent early because of a notice.
    paths_renewed,
    /// Bootstraps also sent another way because their next hop may not forward them.
    bootstraps_doubled,
    /// Bootstraps of this node sent.
    bootstraps_sent,
    /// Routes refused because of a limit.
    routes_refused,
    /// Routes evicted for those of a peering with fewer.
    routes_evicted,
    /// Sequences of removed routes evicted before they expired.
    sequences_forgotten,
    /// Broadcasts received.
    broadcasts,
    /// Broadcasts received with this node's key.
    broadcasts_own,
    /// Broadcasts received with this node's key that it did not sign.
    broadcasts_own_elsewhere,
    /// Broadcasts dropped because their root is not the one that this node follows.
    broadcasts_other_root,
    /// Broadcasts dropped because they were seen before or arrived too soon after the last.
    broadcasts_repeated,
    /// Broadcasts dropped because they are too far ahead of this node's clock.
    broadcasts_future,
    /// Broadcasts dropped because of a bad signature.
    broadcasts_bad_signature,
    /// Broadcasts dropped because of a limit on remembered keys.
    broadcasts_refused,
    /// Broadcasts not forwarded because of a limit.
    broadcasts_held_back,
    /// Copies of broadcasts forwarded.
    broadcasts_forwarded,
    /// Copies of this node's broadcasts sent.
    broadcasts_sent,
    /// Malformed frames. Each ended its peering.
    frames_malformed,
    /// Bootstraps and broadcasts dropped because their peer has sent no announcement yet.
    frames_unannounced,
    /// Frames of types that are not for a control plane.
    frames_unexpected,
    /// Frames not sent because they would be too long.
    frames_too_long,
    /// Peerings ended by this node.
    peers_closed,
    /// Peerings refused because the peer presented this node's key.
    peers_own_key,
    /// Peerings refused because of the limit.
    peers_over_limit,
    /// Peerings ended because the peer sent no announcement in time.
    peers_unannounced,
    /// Changes of the root key.
    root_changes,
    /// Changes to a higher root that were delayed.
    root_changes_damped,
    /// Parents not selected because their root flaps.
    root_flaps_damped,
    /// Signatures made by this node.
    signatures_made,
    /// Signatures verified, good or bad.
    signatures_checked,
    /// Signatures in announcements that were not verified again.
    signatures_known,
    /// Good signatures dropped from the cache.
    signatures_dropped,
    /// Decompressed keys dropped from the cache.
    keys_dropped,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.entries().into_iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}
