use std::fmt;
use std::str::FromStr;

/// Whether plain streams to other nodes are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncryptLinks {
    /// Never.
    Off,
    /// If the peer offers it too.
    #[default]
    Prefer,
    /// Always: peers that do not offer it are refused on plain streams. TLS also satisfies this.
    Require,
}

impl fmt::Display for EncryptLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Prefer => "prefer",
            Self::Require => "require",
        })
    }
}

impl FromStr for EncryptLinks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            _ => Err(format!("{text:?}: write off, prefer or require")),
        }
    }
}
