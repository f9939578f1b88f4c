//! The server's side of the upgrade.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};

use super::error::{Refusal, UpgradeError};
use super::forwarded::client_address;
use super::frame::Role;
use super::head::{HeadError, read_head};
use super::linger::linger;
use super::options::AcceptOptions;
use super::stream::WebSocketStream;

/// Time that a refused client has to read the response and close.
const LINGER: Duration = Duration::from_secs(1);

/// Longest path in an error, in characters.
const MAX_QUOTED: usize = 64;

/// An upgraded connection.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The stream.
    pub stream: WebSocketStream<S>,
    /// The client's address: that of the socket, or the one that a trusted proxy reports. `None` if the socket has
    /// none.
    pub client: Option<IpAddr>,
}

/// The answer to a valid request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The response to send.
    pub response: Vec<u8>,
    /// The client's address.
    pub client: Option<IpAddr>,
}

/// Reads a request, and upgrades the connection or refuses it with the proper status code. `peer` is the address of
/// the socket's peer. No extension and no subprotocol is accepted.
///
/// # Errors
/// The request was refused, was not finished in time, or the stream failed. It is closed.
pub async fn accept<S>(
    mut stream: S,
    peer: Option<IpAddr>,
    options: &AcceptOptions,
) -> Result<Accepted<S>, UpgradeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let upgrade = async {
        let answer = match read_head(&mut stream).await {
            Ok(head) => {
                respond(head.as_bytes(), peer, options).map(|upgrade| (upgrade, head.into_rest()))
            }
            Err(HeadError::NotHttp) => Err(Refusal::Malformed("no HTTP".into())),
            Err(HeadError::TooLong) => Err(Refusal::TooLong),
            Err(HeadError::Eof) => return Err(UpgradeError::Eof),
            Err(HeadError::Io(error)) => return Err(error.into()),
        };
        match answer {
            Ok((upgrade, early)) => {
                stream.write_all(&upgrade.response).await?;
                stream.flush().await?;
                Ok((upgrade.client, early))
            }
            Err(refusal) => {
                stream.write_all(&refusal_response(&refusal)).await?;
                stream.shutdown().await?;
                // The refusal is the error, even if the client does not close.
                let _ = timeout(LINGER, linger(&mut stream)).await;
                Err(refusal.into())
            }
        }
    };
    let (client, early) = timeout(options.time_limit, upgrade)
        .await
        .map_err(|_| UpgradeError::Timeout(options.time_limit))??;
    let stream = WebSocketStream::new(stream, Role::Server, early);
    Ok(Accepted { stream, client })
}

/// Returns the answer to a request, given its head.
///
/// # Errors
/// The request must be refused.
pub fn respond(
    head: &[u8],
    peer: Option<IpAddr>,
    options: &AcceptOptions,
) -> Result<Upgrade, Refusal> {
    let request = match Request::try_parse(head) {
        Ok(Some((_, request))) => request,
        Ok(None) => return Err(Refusal::Malformed("incomplete".into())),
        Err(error) => return Err(refusal(&error)),
    };
    let headers = request.headers();
    let path = request.uri().path();
    let is_allowed = options.paths.iter().any(|allowed| allowed.as_str() == path);
    let is_upgrade = headers
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !is_allowed || !is_upgrade {
        return Err(Refusal::NotFound(path.chars().take(MAX_QUOTED).collect()));
    }
    if !headers.contains_key(HOST) {
        return Err(Refusal::Header("Host"));
    }
    // Frames follow the head, so a body would be taken for frames.
    if headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|len| len != "0")
    {
        return Err(Refusal::Header("Content-Length"));
    }
    let response = create_response(&request).map_err(|error| refusal(&error))?;
    let client = peer
        .map(|peer| client_address(headers, peer, &options.trusted))
        .transpose()?;
    let mut bytes = Vec::new();
    write_response(&mut bytes, &response).map_err(|error| refusal(&error))?;
    let response = bytes;
    Ok(Upgrade { response, client })
}

fn refusal(error: &Error) -> Refusal {
    let Error::Protocol(protocol) = error else {
        return match error {
            Error::Capacity(CapacityError::TooManyHeaders) => Refusal::TooLong,
            _ => Refusal::Malformed(error.to_string()),
        };
    };
    match protocol {
        ProtocolError::WrongHttpMethod => Refusal::Method,
        ProtocolError::WrongHttpVersion => Refusal::HttpVersion,
        ProtocolError::MissingConnectionUpgradeHeader => Refusal::Header("Connection"),
        ProtocolError::MissingSecWebSocketVersionHeader => Refusal::Version,
        ProtocolError::MissingSecWebSocketKey | ProtocolError::InvalidSecWebSocketKey => {
            Refusal::Header("Sec-WebSocket-Key")
        }
        _ => Refusal::Malformed(protocol.to_string()),
    }
}

fn refusal_response(refusal: &Refusal) -> Vec<u8> {
    let status = refusal.status();
    let (reason, header) = match status {
        404 => ("Not Found", ""),
        405 => ("Method Not Allowed", "Allow: GET\r\n"),
        426 => (
            "Upgrade Required",
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        ),
        431 => ("Request Header Fields Too Large", ""),
        _ => ("Bad Request", ""),
    };
    let len = reason.len() + 1;
    format!(
        "HTTP/1.1 {status} {reason}\r\n{header}Content-Type: text/plain\r\nContent-Length: {len}\r\n\
         Connection: close\r\n\r\n{reason}\n"
    )
    .into_bytes()
}
