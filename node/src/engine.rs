//! To be replaced by `dataplane`'s own types of the same names, as soon as they exist.

use std::fmt;
use std::str::FromStr;

use pinecone_dataplane::PortId;

/// Which engine moves frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The best that works here.
    #[default]
    Auto,
    /// io_uring, or do not start.
    Uring,
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
        })
    }
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            other => Err(format!("unknown engine {other:?}: auto or uring")),
        }
    }
}

/// Sees every traffic frame and may drop it.
pub trait PacketFilter: Send + Sync {
    /// Whether `frame`, which came in by `ingress`, goes on.
    fn pass(&self, ingress: PortId, frame: &[u8]) -> bool;
}
