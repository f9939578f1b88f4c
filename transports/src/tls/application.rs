//! The protocols inside of TLS.

use std::fmt;

use tokio_rustls::rustls::{SupportedProtocolVersion, version};

pub(super) static PEERING_VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13];
pub(super) static HTTP_VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// The protocol inside of TLS, which both ends agree on by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Application {
    /// The peering protocol (`tls://`), with TLS 1.3.
    Pinecone,
    /// HTTP/1.1 for the WebSocket upgrade (`wss://`), with TLS 1.2 or 1.3.
    Http,
}

impl Application {
    /// Returns the ALPN identifier: `pinecone` or `http/1.1`.
    #[must_use]
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Pinecone => b"pinecone",
            Self::Http => b"http/1.1",
        }
    }

    pub(super) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Pinecone => PEERING_VERSIONS,
            Self::Http => HTTP_VERSIONS,
        }
    }
}

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pinecone => "pinecone",
            Self::Http => "http/1.1",
        })
    }
}
