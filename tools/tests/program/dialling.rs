//! Dialling and names, with each host in a network namespace with its own name server.

use pinecone_testing::{Need, skip};
use std::collections::HashMap;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::daemon::{Daemon, Start, wait_at_most, wait_until};

/// Time limit of steps that wait for the resolver's own limits, on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A network namespace with loopback and a dead link, and its files in `/etc/netns`.
struct Host {
    name: String,
    files: PathBuf,
}

impl Host {
    /// The name servers, in the order in which they are asked.
    fn new(what: &str, name_servers: &[&str]) -> Result<Self, String> {
        let name = format!("pinecone-{}-{what}", std::process::id());
        let host = Self {
            files: PathBuf::from("/etc/netns").join(&name),
            name,
        };
        ip(&["netns", "add", &host.name])?;
        host.ip(&["link", "set", "lo", "up"])?;
        std::fs::create_dir_all(&host.files).map_err(|e| e.to_string())?;
        let mut text = String::new();
        for server in name_servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        let write = |file: &str, text: &str| {
            std::fs::write(host.files.join(file), text).map_err(|e| e.to_string())
        };
        write("resolv.conf", &text)?;
        write("hosts", "127.0.0.1 localhost\n")?;
        Ok(host)
    }

    fn ip(&self, arguments: &[&str]) -> Result<(), String> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// Adds a network, 10.66.0.0/16, in which all packets are lost.
    fn add_black_hole(&self) {
        self.ip(&["link", "add", "hole", "type", "veth", "peer", "name", "end"])
            .unwrap();
        for link in ["hole", "end"] {
            self.ip(&["link", "set", link, "arp", "off", "up"]).unwrap();
        }
        self.ip(&["address", "add", "10.66.0.1/16", "dev", "hole"])
            .unwrap();
    }

    /// Runs a function within the namespace, for example to create a socket.
    fn within<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = std::fs::File::open(path).unwrap();
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), network).unwrap();
                run()
            });
            thread.join().unwrap()
        })
    }

    fn start(&self, seed: u8, listen: &str, connect: &[String], arguments: &[&str]) -> Daemon {
        Start {
            seed: Some(seed),
            listen: Some(listen),
            connect: connect.to_vec(),
            arguments,
            namespace: Some(&self.name),
            ..Start::default()
        }
        .run()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.files);
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("{} is left over: {error}", self.name);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|e| format!("ip: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("ip {}: {error}", arguments.join(" ")))
}

/// Answers queries for addresses until the process exits.
#[derive(Clone, Default)]
struct NameServer(Arc<Mutex<HashMap<String, Vec<IpAddr>>>>);

impl NameServer {
    fn start(host: &Host, address: &str) -> Self {
        let this = Self::default();
        let socket = host.within(|| UdpSocket::bind((address, 53)).unwrap());
        let server = this.clone();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut question) {
                if let Some(answer) = server.answer(&question[..len]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        this
    }

    fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        self.0.lock().unwrap().insert(name.to_owned(), addresses);
    }

    /// Answers a query of the system's resolver.
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let mut labels = Vec::new();
        let mut at = 12;
        loop {
            let len = usize::from(*question.get(at)?);
            at += 1;
            if len == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(question.get(at..at + len)?).into_owned());
            at += len;
        }
        let kind = question.get(at..at + 2)?;
        let end = at + 4;
        let known = self.0.lock().unwrap().get(&labels.join(".")).cloned();
        let addresses: Vec<_> = known.iter().flatten().collect();
        let matching: Vec<Vec<u8>> = (addresses.iter())
            .filter_map(|address| match (kind, address) {
                ([0, 1], IpAddr::V4(ip)) => Some(ip.octets().to_vec()),
                ([0, 28], IpAddr::V6(ip)) => Some(ip.octets().to_vec()),
                _ => None,
            })
            .collect();
        let mut answer = question.get(..2)?.to_vec();
        // A response. An unknown name does not exist.
        answer.extend([0x81, if known.is_some() { 0x80 } else { 0x83 }]);
        answer.extend([0, 1, 0, matching.len() as u8, 0, 0, 0, 0]);
        answer.extend(question.get(12..end)?);
        for data in matching {
            answer.extend([0xc0, 12]);
            answer.extend(kind);
            answer.extend([0, 1, 0, 0, 0, 0, 0, data.len() as u8]);
            answer.extend(data);
        }
        Some(answer)
    }
}

fn host(what: &str, name_servers: &[&str]) -> Option<Host> {
    match Host::new(what, name_servers) {
        Ok(host) => Some(host),
        Err(reason) => {
            skip(Need::Namespaces, reason);
            None
        }
    }
}

fn static_peer(daemon: &Daemon, index: usize) -> Value {
    daemon.status()["static_peers"][index].clone()
}

fn wait_for_peering(daemon: &Daemon, other: &Daemon) {
    wait_at_most(LONG, "the peering", || {
        let error = || daemon.status()["static_peers"].to_string();
        daemon.peer(&other.key).ok_or_else(error)
    });
}

#[test]
fn a_name_that_does_not_resolve_delays_no_start_and_is_found_later() {
    let Some(host) = host("later", &["127.0.0.1"]) else {
        return;
    };
    let server = NameServer::start(&host, "127.0.0.1");
    let peer = host.start(1, "127.0.0.9:65432", &[], &[]);
    let names = ["unknown.test:1".to_owned(), "later.test:65432".to_owned()];
    let daemon = host.start(2, "127.0.0.8:65432", &names, &["--max-backoff", "2"]);
    wait_until("both lookups to fail", || {
        let told = [0, 1].map(|i| static_peer(&daemon, i));
        let failed = |peer: &Value| {
            let error = peer["last_error"].as_str().unwrap_or_default();
            error.contains("does not resolve")
        };
        told.iter()
            .all(failed)
            .then_some(())
            .ok_or_else(|| format!("{told:?}"))
    });
    wait_until("the time of the next dial", || {
        let told = static_peer(&daemon, 0);
        let wait = told["next_dial_seconds"].as_f64();
        wait.filter(|wait| (0.0..=2.0).contains(wait)).ok_or(told)
    });
    server.set("later.test", &["127.0.0.9"]);
    wait_for_peering(&daemon, &peer);
}

#[test]
fn name_servers_that_do_not_answer_delay_no_start() {
    let Some(host) = host("mute", &["127.0.0.2"]) else {
        return;
    };
    // The server exists, but does not answer.
    let _mute = host.within(|| UdpSocket::bind("127.0.0.2:53").unwrap());
    let peer = host.start(1, "127.0.0.9:65432", &[], &[]);
    let mut connect: Vec<_> = (0..40).map(|n| format!("name-{n}.test:1")).collect();
    connect.push("127.0.0.9:65432".to_owned());
    // Each name takes at least five seconds. The address is connected meanwhile.
    let daemon = host.start(2, "127.0.0.8:65432", &connect, &[]);
    wait_for_peering(&daemon, &peer);
    let status = daemon.status();
    let stuck = status["static_peers"].as_array().unwrap().iter();
    let resolving = stuck.filter(|peer| peer["state"] == "resolving").count();
    assert!(resolving > 0, "{status}");
}

#[test]
fn a_dead_first_name_server_leaves_time_to_connect() {
    let Some(host) = host("second", &["127.0.0.2", "127.0.0.1"]) else {
        return;
    };
    // The resolver waits five seconds for the first server.
    let _mute = host.within(|| UdpSocket::bind("127.0.0.2:53").unwrap());
    let server = NameServer::start(&host, "127.0.0.1");
    server.set("peer.test", &["127.0.0.9"]);
    let peer = host.start(1, "127.0.0.9:65432", &[], &[]);
    let connect = ["peer.test:65432".to_owned()];
    let daemon = host.start(2, "127.0.0.8:65432", &connect, &[]);
    wait_for_peering(&daemon, &peer);
    assert_eq!(daemon.counter("dials_failed"), 0);
}

#[test]
fn ourselves_a_stranger_and_a_silent_host_behind_a_name_lead_to_the_peer() {
    let Some(host) = host("shared", &["127.0.0.1"]) else {
        return;
    };
    let server = NameServer::start(&host, "127.0.0.1");
    // The resolver sorts the addresses. Only one of them is the peer.
    let all = ["127.0.0.7", "127.0.0.8", "127.0.0.9", "127.0.0.10"];
    server.set("both.test", &all);
    let _silent = host.within(|| TcpListener::bind("127.0.0.7:65432").unwrap());
    let stranger = host.within(|| TcpListener::bind("127.0.0.10:65432").unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = stranger.accept() {
            let _ = std::io::Write::write_all(&mut stream, &[b'x'; 104]);
        }
    });
    // One name for two hosts, which both dial it.
    let connect = ["both.test:65432".to_owned()];
    let left = host.start(1, "127.0.0.8:65432", &connect, &["--max-backoff", "2"]);
    let right = host.start(2, "127.0.0.9:65432", &connect, &["--max-backoff", "2"]);
    wait_for_peering(&left, &right);
    wait_for_peering(&right, &left);
    for daemon in [&left, &right] {
        let status = daemon.status();
        let elsewhere = &status["own_key_elsewhere"];
        assert_eq!(elsewhere["handshakes"], 0, "{elsewhere}");
    }
}

#[test]
fn a_second_node_with_our_key_is_told_of() {
    let Some(host) = host("same-key", &["127.0.0.1"]) else {
        return;
    };
    let first = host.start(1, "127.0.0.8:65432", &[], &[]);
    let connect = ["127.0.0.8:65432".to_owned()];
    let second = host.start(1, "127.0.0.9:65432", &connect, &["--max-backoff", "1"]);
    assert_eq!(first.key, second.key);
    for daemon in [&first, &second] {
        wait_until("it is told", || {
            let status = daemon.status();
            let seen = status["own_key_elsewhere"]["handshakes"].as_u64();
            seen.filter(|n| *n >= 2).ok_or(status)
        });
        let lines = daemon.log();
        let lines = lines
            .lines()
            .filter(|line| line.contains("another node has this node's key"));
        assert_eq!(lines.count(), 1, "{}", daemon.log());
    }
    // A peer that had this node's key is dialled again, as it may have another key by then.
    drop(first);
    let other = host.start(3, "127.0.0.8:65432", &[], &[]);
    wait_for_peering(&second, &other);
}

#[test]
fn an_address_to_listen_on_may_come_later() {
    let Some(host) = host("address", &["127.0.0.1"]) else {
        return;
    };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &host.name, env!("CARGO_BIN_EXE_pinecone")]);
    let directory = tempfile::TempDir::new().unwrap();
    let output = command
        .args(["run", "--listen", "10.9.9.9:65432", "--key-file"])
        .arg(directory.path().join("key"))
        .arg("--admin")
        .arg(directory.path().join("admin"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("10.9.9.9:65432"), "{error}");

    let daemon = host.start(1, "10.9.9.9:65432", &[], &["--listen-retry"]);
    assert!(daemon.listeners.is_empty());
    let missing = daemon.status()["missing_listeners"].clone();
    assert_eq!(missing[0]["address"], "10.9.9.9:65432", "{missing}");
    host.ip(&["address", "add", "10.9.9.9/24", "dev", "lo"])
        .unwrap();
    let peer = host.start(2, "127.0.0.9:65432", &["10.9.9.9:65432".to_owned()], &[]);
    wait_for_peering(&peer, &daemon);
    let status = daemon.status();
    assert_eq!(status["listeners"][0], "10.9.9.9:65432");
    assert_eq!(status["missing_listeners"], serde_json::json!([]));
}

#[test]
fn thousands_of_peers_that_swallow_packets_starve_nobody() {
    let Some(host) = host("holes", &["127.0.0.1"]) else {
        return;
    };
    host.add_black_hole();
    let peer = host.start(1, "127.0.0.9:65432", &[], &[]);
    let holes: Vec<_> = (0..2500)
        .map(|n| format!("10.66.{}.{}:65432", 1 + n / 250, 1 + n % 250))
        .collect();
    // The healthy peer is the last in the list.
    let connect = [holes.join(","), "127.0.0.9:65432".to_owned()];
    let daemon = Start {
        seed: Some(2),
        listen: Some("127.0.0.8:65432"),
        connect: connect.to_vec(),
        namespace: Some(&host.name),
        // Two descriptors for each of the 64 dials would be too many.
        files: Some(128),
        ..Start::default()
    }
    .run();
    let started = Instant::now();
    let healthy = |daemon: &Daemon| daemon.peer(&peer.key);
    let mut most = 0;
    wait_at_most(Duration::from_secs(120), "the healthy peer", || {
        // The admin socket keeps answering.
        let status = daemon.status();
        let peers = status["static_peers"].as_array().unwrap();
        let dialling = peers
            .iter()
            .filter(|peer| peer["state"] == "dialling")
            .count();
        most = most.max(dialling);
        healthy(&daemon).ok_or_else(|| static_peer(&daemon, 2500).to_string())
    });
    println!(
        "the healthy peer after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    assert!((1..=64).contains(&most), "{most} dials at a time");
    // Inbound connections are accepted meanwhile.
    let inbound = host.start(3, "127.0.0.7:65432", &["127.0.0.8:65432".to_owned()], &[]);
    wait_for_peering(&inbound, &daemon);
    let lines = daemon.log().lines().count();
    assert!(lines < 300, "{lines} lines: {}", daemon.log());
    // When it is lost, it does not queue behind the others.
    assert_eq!(static_peer(&daemon, 2500)["state"], "connected");
}
