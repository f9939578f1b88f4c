//! Tests of both sides of the upgrade.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::raw::{BINARY, DEADLINE, FINAL, MASK, frame, read_frame};
use crate::websocket::{
    AcceptOptions, Accepted, ConnectOptions, OptionError, Refusal, TrustedProxies, UpgradeError,
    UpgradePath, accept, check_response, connect, respond,
};

/// The key and its proof in RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Returns a valid request, with some text replaced.
fn request(from: &str, to: &str) -> Vec<u8> {
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: example.org\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nOrigin: https://app.example.org\r\n\
         Sec-WebSocket-Protocol: chat, other\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    );
    assert!(request.contains(from), "{from:?}");
    request.replace(from, to).into_bytes()
}

fn answer(from: &str, to: &str) -> Result<String, Refusal> {
    let answer = respond(&request(from, to), None, &AcceptOptions::default())?;
    Ok(String::from_utf8(answer.response).unwrap())
}

async fn read_all(mut client: DuplexStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    text
}

#[test]
fn an_upgrade_declines_extensions_and_subprotocols() {
    let response = answer("GET", "GET").unwrap();
    let mut lines: Vec<_> = response.split("\r\n").map(str::to_lowercase).collect();
    lines[1..].sort();
    let mut expected = vec![
        "http/1.1 101 switching protocols".to_owned(),
        String::new(),
        String::new(),
        "connection: upgrade".to_owned(),
        format!("sec-websocket-accept: {}", PROOF.to_lowercase()),
        "upgrade: websocket".to_owned(),
    ];
    expected[1..].sort();
    assert_eq!(lines, expected);
    assert!(response.contains(PROOF));
}

#[test]
fn allowed_paths_upgrade_and_others_are_not_found() {
    for path in ["/", "/ws", "/?token=1", "/ws?a=b"] {
        answer("/ws ", &format!("{path} ")).unwrap();
    }
    for path in ["/wss", "/ws/", "//", "/%77s", "*", "/WS"] {
        let refusal = answer("/ws ", &format!("{path} ")).unwrap_err();
        assert_eq!(refusal, Refusal::NotFound(path.into()));
    }
    let options = AcceptOptions {
        paths: vec!["/peer".parse().unwrap()],
        ..AcceptOptions::default()
    };
    respond(&request("/ws ", "/peer "), None, &options).unwrap();
    respond(&request("/ws ", "/ "), None, &options).unwrap_err();
}

#[test]
fn bad_requests_have_their_status() {
    let malformed = 400;
    let cases = [
        ("Upgrade: WebSocket", "X: y", 404),
        ("Upgrade: WebSocket", "Upgrade: h2c", 404),
        ("GET", "POST", 405),
        ("HTTP/1.1", "HTTP/1.0", 400),
        ("HTTP/1.1", "HTTP/2.0", malformed),
        ("Version: 13", "Version: 8", 426),
        ("Sec-WebSocket-Version", "X", 426),
        ("Sec-WebSocket-Key", "X", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=!", 400),
        ("keep-alive, Upgrade", "keep-alive", 400),
        ("Host", "X", 400),
        ("Host", "Content-Length: 5\r\nHost", 400),
        ("Host", "Transfer-Encoding: chunked\r\nHost", 400),
        ("Host: ", "Host ", malformed),
        ("GET ", "GET\0", malformed),
        ("example.org", "\u{1}", malformed),
    ];
    for (from, to, status) in cases {
        let refusal = answer(from, to).unwrap_err();
        assert_eq!(refusal.status(), status, "{from:?} to {to:?}: {refusal}");
    }
    answer("Host", "Content-Length: 0\r\nHost").unwrap();
    let many = "a: b\r\n".repeat(200) + "Host";
    assert_eq!(answer("Host", &many).unwrap_err().status(), 431);
}

#[tokio::test]
async fn refusals_are_answered_and_closed() {
    let cases = [
        (request("/ws", "/other"), "HTTP/1.1 404 Not Found\r\n"),
        (
            request("GET", "POST"),
            "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n",
        ),
        (
            request("Version: 13", "Version: 7"),
            "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        ),
        (request("Host", "X"), "HTTP/1.1 400 Bad Request\r\n"),
        (
            b"\x01\0\0\0handshake".to_vec(),
            "HTTP/1.1 400 Bad Request\r\n",
        ),
        (
            b"A".repeat(8 * 1024),
            "HTTP/1.1 431 Request Header Fields Too Large\r\n",
        ),
        (
            request("Host", &format!("X: {}\r\nHost", "y".repeat(8 * 1024))),
            "HTTP/1.1 431 Request Header Fields Too Large\r\n",
        ),
    ];
    for (request, expected) in cases {
        let (server, mut client) = duplex(32 * 1024);
        client.write_all(&request).await.unwrap();
        let read = tokio::spawn(read_all(client));
        let options = AcceptOptions::default();
        let accepting = accept(server, None, &options);
        let refused = timeout(DEADLINE, accepting).await.unwrap();
        assert!(
            matches!(refused, Err(UpgradeError::Refused(_))),
            "{expected}"
        );
        drop(refused);
        let response = timeout(DEADLINE, read).await.unwrap().unwrap();
        assert!(response.starts_with(expected), "{response:?}");
        assert!(response.contains("\r\nConnection: close\r\n"));
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}

#[tokio::test]
async fn a_request_byte_by_byte_with_frames_behind_it_is_accepted() {
    for piece in [1, 7, 4096] {
        let (server, mut client) = duplex(64);
        let mut bytes = request("GET", "GET");
        bytes.extend(frame(FINAL | BINARY, Some(MASK), b"early"));
        let accepting =
            tokio::spawn(async { accept(server, None, &AcceptOptions::default()).await });
        let mut response = vec![0; 129];
        let exchange = async {
            for piece in bytes.chunks(piece) {
                client.write_all(piece).await.unwrap();
            }
            client.read_exact(&mut response).await.unwrap();
            let Accepted {
                mut stream,
                client: address,
            } = accepting.await.unwrap().unwrap();
            assert_eq!(address, None);
            let mut early = [0; 5];
            stream.read_exact(&mut early).await.unwrap();
            assert_eq!(&early, b"early");
            stream.write_all(b"answer").await.unwrap();
        };
        timeout(DEADLINE, exchange).await.unwrap();
        assert!(response.starts_with(b"HTTP/1.1 101 ") && response.ends_with(b"\r\n\r\n"));
        assert_eq!(read_frame(&mut client).await.unwrap().payload, b"answer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_a_byte_a_second_is_closed_in_time() {
    let (server, mut client) = duplex(64);
    let sending = tokio::spawn(async move {
        for byte in request("GET", "GET") {
            if client.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let began = Instant::now();
    let options = AcceptOptions::default();
    let error = accept(server, None, &options).await.unwrap_err();
    assert!(matches!(error, UpgradeError::Timeout(limit) if limit == options.time_limit));
    assert_eq!(began.elapsed().as_secs(), 10);
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_that_does_not_close_is_dropped() {
    let (server, mut client) = duplex(32 * 1024);
    client.write_all(&request("/ws", "/other")).await.unwrap();
    let began = Instant::now();
    let error = accept(server, None, &AcceptOptions::default()).await;
    assert!(matches!(error, Err(UpgradeError::Refused(_))));
    assert_eq!(began.elapsed().as_secs(), 1);
    // One that neither reads nor closes ends with the whole upgrade.
    let (server, mut client) = duplex(16);
    let request = request("/ws", "/other");
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        client.write_all(&request).await.unwrap();
        std::future::pending::<()>().await;
    });
    let error = accept(server, None, &AcceptOptions::default()).await;
    assert!(matches!(error, Err(UpgradeError::Timeout(_))));
    assert_eq!(began.elapsed().as_secs(), 10);
    sending.abort();
}

#[tokio::test]
async fn a_client_that_leaves_is_an_end_of_file() {
    for sent in [0, 20] {
        let (server, mut client) = duplex(4096);
        client
            .write_all(&request("GET", "GET")[..sent])
            .await
            .unwrap();
        drop(client);
        let error = accept(server, None, &AcceptOptions::default()).await;
        assert!(matches!(error, Err(UpgradeError::Eof)));
    }
}

#[tokio::test]
async fn a_client_upgrades_with_host_and_path() {
    let (mut server, client) = duplex(4096);
    let options = ConnectOptions {
        path: "/ws?room=1".into(),
        ..ConnectOptions::new("[2001:db8::1]:8080")
    };
    let connecting = tokio::spawn(async move { connect(client, &options).await });
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(server.read_u8().await.unwrap());
    }
    let text = String::from_utf8(request.clone()).unwrap();
    assert!(
        text.starts_with("GET /ws?room=1 HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n"),
        "{text}"
    );
    assert!(!text.to_lowercase().contains("extensions"));
    let answer = respond(&request, None, &AcceptOptions::default()).unwrap();
    let mut bytes = answer.response;
    bytes.extend(frame(FINAL | BINARY, None, b"early"));
    server.write_all(&bytes).await.unwrap();
    let mut stream = connecting.await.unwrap().unwrap();
    let mut early = [0; 5];
    stream.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    drop(server);
    let error = stream.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

fn response(from: &str, to: &str) -> Vec<u8> {
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {PROOF}\r\n\r\n"
    );
    assert!(response.contains(from));
    response.replace(from, to).into_bytes()
}

#[test]
fn bad_responses_are_refused() {
    check_response(&response("HTTP", "HTTP"), KEY).unwrap();
    check_response(&response("n: Upgrade", "n: keep-alive, upgrade"), KEY).unwrap();
    for (from, to) in [
        (PROOF, "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="),
        (PROOF, "S3PPLMBITXAQ9KYGZZHZRBK+XOO="),
        (
            PROOF,
            "x\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        ),
        ("Sec-WebSocket-Accept", "X"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Upgrade: websocket", "X: y"),
        ("Connection: Upgrade", "Connection: close"),
        (
            "Upgrade:",
            "Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade:",
        ),
        ("Upgrade:", "Sec-WebSocket-Protocol: chat\r\nUpgrade:"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("101", "1010"),
    ] {
        let error = check_response(&response(from, to), KEY).unwrap_err();
        assert!(
            matches!(error, UpgradeError::Response(_)),
            "{from} {to}: {error}"
        );
    }
    for status in ["200", "301", "404", "502"] {
        let error = check_response(&response("101", status), KEY).unwrap_err();
        assert!(matches!(error, UpgradeError::Status(code) if code.to_string() == status));
    }
    let error = check_response(&response("HTTP", "HTTP")[..60], KEY).unwrap_err();
    assert!(matches!(error, UpgradeError::Response("it is malformed")));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_badly_or_never_is_given_up() {
    type Expected = fn(&UpgradeError) -> bool;
    let cases: [(&[u8], Expected); 5] = [
        (b"", |e| matches!(e, UpgradeError::Timeout(_))),
        (b"HTTP/1.1 101 Sw", |e| {
            matches!(e, UpgradeError::Timeout(_))
        }),
        (b"\x01\0\0\0", |e| {
            matches!(e, UpgradeError::Response("it is not HTTP"))
        }),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", |e| {
            matches!(e, UpgradeError::Status(404))
        }),
        (&[b'A'; 9000], |e| {
            matches!(e, UpgradeError::Response("it is too long"))
        }),
    ];
    for (answer, expected) in cases {
        let (mut server, client) = duplex(16 * 1024);
        server.write_all(answer).await.unwrap();
        let options = ConnectOptions::new("example.org");
        let error = connect(client, &options).await.unwrap_err();
        assert!(expected(&error), "{error}");
    }
    let (server, client) = duplex(4096);
    drop(server);
    let error = connect(client, &ConnectOptions::new("example.org")).await;
    assert!(matches!(
        error,
        Err(UpgradeError::Io(_) | UpgradeError::Eof)
    ));
}

#[tokio::test]
async fn hosts_and_paths_that_break_a_request_are_refused() {
    for (host, path) in [
        ("a\r\nX: y", "/"),
        ("a", "ws"),
        ("a", "/ws HTTP/1.1\r\nX: y"),
        ("a", "/\n"),
        ("a", ""),
        ("a", "http://b/"),
    ] {
        let (_server, client) = duplex(4096);
        let options = ConnectOptions {
            path: path.into(),
            ..ConnectOptions::new(host)
        };
        let error = connect(client, &options).await.unwrap_err();
        assert!(
            matches!(error, UpgradeError::Request(_)),
            "{host:?} {path:?}"
        );
    }
}

/// Returns the client's address for a request with these headers from a peer.
fn client(peer: &str, headers: &[&str]) -> Result<IpAddr, Refusal> {
    let mut options = AcceptOptions::default();
    for network in ["10.0.0.0/8", "fd00::/8", "192.0.2.7"] {
        options.trusted.add(network).unwrap();
    }
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = request("Host", &format!("{headers}Host"));
    let answer = respond(&request, Some(peer.parse().unwrap()), &options)?;
    Ok(answer.client.unwrap())
}

#[test]
fn trusted_proxies_report_the_client() {
    let cases: [(&str, &[&str], &str); 21] = [
        ("10.0.0.1", &[], "10.0.0.1"),
        (
            "10.0.0.1",
            &["X-Forwarded-For: 198.51.100.1"],
            "198.51.100.1",
        ),
        (
            "::ffff:10.0.0.1",
            &["X-Forwarded-For: 198.51.100.1"],
            "198.51.100.1",
        ),
        (
            "192.0.2.7",
            &["X-Forwarded-For: ::ffff:198.51.100.1"],
            "198.51.100.1",
        ),
        ("fd00::1", &["X-Forwarded-For: 2001:db8::1"], "2001:db8::1"),
        // A peer that is not trusted.
        ("192.0.2.8", &["X-Forwarded-For: 198.51.100.1"], "192.0.2.8"),
        (
            "::ffff:192.0.2.8",
            &["Forwarded: for=198.51.100.1"],
            "192.0.2.8",
        ),
        // The client wrote what is left of its own address.
        (
            "10.0.0.1",
            &["X-Forwarded-For: 203.0.113.1, 198.51.100.1"],
            "198.51.100.1",
        ),
        (
            "10.0.0.1",
            &[
                "X-Forwarded-For: 203.0.113.1",
                "X-Forwarded-For: 198.51.100.1",
            ],
            "198.51.100.1",
        ),
        (
            "10.0.0.1",
            &["X-Forwarded-For: 203.0.113.1, 198.51.100.1,10.2.2.2, fd00::2"],
            "198.51.100.1",
        ),
        (
            "10.0.0.1",
            &["X-Forwarded-For: 10.9.9.9, 10.2.2.2"],
            "10.9.9.9",
        ),
        (
            "10.0.0.1",
            &["X-Forwarded-For: 198.51.100.1:4711"],
            "198.51.100.1",
        ),
        (
            "10.0.0.1",
            &["X-Forwarded-For: [2001:db8::1]:4711"],
            "2001:db8::1",
        ),
        (
            "10.0.0.1",
            &["X-Forwarded-For: [2001:db8::1]"],
            "2001:db8::1",
        ),
        // Elements without an address.
        (
            "10.0.0.1",
            &["X-Forwarded-For: 198.51.100.1, unknown, 10.2.2.2"],
            "10.2.2.2",
        ),
        ("10.0.0.1", &["X-Forwarded-For: "], "10.0.0.1"),
        ("10.0.0.1", &["Forwarded: for=_hidden"], "10.0.0.1"),
        (
            "10.0.0.1",
            &["Forwarded: proto=https;FOR=198.51.100.1;by=10.0.0.1"],
            "198.51.100.1",
        ),
        (
            "10.0.0.1",
            &[
                "Forwarded: for=203.0.113.1;x=\"a,b\", for=\"[2001:db8::1]:4711\"",
                "Forwarded: for=10.1.1.1",
            ],
            "2001:db8::1",
        ),
        (
            "10.0.0.1",
            &[
                "Forwarded: for=198.51.100.1",
                "X-Forwarded-For: 198.51.100.1",
            ],
            "198.51.100.1",
        ),
        // The rightmost ones agree.
        (
            "10.0.0.1",
            &[
                "Forwarded: for=198.51.100.1",
                "X-Forwarded-For: 203.0.113.1, 198.51.100.1",
            ],
            "198.51.100.1",
        ),
    ];
    for (peer, headers, expected) in cases {
        let address: IpAddr = expected.parse().unwrap();
        assert_eq!(client(peer, headers), Ok(address), "{peer} {headers:?}");
    }
    let disagree = [
        "Forwarded: for=203.0.113.1",
        "X-Forwarded-For: 198.51.100.1",
    ];
    assert_eq!(client("10.0.0.1", &disagree), Err(Refusal::Forwarded));
    // Nobody believes them here.
    assert!(client("192.0.2.8", &disagree).is_ok());
    let answer = respond(&request("GET", "GET"), None, &AcceptOptions::default()).unwrap();
    assert_eq!(answer.client, None);
}

#[test]
fn options_are_checked() {
    let path = |text: &str| text.parse::<UpgradePath>();
    assert_eq!(path("/a/b").unwrap().as_str(), "/a/b");
    for text in ["", "ws", "/a?b", "/a#b", "/a b", "http://a/"] {
        assert_eq!(path(text), Err(OptionError::Path(text.into())));
    }
    let mut trusted = TrustedProxies::default();
    trusted.add("127.0.0.1").unwrap();
    trusted.add("::/0").unwrap();
    assert!(trusted.contains("127.0.0.1".parse().unwrap()));
    assert!(!trusted.contains("127.0.0.2".parse().unwrap()));
    assert!(trusted.contains("2001:db8::1".parse().unwrap()));
    for text in ["", "10.0.0.0/33", "localhost", "10.0.0.0/8,::1"] {
        assert_eq!(trusted.add(text), Err(OptionError::Network(text.into())));
    }
}
