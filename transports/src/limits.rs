use std::time::Duration;

use pinecone_wire::timing::{CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT};

/// Limits on times and numbers. The defaults are those of the protocol where it has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time for a whole handshake. Default: 10 s.
    pub handshake_timeout: Duration,
    /// Time to look up a name. Default: 20 s, as the system's resolver waits 5 s for each name server.
    pub lookup_timeout: Duration,
    /// Time to connect to each address. Default: 5 s.
    pub connect_timeout: Duration,
    /// Number of dials at the same time, to static and other peers. Others wait. Default: 64.
    pub max_dials: usize,
    /// Number of inbound connections that are handshaking or wait to become peerings. Default: 1,024,
    /// and never more than an eighth of the limit on open files.
    ///
    /// A connection above the limit takes the place of the oldest handshake from the address that has
    /// the most, unless its own address has as many: then it is closed. Both are counted in
    /// [`TransportCounters::over_cap`](crate::TransportCounters::over_cap).
    pub inbound_handshakes: usize,
    /// Number of such connections for one remote address (IPv6: one /64), so that no host takes every place.
    /// Default: 512, and never more than half of what open files allow.
    pub inbound_handshakes_per_address: usize,
    /// Longest TCP segment that either side of a connection sends, in bytes, for paths that drop longer packets without
    /// a notice. Default: as long as the interfaces allow.
    pub max_segment: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: HANDSHAKE_TIMEOUT,
            lookup_timeout: Duration::from_secs(20),
            connect_timeout: CONNECT_TIMEOUT,
            max_dials: 64,
            inbound_handshakes: 1024,
            inbound_handshakes_per_address: 512,
            max_segment: None,
        }
    }
}
