//! The protocol's time constants.
//!
//! Each names the section of the protocol that defines it. Intervals that are a node's own choice stand where they
//! are used.

use std::time::Duration;

/// Time within which both sides must finish the handshake (section 2).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without sending anything after which a keepalive is sent (section 3).
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// Time without receiving anything after which a peering is dead (section 3).
pub const PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time within which a write must finish, else the peering ends (section 3).
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

/// Interval at which a root announces itself with a new sequence (section 4).
pub const ROOT_ANNOUNCEMENT_INTERVAL: Duration = Duration::from_secs(30 * 60);
/// Age from which an announcement no longer makes its sender eligible as a parent (section 4).
pub const ANNOUNCEMENT_LIFETIME: Duration = Duration::from_secs(45 * 60);
/// Time between dropping a parent for bad news and selecting another (section 4).
pub const REPARENT_DELAY: Duration = Duration::from_secs(1);

/// Interval of SNEK maintenance (section 5).
pub const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which a node with a parent sends a bootstrap (section 5).
pub const BOOTSTRAP_INTERVAL: Duration = Duration::from_secs(5);
/// Time from when a route was last refreshed until it expires (section 5).
pub const ROUTE_LIFETIME: Duration = Duration::from_secs(10);

/// Time for which the coordinates of another node are cached (section 7).
pub const COORDINATES_LIFETIME: Duration = Duration::from_secs(60);

/// Interval at which a node sends wakeup broadcasts (section 8).
pub const BROADCAST_INTERVAL: Duration = Duration::from_secs(60);
/// Minimum time between two accepted broadcasts of one key (section 8).
pub const BROADCAST_MIN_GAP: Duration = Duration::from_secs(30);
/// Time for which a broadcast is remembered (section 8).
pub const BROADCAST_MEMORY: Duration = Duration::from_secs(180);

/// Interval at which a node looks whether static peers must be dialled again (section 9).
pub const STATIC_PEER_INTERVAL: Duration = Duration::from_secs(5);
/// Time within which a dialled connection must be established (section 9).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
