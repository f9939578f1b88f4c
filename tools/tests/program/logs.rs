//! Logs that cannot be written, and logs that other hosts try to fill.

use pinecone_testing::{Need, skip};
use std::fs::{File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use crate::daemon::{Daemon, Start, key, wait_until};
use crate::raw_peer::{RawPeer, connect, read_to_end};

/// Number of connections that are refused, each with a line in the log.
const STRANGERS: u64 = 60;

fn with_stderr(stderr: impl Into<Stdio>) -> Daemon {
    Start {
        stderr: Some(stderr.into()),
        ..Start::default()
    }
    .run()
}

/// Creates a pipe that is full after a few lines.
fn small_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    (reader, writer)
}

fn strangers(daemon: &Daemon) {
    for _ in 0..STRANGERS {
        let mut stream = connect(daemon.address());
        // Fails if the daemon has closed the connection.
        let _ = stream.write_all(&[0; 104]);
        read_to_end(&mut stream);
    }
}

/// Asserts that the daemon has refused the strangers, peers with `peer`, and ends normally.
fn assert_unharmed(daemon: Daemon, peer: &Daemon) {
    wait_until("the strangers to be refused", || {
        let refused = daemon.counter("handshakes_refused_version");
        (refused >= STRANGERS).then_some(()).ok_or(refused)
    });
    wait_until("the peering", || daemon.peer(&peer.key).ok_or("none"));
    peer.wait_for_ping(&daemon.key);
    let (status, _) = daemon.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_full_disk_or_a_closed_pipe_for_the_log_harms_nobody() {
    let full: File = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    for daemon in [with_stderr(full), with_stderr(closed)] {
        strangers(&daemon);
        wait_until("lost lines", || {
            let lost = daemon.counter("log_lines_lost");
            (lost > 10).then_some(()).ok_or(lost)
        });
        let peer = daemon.start_peer();
        assert_unharmed(daemon, &peer);
    }
}

#[test]
fn a_log_reader_that_stalls_harms_nobody() {
    let (_reader, writer) = small_pipe();
    let daemon = with_stderr(writer);
    strangers(&daemon);
    let peer = daemon.start_peer();
    assert_unharmed(daemon, &peer);
}

#[test]
fn a_log_reader_that_stalls_harms_nobody_in_a_network_namespace() {
    let namespace = format!("pinecone-logs-{}", std::process::id());
    if let Err(reason) = ip(&["netns", "add", &namespace]) {
        skip(Need::Namespaces, reason);
        return;
    }
    let _guard = Namespace(namespace.clone());
    ip(&["-n", &namespace, "link", "set", "lo", "up"]).unwrap();
    let (_reader, writer) = small_pipe();
    let daemon = Start {
        namespace: Some(&namespace),
        stderr: Some(writer.into()),
        ..Start::default()
    }
    .run();
    let port = daemon.address().rsplit(':').next().unwrap();
    let script = format!(
        "for i in $(seq {STRANGERS}); do head -c 104 /dev/zero > /dev/tcp/127.0.0.1/{port}; done"
    );
    ip(&["netns", "exec", &namespace, "bash", "-c", &script]).unwrap();
    let peer = Start {
        connect: vec![daemon.address().to_owned()],
        namespace: Some(&namespace),
        ..Start::default()
    }
    .run();
    assert_unharmed(daemon, &peer);
}

#[test]
fn connections_in_a_loop_get_few_lines_and_the_rest_is_counted() {
    const LOOPS: u64 = 400;
    let daemon = Daemon::start();
    let start = Instant::now();
    for n in 0..LOOPS {
        drop(RawPeer::connect(daemon.address(), key(n as u8)));
    }
    // All lines are in the log or in the number of omitted lines.
    for kind in ["peering up", "peering down"] {
        wait_until(&format!("what became of {kind:?}"), || {
            let (lines, left_out) = lines(&daemon.log(), kind);
            let most = 51 + start.elapsed().as_secs();
            assert!(lines <= most, "{lines} lines");
            (lines + left_out == LOOPS)
                .then_some(())
                .ok_or(format!("{lines} lines, {left_out} left out"))
        });
    }
    let up = lines(&daemon.log(), "peering up").1;
    assert!(daemon.counter("log_lines_left_out") >= up);
}

/// Returns the number of lines of a kind in a log, and the number that were omitted.
fn lines(log: &str, kind: &str) -> (u64, u64) {
    let said = format!(" more lines like \"{kind}\" left out");
    let (mut lines, mut left_out) = (0, 0);
    for line in log.lines().filter(|line| line.contains(kind)) {
        match line.strip_suffix(&said) {
            Some(line) => left_out += line.rsplit(' ').next().unwrap().parse::<u64>().unwrap(),
            None => lines += 1,
        }
    }
    (lines, left_out)
}

struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.0]) {
            eprintln!("{} is left over: {error}", self.0);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn waits_are_logged_in_tenths_of_a_second() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let daemon = Start {
        connect: vec![address],
        ..Start::default()
    }
    .run();
    daemon.wait_for_log("wait_s=");
    let log = daemon.log();
    let (_, wait) = log.split_once("wait_s=").unwrap();
    let wait = wait.split_whitespace().next().unwrap();
    assert!(wait.len() <= "1.5".len(), "{wait}: {log}");
}
