//! The client's side of the upgrade.

use std::time::Duration;

use pinecone_wire::timing::HANDSHAKE_TIMEOUT;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tungstenite::handshake::client::{Request, Response, generate_key, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::StatusCode;
use tungstenite::http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};

use super::error::UpgradeError;
use super::frame::Role;
use super::head::{HeadError, read_head};
use super::stream::WebSocketStream;

/// Options of [`connect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The host as in a URL: IPv6 addresses in brackets, and a port unless it is the scheme's default.
    pub host: String,
    /// The path, with a query if there is one. Default: `/`.
    pub path: String,
    /// Time for the whole upgrade. Default: 10 s.
    pub time_limit: Duration,
}

impl ConnectOptions {
    /// Creates options for `host` and the path `/`.
    #[must_use]
    pub fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            path: "/".to_owned(),
            time_limit: HANDSHAKE_TIMEOUT,
        }
    }
}

/// Upgrades a connection to a server. Offers no extension and no subprotocol.
///
/// # Errors
/// The server refused, did not answer in time, its response is invalid, or the stream failed. It is closed.
pub async fn connect<S>(
    mut stream: S,
    options: &ConnectOptions,
) -> Result<WebSocketStream<S>, UpgradeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (request, key) = request(options)?;
    let upgrade = async {
        stream.write_all(&request).await?;
        stream.flush().await?;
        let head = read_head(&mut stream).await.map_err(|error| match error {
            HeadError::NotHttp => UpgradeError::Response("it is not HTTP"),
            HeadError::TooLong => UpgradeError::Response("it is too long"),
            HeadError::Eof => UpgradeError::Eof,
            HeadError::Io(error) => error.into(),
        })?;
        check_response(head.as_bytes(), &key)?;
        Ok::<_, UpgradeError>(head.into_rest())
    };
    let early = timeout(options.time_limit, upgrade)
        .await
        .map_err(|_| UpgradeError::Timeout(options.time_limit))??;
    Ok(WebSocketStream::new(stream, Role::Client, early))
}

/// Returns a request and its key.
fn request(options: &ConnectOptions) -> Result<(Vec<u8>, String), UpgradeError> {
    let ConnectOptions { host, path, .. } = options;
    let malformed = || UpgradeError::Request(format!("{host}{path}"));
    if !path.starts_with('/') {
        return Err(malformed());
    }
    let request = Request::get(path.as_str())
        .header(HOST, host)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, generate_key())
        .body(())
        .map_err(|_| malformed())?;
    generate_request(request).map_err(|_| malformed())
}

/// Checks the head of a server's response to a request with this `Sec-WebSocket-Key`.
///
/// # Errors
/// The response is malformed, or does not upgrade to plain WebSocket for this key.
pub fn check_response(head: &[u8], key: &str) -> Result<(), UpgradeError> {
    let invalid = |reason| Err(UpgradeError::Response(reason));
    let Ok(Some((_, response))) = Response::try_parse(head) else {
        return invalid("it is malformed");
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(UpgradeError::Status(response.status().as_u16()));
    }
    let headers = response.headers();
    if !has_token(headers, UPGRADE, "websocket") {
        return invalid("Upgrade is not websocket");
    }
    if !has_token(headers, CONNECTION, "upgrade") {
        return invalid("Connection is not Upgrade");
    }
    let accept = derive_accept_key(key.as_bytes());
    let accepts: Vec<_> = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter().collect();
    if accepts != [&accept] {
        return invalid("Sec-WebSocket-Accept is wrong");
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return invalid("it has an extension that was not offered");
    }
    if headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return invalid("it has a subprotocol that was not offered");
    }
    Ok(())
}

/// Reports whether a header has this token in its list.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}
