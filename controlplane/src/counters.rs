use std::fmt;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened since the start, and what the limits turned away.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Every counter with its name, in a fixed order.
            #[must_use]
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Announcements that came.
    announcements,
    /// Announcements refused for what they say or for a signature; each ended its peering.
    announcements_refused,
    /// Announcements with a lower sequence than the one before; each ended its peering.
    announcements_replayed,
    /// Announcements from the parent that were the same as the one before, and changed nothing.
    announcements_repeated,
    /// Announcements with too many signatures to be followed.
    announcements_too_long,
    /// Announcements not sent because they were the last ones sent on that peering.
    announcements_unchanged,
    /// Announcements signed with our key where we have not signed.
    announcements_own_elsewhere,
    /// Bootstraps that came.
    bootstraps,
    /// Bootstraps of our own that came back.
    bootstraps_own,
    /// Of these, bootstraps signed with our key that we have not made.
    bootstraps_own_elsewhere,
    /// Bootstraps under another root than ours.
    bootstraps_other_root,
    /// Bootstraps no newer than what that key sent before.
    bootstraps_stale,
    /// Bootstraps too far ahead of our clock.
    bootstraps_future,
    /// Bootstraps that could not be read.
    bootstraps_malformed,
    /// Bootstraps whose signature does not verify.
    bootstraps_bad_signature,
    /// Bootstraps taken that ended here: no next hop.
    bootstraps_ended,
    /// Bootstraps taken that would have gone back to where they came from.
    bootstraps_backwards,
    /// Bootstraps taken whose watermark would have got worse.
    bootstraps_watermark,
    /// Bootstraps passed on.
    bootstraps_forwarded,
    /// Of these, bootstraps whose next hop was where they came from, passed on another way.
    bootstraps_detoured,
    /// Bootstraps handed over to a new neighbour of their key on the snake.
    bootstraps_handed_over,
    /// Bootstraps sent along the path that their key had before, which they no longer take.
    bootstraps_corrected,
    /// Notices of broken paths that came.
    break_notices,
    /// Notices of broken paths sent, our own and others'.
    break_notices_sent,
    /// Notices of broken paths not sent because of a limit.
    break_notices_held_back,
    /// Times that we bootstrapped earlier because of a notice.
    paths_renewed,
    /// Bootstraps sent another way, too, as their next hop may pass none on.
    bootstraps_doubled,
    /// Bootstraps of our own sent.
    bootstraps_sent,
    /// Routes not taken because of a limit.
    routes_refused,
    /// Routes that gave way to those of a peering with fewer.
    routes_evicted,
    /// Sequences of gone routes forgotten early.
    sequences_forgotten,
    /// Broadcasts that came.
    broadcasts,
    /// Broadcasts of our own that came back.
    broadcasts_own,
    /// Of these, broadcasts signed with our key that we have not made.
    broadcasts_own_elsewhere,
    /// Broadcasts under another root than ours.
    broadcasts_other_root,
    /// Broadcasts seen before, or too soon after the last.
    broadcasts_repeated,
    /// Broadcasts too far ahead of our clock.
    broadcasts_future,
    /// Broadcasts dropped because their signature does not verify.
    broadcasts_bad_signature,
    /// Broadcasts dropped because of a limit on remembered keys.
    broadcasts_refused,
    /// Broadcasts not passed on because of a limit.
    broadcasts_held_back,
    /// Copies of broadcasts passed on.
    broadcasts_forwarded,
    /// Copies of our own broadcasts sent.
    broadcasts_sent,
    /// Frames that could not be read; each ended its peering.
    frames_malformed,
    /// Bootstraps and broadcasts dropped because their peer has not announced itself.
    frames_unannounced,
    /// Frames that are not for a control plane.
    frames_unexpected,
    /// Frames not sent because they would be too long.
    frames_too_long,
    /// Peerings that we ended.
    peers_closed,
    /// Peerings refused because they bear our own key.
    peers_own_key,
    /// Peerings refused because there are too many.
    peers_over_limit,
    /// Peerings ended because they never announced themselves.
    peers_unannounced,
    /// Changes of the root key.
    root_changes,
    /// Higher roots that had to wait.
    root_changes_damped,
    /// Offers of a root that comes and goes too often, not taken.
    root_flaps_damped,
    /// Signatures of our own made.
    signatures_made,
    /// Signatures checked, good or bad.
    signatures_checked,
    /// Signatures in announcements that needed no checking: they had been checked before.
    signatures_known,
    /// Good signatures forgotten early.
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
