use crate::{Direction, LinkType};

/// Describes a stream that the embedding program has connected.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// The type of the link. Of several peerings with one key and priority, the one with the faster type is used.
    /// Default: [`LinkType::Remote`].
    pub link: LinkType,
    /// Set if keepalives are sent and a silent peer is taken for dead (protocol section 3). Both ends must agree.
    /// Default: set.
    pub keepalives: bool,
    /// The other end's address, as text for people. Default: `stream`.
    pub remote: String,
    /// The end that connected it, as shown in [`Peer::direction`](crate::Peer::direction). Default:
    /// [`Direction::Outbound`].
    pub direction: Direction,
    /// The priority. Of several peerings with one key, only those with the highest are used. Default: 0.
    pub priority: u8,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            link: LinkType::Remote,
            keepalives: true,
            remote: "stream".to_owned(),
            direction: Direction::Outbound,
            priority: 0,
        }
    }
}
