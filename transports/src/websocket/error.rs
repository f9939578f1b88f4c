//! The errors of this module.

use std::io;
use std::time::Duration;

/// A breach of RFC 6455, or of the limits of this node, by the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A text message: peerings use binary ones.
    #[error("text message")]
    Text,
    /// A message above [`MAX_MESSAGE`](super::MAX_MESSAGE).
    #[error("message above {} bytes", super::frame::MAX_MESSAGE)]
    TooLong,
    /// A reserved opcode.
    #[error("reserved opcode")]
    Opcode,
    /// A reserved bit, which only an extension may use.
    #[error("reserved bit, though no extension was agreed")]
    ReservedBit,
    /// An unmasked frame from a client.
    #[error("unmasked frame from a client")]
    Unmasked,
    /// A masked frame from a server.
    #[error("masked frame from a server")]
    Masked,
    /// A length that is not in its shortest form or above 2^63.
    #[error("length not in its shortest form")]
    Length,
    /// A control frame that is fragmented or has more than 125 bytes.
    #[error("fragmented or too long control frame")]
    Control,
    /// A continuation frame without a message to continue.
    #[error("continuation of no message")]
    Continuation,
    /// A new message before the end of a fragmented one.
    #[error("message within a fragmented message")]
    Interleaved,
    /// A close frame with a code that must not be sent.
    #[error("invalid close code")]
    CloseCode,
    /// A close frame whose reason is not UTF-8.
    #[error("close reason is not UTF-8")]
    CloseReason,
}

impl Violation {
    /// Returns the code for the close frame (RFC 6455, section 7.4.1).
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::Text => 1003,
            Self::CloseReason => 1007,
            Self::TooLong => 1009,
            Self::Opcode
            | Self::ReservedBit
            | Self::Unmasked
            | Self::Masked
            | Self::Length
            | Self::Control
            | Self::Continuation
            | Self::Interleaved
            | Self::CloseCode => 1002,
        }
    }
}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(io::ErrorKind::InvalidData, violation)
    }
}

/// The reason why a server refused a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The request is not HTTP.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// The head of the request is too long or has too many headers.
    #[error("request is too long")]
    TooLong,
    /// The path is not one of those that upgrade, or the request asks for no upgrade.
    #[error("no WebSocket upgrade, or none on this path: {0:?}")]
    NotFound(String),
    /// The method is not GET.
    #[error("method is not GET")]
    Method,
    /// The version is below HTTP/1.1, as a reverse proxy may send: nginx needs `proxy_http_version 1.1`.
    #[error("HTTP version is below 1.1: a reverse proxy must forward HTTP/1.1")]
    HttpVersion,
    /// The version of WebSocket is not 13.
    #[error("WebSocket version is not 13")]
    Version,
    /// A header is missing, malformed or not allowed.
    #[error("missing, malformed or forbidden header {0}")]
    Header(&'static str),
    /// A trusted proxy passed on `Forwarded` and `X-Forwarded-For` with different addresses, so that a client may
    /// have written one of them.
    #[error("Forwarded and X-Forwarded-For disagree: the proxy must drop one of them")]
    Forwarded,
}

impl Refusal {
    /// Returns the status code of the response.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::HttpVersion | Self::Header(_) | Self::Forwarded => 400,
            Self::NotFound(_) => 404,
            Self::Method => 405,
            Self::Version => 426,
            Self::TooLong => 431,
        }
    }
}

/// The reason why an upgrade failed. The stream is closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The client's request was refused, and answered with a status code.
    #[error("WebSocket upgrade refused: {0}")]
    Refused(#[from] Refusal),
    /// The server answered with another status than 101.
    #[error(
        "server answers with HTTP status {0}, not with a WebSocket upgrade: check host and path"
    )]
    Status(u16),
    /// The server's response is no valid upgrade.
    #[error("server's response is no WebSocket upgrade: {0}")]
    Response(&'static str),
    /// The host or path cannot be written in a request.
    #[error("{0:?} cannot be requested: write the path as in /ws")]
    Request(String),
    /// The upgrade was not finished in time.
    #[error("WebSocket upgrade not finished within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The peer closed the stream first.
    #[error("peer closed the stream during the WebSocket upgrade")]
    Eof,
    /// The stream failed.
    #[error("stream failed during the WebSocket upgrade: {0}")]
    Io(#[from] io::Error),
}

/// A malformed option of the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// The path cannot be one of a request.
    #[error("{0:?} is no path: write it as in /ws, without ? and #")]
    Path(String),
    /// The text is no network.
    #[error("{0:?} is no network: write an address and prefix as in 10.0.0.0/8 or fd00::/8")]
    Network(String),
}
