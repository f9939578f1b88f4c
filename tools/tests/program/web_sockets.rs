//! Peerings over WebSockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use pinecone_wire::frame::KEEPALIVE;
use pinecone_wire::{HANDSHAKE_LEN, SecretKey, handshake};
use serde_json::json;
use tempfile::TempDir;

use crate::daemon::{Daemon, Start, key, program, run, wait_until};
use crate::outcome::assert_fails;
use crate::raw_peer::{chain, connect, read_to_end};

const BINARY: u8 = 0x82;
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

fn listen(arguments: &[&str]) -> Daemon {
    Start {
        listen: Some("ws://127.0.0.1:0"),
        arguments,
        ..Start::default()
    }
    .run()
}

fn dial(uri: String, arguments: &[&str]) -> Daemon {
    Start {
        connect: vec![uri],
        arguments,
        ..Start::default()
    }
    .run()
}

/// A WebSocket client that is written by hand.
struct Client {
    stream: TcpStream,
    key: SecretKey,
}

impl Client {
    /// Upgrades a connection and performs the peering handshake. `header` is sent with the request.
    fn connect(daemon: &Daemon, key: SecretKey, header: &str) -> Self {
        let mut stream = connect(host(daemon));
        let response = request(&mut stream, "/", header);
        assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
        let mut this = Self { stream, key };
        this.send(BINARY, &handshake::encode(&this.key));
        let (head, bytes) = this.receive();
        assert_eq!((head, bytes.len()), (BINARY, HANDSHAKE_LEN));
        this.send(BINARY, &chain(&[&this.key], 1));
        this
    }

    /// Sends a frame. A mask of zeros leaves the payload as it is.
    fn send(&mut self, head: u8, payload: &[u8]) {
        let mut frame = vec![head, 0x80 | 126];
        frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        if payload.len() < 126 {
            frame = vec![head, 0x80 | payload.len() as u8];
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.stream.write_all(&frame).unwrap();
    }

    fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).unwrap();
        let mut len = usize::from(head[1]);
        if len == 126 {
            let mut long = [0; 2];
            self.stream.read_exact(&mut long).unwrap();
            len = u16::from_be_bytes(long).into();
        }
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).unwrap();
        (head[0], payload)
    }

    /// Receives frames until the close frame, and returns its code.
    fn close_code(&mut self) -> u16 {
        loop {
            let (head, payload) = self.receive();
            if head == CLOSE {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}

/// Returns `host:port` of the listener.
fn host(daemon: &Daemon) -> &str {
    daemon.address().strip_prefix("ws://").unwrap()
}

/// Asks for an upgrade and returns the head of the response.
fn request(stream: &mut TcpStream, path: &str, header: &str) -> String {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

/// Sends a request and returns the whole response, after which the daemon closes the connection.
fn refusal(daemon: &Daemon, request: &str) -> String {
    let mut stream = connect(host(daemon));
    stream.write_all(request.as_bytes()).unwrap();
    String::from_utf8(read_to_end(&mut stream)).unwrap()
}

/// Returns the number of open descriptors.
fn descriptors(daemon: &Daemon) -> usize {
    let all = format!("/proc/{}/fd", daemon.process_id());
    std::fs::read_dir(all).unwrap().count()
}

/// Returns the number of descriptors after the end of the first relay, which starts a thread that has descriptors of its
/// own.
fn descriptors_without_relays(daemon: &Daemon) -> usize {
    let client = Client::connect(daemon, key(8), "");
    wait_until("the first peering", || {
        daemon.peer(&key(8).public_key()).ok_or("none")
    });
    // The connection, and both ends of the socket pair.
    let rest = descriptors(daemon) - 3;
    drop(client);
    wait_until("the end of the first relay", || {
        let open = descriptors(daemon);
        (open <= rest).then_some(open).ok_or(open)
    })
}

/// Fails with the peering with a key, if there is one.
fn gone(daemon: &Daemon, key: &SecretKey) -> Result<(), String> {
    match daemon.peer(&key.public_key()) {
        None => Ok(()),
        Some(peer) => Err(peer.to_string()),
    }
}

#[test]
fn two_nodes_peer_and_pass_the_longest_frames() {
    for engine in ["auto", "epoll"] {
        let server = listen(&["--engine", engine]);
        assert!(server.address().starts_with("ws://127.0.0.1:"));
        for path in ["", "/ws"] {
            let uri = format!("{}{path}?key={}", server.address(), server.key);
            let client = dial(uri, &["--engine", engine]);
            client.wait_for_ping(&server.key);
            server.wait_for_ping(&client.key);
            for (daemon, other) in [(&server, &client), (&client, &server)] {
                let reply = daemon.ask(&json!({
                    "request": "ping", "key": other.key.to_string(), "count": 1, "size": 60000,
                    "interval_ms": 1000, "timeout_ms": 10000,
                }));
                assert!(reply.get("rtt_ms").is_some(), "{reply}");
                let peer = daemon.peer(&other.key).unwrap();
                assert_eq!(peer["transport"], "ws", "{peer}");
            }
        }
    }
}

#[test]
fn a_lost_websocket_is_dialled_again() {
    let server = listen(&[]);
    let client = dial(server.address().to_owned(), &[]);
    client.wait_for_ping(&server.key);
    let port = server.peer(&client.key).unwrap()["port"].clone();
    server.ask(&json!({ "request": "disconnect", "port": port }));
    wait_until("a second connection", || {
        let n = server.counter("connections_accepted");
        (n == 2).then_some(()).ok_or(n)
    });
    client.wait_for_ping(&server.key);
}

#[test]
fn a_stream_of_bytes_passes_a_node_with_websockets() {
    let server = listen(&[]);
    let home = TempDir::new().unwrap();
    let mut receiver = program(home.path())
        .args(["recv", "--connect", server.address()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stderr = std::io::BufReader::new(receiver.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    let to = line
        .trim()
        .strip_prefix("receiving as ")
        .unwrap()
        .to_owned();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let file = home.path().join("bytes");
    std::fs::write(&file, &bytes).unwrap();
    let sent = program(home.path())
        .args(["send", &to, "--connect", server.address()])
        .stdin(std::fs::File::open(file).unwrap())
        .output()
        .unwrap();
    assert!(sent.status.success(), "{sent:?}");
    let received = receiver.wait_with_output().unwrap();
    assert!(received.stdout == bytes, "{} bytes", received.stdout.len());
}

#[test]
fn requests_for_anything_else_get_404() {
    let daemon = listen(&[]);
    let plain = refusal(&daemon, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(plain.starts_with("HTTP/1.1 404 "), "{plain}");
    let mut stream = connect(host(&daemon));
    let elsewhere = request(&mut stream, "/admin", "");
    assert!(elsewhere.starts_with("HTTP/1.1 404 "), "{elsewhere}");
    drop(stream);
    // The daemon waits a little for the client to close.
    wait_until("both to be counted", || {
        let n = daemon.counter("handshakes_refused_upgrade");
        (n == 2).then_some(()).ok_or(n)
    });
    // A dialler gets the status code.
    let client = dial(format!("{}/admin", daemon.address()), &[]);
    client.wait_for_log("HTTP status 404");

    let mesh = listen(&["--ws-path", "/mesh", "--ws-path", "/other"]);
    for (path, status) in [
        ("/", 404),
        ("/ws", 404),
        ("/mesh", 101),
        ("/other?x=1", 101),
    ] {
        let response = request(&mut connect(host(&mesh)), path, "");
        let line = format!("HTTP/1.1 {status} ");
        assert!(response.starts_with(&line), "{path}: {response}");
    }
    dial(format!("{}/mesh", mesh.address()), &[]).wait_for_ping(&mesh.key);
}

#[test]
fn a_text_message_ends_the_peering() {
    let daemon = listen(&[]);
    let peer = key(7);
    let mut client = Client::connect(&daemon, peer.clone(), "");
    wait_until("the peering", || {
        daemon.peer(&peer.public_key()).ok_or("none")
    });
    client.send(TEXT, b"hello");
    assert_eq!(client.close_code(), 1003);
    assert!(read_to_end(&mut client.stream).is_empty());
    drop(client);
    wait_until("the end of the peering", || gone(&daemon, &peer));
}

#[test]
fn a_peer_that_does_not_close_is_dropped_after_a_violation() {
    let daemon = listen(&[]);
    let before = descriptors_without_relays(&daemon);
    let peer = key(7);
    let mut client = Client::connect(&daemon, peer.clone(), "");
    wait_until("the peering", || {
        daemon.peer(&peer.public_key()).ok_or("none")
    });
    client.send(TEXT, b"hello");
    // The daemon has sent its close frame, and waits for this end to close, but not for long.
    wait_until("the end of the peering", || gone(&daemon, &peer));
    // The close frame, and the end of the connection.
    assert_eq!(client.close_code(), 1003);
    assert!(read_to_end(&mut client.stream).is_empty());
    wait_until("the end of the relay", || {
        let open = descriptors(&daemon);
        (open <= before).then_some(()).ok_or(open)
    });
}

#[test]
fn a_peer_that_keeps_its_connection_open_is_dropped_after_the_peering() {
    let daemon = listen(&[]);
    let before = descriptors_without_relays(&daemon);
    let peer = key(7);
    let _client = Client::connect(&daemon, peer.clone(), "");
    let port = wait_until("the peering", || {
        let peer = daemon.peer(&peer.public_key());
        peer.map(|peer| peer["port"].clone()).ok_or("none")
    });
    daemon.ask(&json!({ "request": "disconnect", "port": port }));
    wait_until("the end of the relay", || {
        let open = descriptors(&daemon);
        (open <= before).then_some(()).ok_or(open)
    });
}

#[test]
fn the_header_of_a_trusted_proxy_names_the_client() {
    for (arguments, is_believed) in [
        (&["--trust-forwarded-for", "10.0.0.0/8,127.0.0.1"][..], true),
        (&["--trust-forwarded-for", "10.0.0.0/8"], false),
        (&[], false),
    ] {
        let daemon = listen(arguments);
        let header = "X-Forwarded-For: 192.0.2.1, 203.0.113.7\r\n";
        let peer = key(7);
        let _client = Client::connect(&daemon, peer.clone(), header);
        let peer = wait_until("the peering", || {
            daemon.peer(&peer.public_key()).ok_or("none")
        });
        let remote = peer["remote"].as_str().unwrap();
        assert_eq!(remote.contains("203.0.113.7"), is_believed, "{peer}");
        assert!(!remote.contains("192.0.2.1"), "{peer}");
        if is_believed {
            // A failed handshake is logged with the client's address.
            let mut stream = connect(host(&daemon));
            request(&mut stream, "/", header);
            stream.write_all(&[TEXT, 0x80, 0, 0, 0, 0]).unwrap();
            daemon.wait_for_log("remote=203.0.113.7 by way of 127.0.0.1:");
        }
    }
}

#[test]
fn keepalives_in_small_messages_keep_the_peering() {
    let daemon = listen(&[]);
    let peer = key(7);
    let mut client = Client::connect(&daemon, peer.clone(), "");
    wait_until("the peering", || {
        daemon.peer(&peer.public_key()).ok_or("none")
    });
    // One byte a message.
    for byte in [KEEPALIVE, KEEPALIVE].concat() {
        client.send(BINARY, &[byte]);
    }
    // Pings are answered.
    client.send(0x89, b"ping");
    loop {
        let (head, payload) = client.receive();
        if head == 0x8a {
            assert_eq!(payload, b"ping");
            break;
        }
    }
    assert!(daemon.peer(&peer.public_key()).is_some());
}

#[test]
fn wrong_options_are_one_line_and_exit_code_2() {
    let home = TempDir::new().unwrap();
    for (arguments, words) in [
        (
            &["run", "--ws-path", "ws"][..],
            &["--ws-path", "as in /ws"][..],
        ),
        (&["run", "--ws-path", "/ws?a"], &["without ? and #"]),
        (
            &["run", "--trust-forwarded-for", "10.0.0.0/8,proxy"],
            &["--trust-forwarded-for", "\"proxy\"", "10.0.0.0/8"],
        ),
        (&["run", "--listen", "ws://:1/ws"], &["--ws-path"]),
    ] {
        assert_fails(&run(home.path(), arguments), 2, words);
    }
}
