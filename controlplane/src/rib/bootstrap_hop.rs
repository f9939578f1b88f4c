use pinecone_fib::PortId;
use pinecone_wire::{PublicKey, Watermark};

/// The next hop of a bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BootstrapHop {
    /// The port that the bootstrap is sent out of.
    pub(crate) port: PortId,
    /// The watermark that is written into the bootstrap. Its key is the one that the bootstrap is led towards.
    pub(crate) watermark: Watermark,
}

impl BootstrapHop {
    pub(super) fn new(port: PortId, key: PublicKey, sequence: u64) -> Self {
        let watermark = Watermark { key, sequence };
        Self { port, watermark }
    }
}
