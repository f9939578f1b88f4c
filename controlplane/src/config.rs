//! The settings of a control plane.

use std::time::Duration;

use pinecone_wire::Extensions;

/// The start of 2025. A clock before it has not been set.
const PLAUSIBLE_CLOCK_MS: u64 = 1_735_689_600_000;

/// The configuration of a control plane.
///
/// By default a node behaves towards deployed nodes as they do, within bounds. Every bound names the
/// [counter](crate::Counters) of what it rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Set if this node sends wakeup broadcasts (protocol section 8). Those of others are handled either way. Default:
    /// true.
    pub wakeup_broadcasts: bool,
    /// The initial hop limit of this node's wakeup broadcasts, from 1 to 5. At 1 they reach only its peers. Routing
    /// does not use them, and at 5, as in deployed nodes, each costs every nearby node a frame. Default: 2.
    pub wakeup_hops: u8,
    /// The delay from the start to the first wakeup broadcast. The others follow every 60 s. Drivers pass a random
    /// delay, so that nodes that start together do not stay in step. Default: none, which means 60 s.
    pub wakeup_phase: Option<Duration>,
    /// The maximum number of others' wakeup broadcasts forwarded in a minute. Above it, their sources are served in
    /// rounds. Default: 64. Counter: `broadcasts_held_back`.
    pub max_broadcasts_forwarded: usize,
    /// Set if broken paths are corrected. When the path of a key changes, its bootstrap is then also sent along the old
    /// path, so that the rest of a broken path does not attract frames for up to ten seconds. When a peering is lost,
    /// the nodes whose paths used it are notified. Peers that do not offer this extension in their handshakes, such as
    /// deployed nodes, receive none of these frames. Default: true. Counters: `bootstraps_corrected`,
    /// `break_notices_sent`.
    pub correct_paths: bool,
    /// The maximum number of notices of broken paths sent in a second. Beyond it no notice is sent. Default: 1,000.
    /// Counter: `break_notices_held_back`.
    pub max_break_notices: usize,
    /// The maximum number of simultaneous peerings. Default: 65,536. Counter: `peers_over_limit`.
    pub max_peers: usize,
    /// The time within which a peer must send its first announcement. Until then its key is only claimed. Default:
    /// 30 s. Counter: `peers_unannounced`.
    pub announce_within: Duration,
    /// The maximum number of routes. When it is reached, a route from a peering that brought fewer evicts the oldest
    /// route of the peering that brought the most. Default: 2,000,000. Counters: `routes_refused`, `routes_evicted`.
    pub max_routes: usize,
    /// The maximum number of routes learned from one peering. Default: 1,000,000. Counter: `routes_refused`.
    pub max_routes_per_peer: usize,
    /// The maximum time by which the sequence of a bootstrap or broadcast (Unix milliseconds) may be ahead of this
    /// node's clock. Default: 24 h, because many clocks are wrong. Not applied while this node's clock is before 2025,
    /// as on machines without a battery-backed clock. Counters: `bootstraps_future`, `broadcasts_future`.
    pub max_sequence_lead: Duration,
    /// The time for which the sequence of a route is remembered after the route is gone, so that its bootstrap cannot
    /// be replayed. Default: 60 s. Counter: `bootstraps_stale`.
    pub sequence_memory: Duration,
    /// The maximum number of sequences remembered after their routes are gone. Beyond it the oldest is evicted. Default: 500,000. Counter:
    /// `sequences_forgotten`.
    pub max_remembered_sequences: usize,
    /// The maximum number of keys whose last broadcast is remembered. Default: 262,144. Counter: `broadcasts_refused`.
    pub max_broadcast_keys: usize,
    /// The maximum number of such keys that came through one peering. Default: 65,536. Counter:
    /// `broadcasts_refused`.
    pub max_broadcast_keys_per_peer: usize,
    /// The number of badly signed broadcasts within [`offence_window`](Self::offence_window) that ends a peering.
    /// Fewer are only dropped. Default: 16. Counter: `broadcasts_bad_signature`.
    pub max_offences: usize,
    /// The window of [`max_offences`](Self::max_offences). Default: 60 s.
    pub offence_window: Duration,
    /// The number of higher root keys within [`root_change_window`](Self::root_change_window) that are followed at
    /// once. Further ones wait for [`root_change_delay`](Self::root_change_delay). If the parent follows one, this
    /// node's peers are told only after that delay. Default: 32. Counter:
    /// `root_changes_damped`.
    pub max_root_changes: usize,
    /// The window of [`max_root_changes`](Self::max_root_changes). Default: 60 s.
    pub root_change_window: Duration,
    /// The delay for root changes beyond [`max_root_changes`](Self::max_root_changes). Default: 10 s.
    pub root_change_delay: Duration,
    /// The number of times that one root may be lost within [`root_flap_window`](Self::root_flap_window) and still be
    /// followed at once when it returns. After that many losses, no new parent is selected for it for
    /// [`root_change_delay`](Self::root_change_delay) from its last loss, twice as long after the next, and so on up to
    /// [`root_flap_hold`](Self::root_flap_hold). Default: 16. Counter: `root_flaps_damped`.
    pub max_root_flaps: usize,
    /// The window of [`max_root_flaps`](Self::max_root_flaps). Default: 600 s.
    pub root_flap_window: Duration,
    /// The longest time for which a flapping root is held back. Default: 60 s.
    pub root_flap_hold: Duration,
    /// The maximum number of decompressed public keys cached for verifying signatures. Default: 65,536. Counter:
    /// `keys_dropped`.
    pub max_cached_keys: usize,
    /// The maximum number of announcement signatures remembered as good, so that signatures that arrive through many
    /// peers are verified once. Default: 65,536. Counter: `signatures_dropped`.
    pub max_cached_signatures: usize,
    /// The maximum number of keys in the driver's [`CoordinateCache`](crate::CoordinateCache). Default: 65,536. Counters:
    /// `coordinates_refused`, `coordinates_evicted`.
    pub max_cached_coordinates: usize,
}

impl Config {
    /// Returns the extensions that a node with this configuration offers its peers.
    #[must_use]
    pub const fn extensions(&self) -> Extensions {
        if self.correct_paths {
            Extensions::BREAK_NOTICES
        } else {
            Extensions::NONE
        }
    }

    /// Returns how far a sequence is ahead of the time `unix_ms`, in milliseconds, if that is too far.
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
