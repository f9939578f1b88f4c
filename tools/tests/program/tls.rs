//! Peerings over TLS: `tls://` with node keys, and `wss://` with certificate files.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use pinecone_testing::{Need, skip};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::daemon::{Daemon, Start, key, run, wait_until};
use crate::outcome::assert_fails;

/// Certificates that openssl has made.
struct Certificates(TempDir);

impl Certificates {
    /// Returns `None`, and skips the test, if there is no openssl.
    fn new() -> Option<Self> {
        match Command::new("openssl").arg("version").output() {
            Ok(output) if output.status.success() => Some(Self(TempDir::new().unwrap())),
            other => {
                skip(Need::OpenSsl, format!("{other:?}"));
                None
            }
        }
    }

    /// Makes `NAME.pem` and `NAME.key`, for 127.0.0.1.
    fn make(&self, name: &str) {
        let subject = format!(
            "-subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
        );
        let output = Command::new("openssl")
            .args(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30".split(' '),
            )
            .args(subject.split_whitespace())
            .arg("-keyout")
            .arg(self.path(&format!("{name}.key")))
            .arg("-out")
            .arg(self.path(&format!("{name}.pem")))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Gives the files of one certificate the names of another.
    fn replace(&self, name: &str, by: &str) {
        for end in ["key", "pem"] {
            let (from, to) = (format!("{by}.{end}"), format!("{name}.{end}"));
            fs::copy(self.path(&from), self.path(&to)).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Starts a daemon that listens on `wss://` with a certificate.
    fn listen(&self, name: &str) -> Daemon {
        let (certificate, key) = (
            self.text(&format!("{name}.pem")),
            self.text(&format!("{name}.key")),
        );
        Start {
            listen: Some("wss://127.0.0.1:0"),
            arguments: &["--tls-cert", &certificate, "--tls-key", &key],
            ..Start::default()
        }
        .run()
    }

    /// Starts a daemon that trusts the certificate `name` only.
    fn dial(&self, daemon: &Daemon, name: &str) -> Daemon {
        let authority = self.text(&format!("{name}.pem"));
        Start {
            connect: vec![daemon.address().to_owned()],
            arguments: &["--tls-ca", &authority],
            environment: &NO_ROOTS,
            ..Start::default()
        }
        .run()
    }
}

/// A machine without root certificates.
const NO_ROOTS: [(&str, &str); 2] = [
    ("SSL_CERT_FILE", "/dev/null"),
    ("SSL_CERT_DIR", "/nonexistent"),
];

fn listen_with_node_key() -> Daemon {
    Start {
        listen: Some("tls://127.0.0.1:0"),
        ..Start::default()
    }
    .run()
}

fn dial(uri: String) -> Daemon {
    Start {
        connect: vec![uri],
        environment: &NO_ROOTS,
        ..Start::default()
    }
    .run()
}

/// Waits until the dial of the static peer fails with these words.
fn wait_for_failure(daemon: &Daemon, words: &str) {
    wait_until(words, || {
        let peers = daemon.status()["static_peers"].clone();
        let error = peers[0]["last_error"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        error.contains(words).then_some(()).ok_or(error)
    });
}

#[test]
fn node_keys_are_certificates() {
    let server = listen_with_node_key();
    let key = server.key;
    for options in [String::new(), format!("?key={key}")] {
        let client = dial(format!("{}{options}", server.address()));
        client.wait_for_ping(&server.key);
        server.wait_for_ping(&client.key);
        let peer = server.peer(&client.key).unwrap();
        assert_eq!(peer["transport"], "tls", "{peer}");
    }
}

#[test]
fn another_node_key_than_that_of_the_uri_is_refused() {
    let server = listen_with_node_key();
    let wrong = key(9).public_key();
    let client = dial(format!("{}?key={wrong}", server.address()));
    wait_for_failure(&client, &format!("not {wrong} as ?key= demands"));
    assert!(client.peer(&server.key).is_none());
    assert!(client.counter("handshakes_refused_key") >= 1);
}

#[test]
fn a_plain_peer_does_not_get_through_to_a_tls_listener() {
    let server = listen_with_node_key();
    let plain = server.address().replace("tls://", "tcp://");
    let client = dial(plain);
    server.wait_for_log("the peer does not speak TLS");
    assert!(client.peer(&server.key).is_none());
    assert!(server.counter("handshakes_refused_tls") >= 1);
}

#[test]
fn a_certificate_of_openssl_serves_websockets() {
    let Some(files) = Certificates::new() else {
        return;
    };
    files.make("a");
    files.make("b");
    let server = files.listen("a");
    let client = files.dial(&server, "a");
    client.wait_for_ping(&server.key);
    server.wait_for_ping(&client.key);
    assert_eq!(server.peer(&client.key).unwrap()["transport"], "wss");
    // Without its authority, or with another one, there is no peering.
    for (stranger, words) in [
        (
            dial(server.address().to_owned()),
            "has no root certificates",
        ),
        (files.dial(&server, "b"), "no trusted authority issued"),
    ] {
        wait_for_failure(&stranger, words);
        assert!(stranger.peer(&server.key).is_none());
    }
}

#[test]
fn a_new_certificate_ends_no_peering() {
    let Some(files) = Certificates::new() else {
        return;
    };
    for name in ["old", "new"] {
        files.make(name);
    }
    files.replace("current", "old");
    let server = files.listen("current");
    let first = files.dial(&server, "old");
    first.wait_for_ping(&server.key);
    files.replace("current", "new");
    server.signal(Signal::HUP);
    server.wait_for_log("TLS certificate reloaded");
    let second = files.dial(&server, "new");
    second.wait_for_ping(&server.key);
    // Files that cannot be used change nothing.
    fs::write(files.path("current.pem"), "nothing").unwrap();
    server.signal(Signal::HUP);
    server.wait_for_log("the previous stays in force");
    let third = files.dial(&server, "new");
    third.wait_for_ping(&server.key);
    first.wait_for_ping(&server.key);
    assert_eq!(first.counter("handshakes_done"), 1);
    assert!(first.peer(&server.key).is_some());
}

#[test]
fn a_changed_certificate_is_noticed() {
    let Some(files) = Certificates::new() else {
        return;
    };
    for name in ["old", "new"] {
        files.make(name);
    }
    files.replace("current", "old");
    let server = files.listen("current");
    files.replace("current", "new");
    server.wait_for_log("TLS certificate reloaded");
    files.dial(&server, "new").wait_for_ping(&server.key);
}

#[test]
fn bad_files_are_one_line_and_exit_code_2() {
    let home = TempDir::new().unwrap();
    let fails = |arguments: &[&str], words: &[&str]| {
        let listen = ["run", "--listen", "wss://127.0.0.1:0"];
        assert_fails(&run(home.path(), &[&listen, arguments].concat()), 2, words);
        assert!(!home.path().join("state/pinecone/key").exists());
    };
    fails(&["--tls-cert", "a"], &["--tls-cert a needs --tls-key"]);
    let missing = [
        "--tls-cert",
        "/nonexistent/a",
        "--tls-key",
        "/nonexistent/b",
    ];
    fails(&missing, &["cannot read /nonexistent/a"]);
    fails(
        &["--tls-ca", "/dev/null"],
        &["/dev/null contains no certificate"],
    );
    let Some(files) = Certificates::new() else {
        return;
    };
    files.make("a");
    files.make("b");
    let (certificate, key) = (files.text("a.pem"), files.text("b.key"));
    fails(
        &["--tls-cert", &certificate, "--tls-key", &key],
        &["does not match the private key"],
    );
}

#[test]
fn a_websocket_listener_with_tls_needs_a_certificate() {
    let home = TempDir::new().unwrap();
    let output = run(home.path(), &["run", "--listen", "wss://127.0.0.1:0"]);
    assert_fails(&output, 2, &["wss://127.0.0.1:0", "--tls-cert", "ws://"]);
}
