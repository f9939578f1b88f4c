use std::fmt;

/// The number of one of a node's peerings; 0 is the node itself (protocol section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u32);

impl PortId {
    /// The node itself.
    pub const LOCAL: Self = Self(0);
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kind of link that a peering runs over, fastest first (protocol section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LinkType {
    /// Within one process.
    Pipe = 0,
    /// Found by LAN multicast.
    Multicast = 1,
    /// Found by Bonjour.
    Bonjour = 2,
    /// TCP or WebSocket.
    Remote = 3,
    /// Bluetooth.
    Bluetooth = 4,
}
