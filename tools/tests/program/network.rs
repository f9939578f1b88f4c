//! Several processes that transfer data of realistic size.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use pinecone_wire::PublicKey;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::daemon::{Daemon, Start, collect, key, program, run, wait_until, write_key};
use crate::raw_peer::RawPeer;
use crate::traffic::traffic;

/// A `pinecone recv` whose output is collected.
struct Receiver {
    child: Child,
    key: String,
    output: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    _home: TempDir,
}

impl Receiver {
    fn start(through: &Daemon, arguments: &[&str]) -> Self {
        let home = TempDir::new().unwrap();
        let mut child = program(home.path())
            .args(["recv", "--connect", through.address()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&output);
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; 65536];
            while let Ok(len @ 1..) = stdout.read(&mut bytes) {
                collected.lock().unwrap().extend_from_slice(&bytes[..len]);
            }
        });
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        let key = line
            .trim()
            .strip_prefix("receiving as ")
            .expect(&line)
            .to_owned();
        Self {
            child,
            key,
            output,
            errors: collect(stderr),
            reader: Some(reader),
            _home: home,
        }
    }

    fn received(&self) -> Vec<u8> {
        self.output.lock().unwrap().clone()
    }

    fn wait_for_error(&self, text: &str) {
        wait_until(text, || {
            let errors = self.errors.lock().unwrap();
            match errors.contains(text) {
                true => Ok(()),
                false => Err(errors.clone()),
            }
        });
    }

    fn end(mut self) -> (Option<i32>, Vec<u8>) {
        let code = self.child.wait().unwrap().code();
        self.reader.take().unwrap().join().unwrap();
        (code, self.output.lock().unwrap().clone())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Fails if it has exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `pinecone send` with a pipe as its input.
struct Sender {
    child: Child,
    _home: TempDir,
}

impl Sender {
    fn start(through: &Daemon, to: &str, arguments: &[&str]) -> (Self, ChildStdin) {
        let home = TempDir::new().unwrap();
        let mut child = program(home.path())
            .args(["send", to, "--connect", through.address()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        (Self { child, _home: home }, stdin)
    }

    fn end(self) -> (Option<i32>, String) {
        let output = self.child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

fn send(through: &Daemon, to: &str, bytes: &[u8], arguments: &[&str]) -> (Option<i32>, String) {
    let (sender, mut stdin) = Sender::start(through, to, arguments);
    // Fails if the sender gives up.
    let _ = stdin.write_all(bytes);
    drop(stdin);
    sender.end()
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32 / 4)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect()
}

#[test]
fn a_hundred_mebibytes_through_a_static_peer() {
    let middle = Daemon::start();
    let receiver = Receiver::start(&middle, &[]);
    let sent = bytes(100 << 20);
    let (code, error) = send(&middle, &receiver.key, &sent, &[]);
    assert_eq!(code, Some(0), "{error}");
    println!("{error}");
    let (code, received) = receiver.end();
    assert_eq!(code, Some(0));
    assert_eq!(received.len(), sent.len());
    assert!(received == sent, "every byte as it was sent");
    assert_eq!(sent.len(), 100 << 20);
}

#[test]
fn peers_that_come_and_go_cost_others_nothing() {
    let middle = Daemon::start();
    let receiver = Receiver::start(&middle, &[]);
    let sent = bytes(50 << 20);
    let (sender, mut stdin) = Sender::start(&middle, &receiver.key, &[]);
    let to: PublicKey = receiver.key.parse().unwrap();
    std::thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            stdin.write_all(&sent).unwrap();
            drop(stdin);
        });
        // To the same egress port, and disconnected in the middle of a frame.
        let noise = unrelated_traffic(to);
        let mut visits = 0;
        while !feeding.is_finished() || visits < 100 {
            let mut peer = RawPeer::announced(middle.address(), key((visits % 200) as u8));
            peer.send(&noise[..noise.len() - visits % 500]);
            visits += 1;
        }
    });
    assert_eq!(sender.end().0, Some(0));
    assert!(receiver.end() == (Some(0), sent));
    assert!(!middle.log().contains("panicked"));
}

/// Returns twenty frames to that key.
fn unrelated_traffic(to: PublicKey) -> Vec<u8> {
    traffic(key(1).public_key(), to, &[9; 1000]).repeat(20)
}

#[test]
fn all_sizes_of_payload_pass_and_what_went_is_counted() {
    let middle = Daemon::start();
    for size in ["64", "1200", "60000"] {
        let receiver = Receiver::start(&middle, &[]);
        let to: PublicKey = receiver.key.parse().unwrap();
        let sent = bytes(500_000);
        let (sender, mut stdin) = Sender::start(&middle, &receiver.key, &["--size", size]);
        stdin.write_all(&sent).unwrap();
        // While the stream is open, the counters of the peering can be read.
        wait_until("the static peer to have passed it all on", || {
            let peer = middle.peer(&to).ok_or("gone".to_owned())?;
            match peer["tx_traffic_bytes"].as_u64() {
                Some(500_000..) => Ok(()),
                _ => Err(peer.to_string()),
            }
        });
        drop(stdin);
        assert_eq!(sender.end().0, Some(0));
        assert!(receiver.end() == (Some(0), sent), "in payloads of {size}");
    }
}

#[test]
fn empty_and_slow_streams_arrive() {
    let middle = Daemon::start();
    let receiver = Receiver::start(&middle, &[]);
    assert_eq!(send(&middle, &receiver.key, &[], &[]).0, Some(0));
    assert_eq!(receiver.end(), (Some(0), vec![]));

    // Typed lines arrive while the stream stays open.
    let home = TempDir::new().unwrap();
    let mut child = program(home.path())
        .args(["recv", "--connect", middle.address()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let to = line.trim().strip_prefix("receiving as ").expect(&line);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (sender, mut stdin) = Sender::start(&middle, to, &[]);
    for text in ["one\n", "two\n"] {
        stdin.write_all(text.as_bytes()).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, text);
    }
    drop(stdin);
    assert_eq!(sender.end().0, Some(0));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn recv_can_keep_on_and_says_when_it_is_busy() {
    let middle = Daemon::start();
    let receiver = Receiver::start(&middle, &["--keep"]);
    let (first, mut stdin) = Sender::start(&middle, &receiver.key, &[]);
    stdin.write_all(b"a").unwrap();
    let wait_for = |bytes: &[u8]| {
        wait_until("the bytes to arrive", || {
            let received = receiver.received();
            if received == bytes {
                Ok(())
            } else {
                Err(format!("{received:?}"))
            }
        });
    };
    wait_for(b"a");
    let (code, error) = send(&middle, &receiver.key, b"x", &[]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("receiving another stream"), "{error}");
    stdin.write_all(b"b").unwrap();
    drop(stdin);
    assert_eq!(first.end().0, Some(0));
    wait_until("the receiver to be free", || {
        let (code, error) = send(&middle, &receiver.key, b"c", &[]);
        if code == Some(0) { Ok(()) } else { Err(error) }
    });
    wait_for(b"abc");
    let id = rustix::process::Pid::from_child(&receiver.child);
    rustix::process::kill_process(id, Signal::TERM).unwrap();
    assert_eq!(receiver.end(), (Some(0), b"abc".to_vec()));
}

#[test]
fn a_momentary_node_pings_through_others() {
    let left = Daemon::start();
    let right = left.start_peer();
    right.wait_for_ping(&left.key);
    let home = TempDir::new().unwrap();
    let key = right.key.to_string();
    let arguments = [
        "ping",
        &key,
        "-c",
        "2",
        "-i",
        "0.1",
        "--connect",
        &format!("no-such-host.invalid:1,{}", left.address()),
    ];
    let output = run(home.path(), &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains(&format!("131 bytes from {key}: seq=1 hops=1 time=")),
        "{text}"
    );
    assert!(!home.path().join("state").exists(), "no key is kept");
}

#[test]
fn a_receiver_with_a_key_file_keeps_its_address() {
    let middle = Daemon::start();
    let home = TempDir::new().unwrap();
    let path = home.path().join("key");
    write_key(&path, 3);
    let receiver = Receiver::start(&middle, &["--key-file", path.to_str().unwrap()]);
    assert_eq!(receiver.key, key(3).public_key().to_string());
    assert_eq!(send(&middle, &receiver.key, b"x", &[]).0, Some(0));
    assert_eq!(receiver.end(), (Some(0), b"x".to_vec()));
}

#[test]
fn a_static_peer_is_found_again_after_its_restart() {
    let first = Start {
        seed: Some(1),
        ..Start::default()
    }
    .run();
    let address = first.address().to_owned();
    let peer = first.start_peer();
    peer.wait_for_ping(&first.key);
    first.end(Signal::TERM);
    wait_until("the loss to be noticed", || {
        peer.peer(&key(1).public_key()).map_or(Ok(()), Err)
    });
    let again = Start {
        seed: Some(1),
        listen: Some(&address),
        ..Start::default()
    }
    .run();
    peer.wait_for_ping(&again.key);
}

#[test]
fn hop_limiting_drops_frames_that_travel_too_far() {
    // Eleven nodes in a line: from one end to the other, ten have to forward a frame.
    let mut line = vec![Daemon::start()];
    for _ in 1..12 {
        let last = line.last().unwrap();
        let next = Start {
            connect: vec![last.address().to_owned()],
            arguments: &["--hop-limiting"],
            ..Start::default()
        };
        line.push(next.run());
    }
    // Near nodes answer.
    line[5].wait_for_ping(&line[2].key);
    wait_until("a frame to use up its hops", || {
        let answer = line[11].ping(&line[0].key, Duration::from_millis(200));
        assert!(answer.is_err(), "{answer:?}");
        let dropped = line.iter().any(|daemon| {
            let status = daemon.status().to_string();
            status.contains(r#""hop_limit":"#)
        });
        if dropped { Ok(()) } else { Err("none dropped") }
    });
}

/// A `recv` whose output cannot be written prints one line, and its sender fails, at any point of the stream.
#[test]
fn recv_ends_with_one_line_when_its_output_cannot_be_written() {
    let daemon = Daemon::start();
    for len in [1, 20_000, 300_000] {
        let home = TempDir::new().unwrap();
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut receiver = program(home.path())
            .args(["recv", "--connect", daemon.address()])
            .stdin(Stdio::null())
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(receiver.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let key = line.trim().strip_prefix("receiving as ").expect(&line);
        let (mut sender, mut input) = Sender::start(&daemon, key, &[]);
        // Fails if the sender has already given up.
        let _ = input.write_all(&vec![7; len]);
        let code = receiver.wait().unwrap().code();
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(code, Some(1), "{len} bytes: {said}");
        assert!(
            said.starts_with("pinecone: cannot write standard output: No space left"),
            "{len} bytes: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{len} bytes: {said}");
        // The input of the sender is still open, and it is told of the failure.
        wait_until("the sender to end", || {
            sender.child.try_wait().unwrap().ok_or("runs")
        });
        let (code, error) = sender.end();
        assert_eq!(code, Some(1), "{len} bytes: {error}");
        assert!(error.contains("has given up"), "{len} bytes: {error}");
    }
}

#[test]
fn recv_reports_a_stream_that_its_sender_gave_up() {
    let daemon = Daemon::start();
    let receiver = Receiver::start(&daemon, &[]);
    let (sender, mut input) = Sender::start(&daemon, &receiver.key, &[]);
    input.write_all(b"abc").unwrap();
    wait_until("the bytes to arrive", || {
        (receiver.received() == b"abc").then_some(()).ok_or("none")
    });
    let id = rustix::process::Pid::from_child(&sender.child);
    rustix::process::kill_process(id, Signal::TERM).unwrap();
    assert_eq!(sender.end().0, Some(1));
    let said = "the stream is incomplete, 3 bytes were received: ";
    receiver.wait_for_error(said);
    assert_eq!(receiver.end(), (Some(1), b"abc".to_vec()));
}
