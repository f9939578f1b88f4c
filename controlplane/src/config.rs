use std::time::Duration;

use pinecone_wire::Extensions;

/// The start of 2025: a clock before it has not been set.
const PLAUSIBLE_CLOCK_MS: u64 = 1_735_689_600_000;

/// What an operator can set. The default is the deployed nodes' behaviour towards deployed nodes, within
/// bounds.
///
/// Every bound names the [counter](crate::Counters) of what it turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether wakeup broadcasts of our own are sent (protocol section 8). Those of others are
    /// handled either way. Default: true.
    pub wakeup_broadcasts: bool,
    /// The hop limit that wakeup broadcasts of our own start with, from 1 to 5: at 1 they reach our
    /// peers alone. Nothing in routing reads them, and at 5, as in deployed nodes, each costs every
    /// node near us a frame. Default: 2.
    pub wakeup_hops: u8,
    /// How long after the start the first of them is sent; the others follow every 60 s. Drivers
    /// hand in a random time, so that nodes that start together do not stay in step. Default: none,
    /// which is 60 s.
    pub wakeup_phase: Option<Duration>,
    /// Wakeup broadcasts of others that are passed on in a minute; where there are more, their
    /// sources take turns. Default: 64. Counter: `broadcasts_held_back`.
    pub max_broadcasts_forwarded: usize,
    /// Whether a bootstrap that changes its way is sent along the old one, too, so that what is left
    /// of a broken path does not draw frames for up to ten seconds; and whether a lost peering is made
    /// known to those whose paths went over it. Peers that do not offer the same in their handshakes, as
    /// deployed nodes, get none of these frames. Default: true. Counters: `bootstraps_corrected`,
    /// `break_notices_sent`.
    pub correct_paths: bool,
    /// Notices of broken paths sent in a second; further paths are not told of. Default: 1,000.
    /// Counter: `break_notices_held_back`.
    pub max_break_notices: usize,
    /// Peerings at a time. Default: 65,536. Counter: `peers_over_limit`.
    pub max_peers: usize,
    /// How long a peering may take to announce itself: until then its key is only claimed.
    /// Default: 30 s. Counter: `peers_unannounced`.
    pub announce_within: Duration,
    /// Routes in all. When full, the peering that brought the most loses its oldest to one that
    /// brought fewer. Default: 2,000,000. Counters: `routes_refused`, `routes_evicted`.
    pub max_routes: usize,
    /// Routes learned from one peering. Default: 1,000,000. Counter: `routes_refused`.
    pub max_routes_per_peer: usize,
    /// How far ahead of our clock the sequence of a bootstrap or broadcast (Unix milliseconds) may
    /// be. Default: 24 h, as people's clocks are what they are. Not applied while our own clock
    /// stands before 2025, as it does on machines without one. Counters: `bootstraps_future`,
    /// `broadcasts_future`.
    pub max_sequence_lead: Duration,
    /// How long the sequence of a route outlives the route, so that its bootstrap cannot be
    /// replayed. Default: 60 s. Counter: `bootstraps_stale`.
    pub sequence_memory: Duration,
    /// Sequences remembered beyond their routes; the oldest gives way. Default: 500,000. Counter:
    /// `sequences_forgotten`.
    pub max_remembered_sequences: usize,
    /// Keys whose last broadcast is remembered. Default: 262,144. Counter: `broadcasts_refused`.
    pub max_broadcast_keys: usize,
    /// The same, of those that came through one peering. Default: 65,536. Counter:
    /// `broadcasts_refused`.
    pub max_broadcast_keys_per_peer: usize,
    /// Badly signed broadcasts within [`offence_window`](Self::offence_window) that end a
    /// peering; fewer are dropped. Default: 16. Counter: `broadcasts_bad_signature`.
    pub max_offences: usize,
    /// Default: 60 s.
    pub offence_window: Duration,
    /// Higher root keys within [`root_change_window`](Self::root_change_window) that are followed
    /// at once; further ones wait for [`root_change_delay`](Self::root_change_delay), and where
    /// the parent follows one, our peers hear of it only then. Default: 32. Counter:
    /// `root_changes_damped`.
    pub max_root_changes: usize,
    /// Default: 60 s.
    pub root_change_window: Duration,
    /// Default: 10 s.
    pub root_change_delay: Duration,
    /// Times that one root may be lost within [`root_flap_window`](Self::root_flap_window) and
    /// still be followed at once when it comes back. Then no new parent is taken for it for
    /// [`root_change_delay`](Self::root_change_delay) from its last loss, twice as long after the
    /// next, and so on up to [`root_flap_hold`](Self::root_flap_hold). Default: 16. Counter:
    /// `root_flaps_damped`.
    pub max_root_flaps: usize,
    /// Default: 600 s.
    pub root_flap_window: Duration,
    /// Default: 60 s.
    pub root_flap_hold: Duration,
    /// Decompressed public keys kept for checking signatures. Default: 65,536. Counter:
    /// `keys_dropped`.
    pub max_cached_keys: usize,
    /// Signatures of announcements remembered as good, so that what comes down one branch of the
    /// tree to many peers is checked once. Default: 65,536. Counter: `signatures_dropped`.
    pub max_cached_signatures: usize,
    /// Keys whose coordinates are remembered, for whoever keeps a
    /// [`CoordinateCache`](crate::CoordinateCache). Default: 65,536. Counters:
    /// `coordinates_refused`, `coordinates_evicted`.
    pub max_cached_coordinates: usize,
}

impl Config {
    /// What a node with this configuration offers its peers.
    #[must_use]
    pub const fn extensions(&self) -> Extensions {
        if self.correct_paths {
            Extensions::BREAK_NOTICES
        } else {
            Extensions::NONE
        }
    }

    /// How far a sequence is ahead of our clock, in milliseconds, if that is too far.
    pub(crate) fn excessive_lead(&self, sequence: u64, unix_ms: u64) -> Option<u64> {
        let lead = sequence.saturating_sub(unix_ms);
        let is_excessive = u128::from(lead) > self.max_sequence_lead.as_millis();
        (is_excessive && unix_ms >= PLAUSIBLE_CLOCK_MS).then_some(lead)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            wakeup_broadcasts: true,
            wakeup_hops: 2,
            wakeup_phase: None,
            max_broadcasts_forwarded: 64,
            correct_paths: true,
            max_break_notices: 1_000,
            max_peers: 65_536,
            announce_within: Duration::from_secs(30),
            max_routes: 2_000_000,
            max_routes_per_peer: 1_000_000,
            max_sequence_lead: Duration::from_secs(24 * 60 * 60),
            sequence_memory: Duration::from_secs(60),
            max_remembered_sequences: 500_000,
            max_broadcast_keys: 262_144,
            max_broadcast_keys_per_peer: 65_536,
            max_offences: 16,
            offence_window: Duration::from_secs(60),
            max_root_changes: 32,
            root_change_window: Duration::from_secs(60),
            root_change_delay: Duration::from_secs(10),
            max_root_flaps: 16,
            root_flap_window: Duration::from_secs(600),
            root_flap_hold: Duration::from_secs(60),
            max_cached_keys: 65_536,
            max_cached_signatures: 65_536,
            max_cached_coordinates: crate::CoordinateCache::DEFAULT_LIMIT,
        }
    }
}
