use std::fmt;

/// The transport that a URI names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `tcp://`: plain TCP.
    Tcp,
    /// `tls://`: TLS over TCP.
    Tls,
    /// `ws://`: a WebSocket over TCP.
    Ws,
    /// `wss://`: a WebSocket over TLS over TCP.
    Wss,
}

impl Scheme {
    /// All schemes.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// Returns the name, without `://`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Returns the port of a URI that names none.
    pub(crate) const fn default_port(self) -> Option<u16> {
        match self {
            Self::Tcp | Self::Tls => None,
            Self::Ws => Some(80),
            Self::Wss => Some(443),
        }
    }

    /// Reports whether a URI may have a path.
    pub(crate) const fn has_path(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// Reports whether the connection is made with TLS.
    pub(crate) const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Returns the scheme of this name, in any case.
    pub(super) fn find(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
