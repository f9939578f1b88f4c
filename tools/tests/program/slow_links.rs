//! Links that are much slower than the traffic over them, and a link that drops long packets:
//! peerings last, delays are short, and the link is used.
//!
//! All rates, each for a minute with both of TCP's usual congestion controls, are tried with
//! `PINECONE_SLOW_LINKS=all`.

use pinecone_testing::{Need, skip};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Daemon, Start, at_home, wait_until};

/// Bytes of a frame with a payload of 1,200 bytes.
const FRAME_LEN: f64 = 1313.0;

/// The namespaces of two nodes and of a load between them, which are removed when this is dropped. The nodes reach each
/// other by the interfaces `slow`.
struct Hosts {
    names: Vec<String>,
}

const A: usize = 0;
const B: usize = 1;
const LOAD: usize = 2;

impl Hosts {
    fn new(what: &str, inner_hops: usize) -> Result<Self, String> {
        let mut hosts = Self { names: Vec::new() };
        for i in 0..3 + inner_hops {
            let name = format!("pinecone-{what}-{}-{i}", std::process::id());
            run("ip", &["netns", "add", &name])?;
            hosts.names.push(name);
            hosts.ip(i, &["link", "set", "lo", "up"])?;
        }
        hosts.link((A, "load", "10.78.1.1"), (LOAD, "to-a", "10.78.1.2"))?;
        hosts.link((B, "load", "10.78.2.1"), (LOAD, "to-b", "10.78.2.2"))?;
        Ok(hosts)
    }

    fn link(
        &self,
        (left, left_name, left_address): (usize, &str, &str),
        (right, right_name, right_address): (usize, &str, &str),
    ) -> Result<(), String> {
        let link = [
            "link",
            "add",
            left_name,
            "netns",
            &self.names[left],
            "type",
            "veth",
        ];
        let peer = ["peer", "name", right_name, "netns", &self.names[right]];
        run("ip", &[&link[..], &peer[..]].concat())?;
        for (host, name, address) in [
            (left, left_name, left_address),
            (right, right_name, right_address),
        ] {
            if !address.is_empty() {
                let address = format!("{address}/24");
                self.ip(host, &["address", "add", &address, "dev", name])?;
            }
            self.ip(host, &["link", "set", name, "up"])?;
        }
        Ok(())
    }

    fn ip(&self, host: usize, arguments: &[&str]) -> Result<(), String> {
        run("ip", &[&["-n", &self.names[host]], arguments].concat())
    }

    /// Connects the nodes by a link of this rate in kbit/s each way, with that congestion control.
    fn link_slowly(&self, kbit: u32, congestion: &str) -> Result<(), String> {
        self.link((A, "slow", "10.78.0.1"), (B, "slow", "10.78.0.2"))?;
        for host in [A, B] {
            self.ip(
                host,
                &[
                    "route",
                    "change",
                    "10.78.0.0/24",
                    "dev",
                    "slow",
                    "congctl",
                    congestion,
                ],
            )?;
            let rate = format!("{kbit}kbit");
            let qdisc = [
                "-n",
                &self.names[host],
                "qdisc",
                "add",
                "dev",
                "slow",
                "root",
            ];
            // The queue of the link adds its own delay: room for two full packets.
            let queue = if kbit < 256 { "400ms" } else { "100ms" };
            let shape = ["tbf", "rate", &rate, "burst", "3028", "latency", queue];
            run("tc", &[&qdisc[..], &shape[..]].concat())?;
        }
        Ok(())
    }

    /// Connects the nodes over two bridges, between which packets over 1,200 bytes are dropped.
    fn link_narrowly(&self) -> Result<(), String> {
        let (left, right) = (LOAD + 1, LOAD + 2);
        self.link((A, "slow", "10.78.0.1"), (left, "outer", ""))?;
        self.link((B, "slow", "10.78.0.2"), (right, "outer", ""))?;
        self.link((left, "inner", ""), (right, "inner", ""))?;
        for bridge in [left, right] {
            self.ip(bridge, &["link", "set", "inner", "mtu", "1200"])?;
            self.ip(bridge, &["link", "add", "bridge", "type", "bridge"])?;
            for port in ["inner", "outer"] {
                self.ip(bridge, &["link", "set", port, "master", "bridge"])?;
            }
            self.ip(bridge, &["link", "set", "bridge", "up"])?;
        }
        for host in [A, B] {
            // Packets as they are on a wire: a bridge lets longer ones pass that are yet to be cut.
            self.ip(host, &["link", "set", "slow", "gso_max_segs", "1"])?;
            let probing = "echo 1 > /proc/sys/net/ipv4/tcp_mtu_probing";
            let exec = ["netns", "exec", &self.names[host], "sh", "-c", probing];
            run("ip", &exec)?;
        }
        Ok(())
    }

    /// Starts two daemons that are peers.
    fn nodes(&self, arguments: &[&str]) -> (Daemon, Daemon) {
        let start = |host: usize, connect: &[&str]| {
            Start {
                seed: Some(host as u8 + 1),
                listen: Some(":65432"),
                connect: connect.iter().map(|&c| c.to_owned()).collect(),
                arguments,
                namespace: Some(&self.names[host]),
                ..Start::default()
            }
            .run()
        };
        let a = start(A, &[]);
        let b = start(B, &["10.78.0.1:65432"]);
        wait_until("the peering", || a.peer(&b.key).ok_or("none"));
        (a, b)
    }

    /// Sends frames from a peer of A to a peer of B. Returns the report of the load.
    fn load(&self, size: &str, rate: f64, seconds: u64) -> Value {
        let home = TempDir::new().unwrap();
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &self.names[LOAD],
            env!("CARGO_BIN_EXE_pinecone"),
        ]);
        command.args(["bench", "--json", "--flows", "4", "--size", size]);
        command.args(["--rate", &(rate as u64).to_string()]);
        command.args(["--seconds", &seconds.to_string()]);
        command.args(["--through", "10.78.1.1:65432,10.78.2.1:65432"]);
        at_home(&mut command, home.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            if let Err(error) = run("ip", &["netns", "delete", name]) {
                eprintln!("{name} is left over: {error}");
            }
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{program} {}: {error}", arguments.join(" ")))
}

/// Asserts that the peering of the two is still the first one.
fn assert_lasted(a: &Daemon, b: &Daemon) {
    for (node, other) in [(a, b), (b, a)] {
        let down = format!("peer={}", other.key);
        let log = node.log();
        let mut lines = log.lines();
        let ended = lines.find(|l| l.contains("peering down") && l.contains(&down));
        assert_eq!(ended, None);
    }
}

fn overload(kbit: u32, congestion: &str, engine: &str, seconds: u64) {
    let hosts = match Hosts::new("slow", 0).and_then(|hosts| {
        hosts.link_slowly(kbit, congestion)?;
        Ok(hosts)
    }) {
        Ok(hosts) => hosts,
        Err(reason) => {
            skip(Need::Namespaces, reason);
            return;
        }
    };
    let (a, b) = hosts.nodes(&["--engine", engine]);
    let most = f64::from(kbit) * 1000.0 / 8.0 / FRAME_LEN;
    let report = hosts.load("1200", most * 4.0, seconds);
    let median = report["latency_us"]["p50"].as_f64().unwrap() / 1e6;
    // The last frames arrive after sending has stopped.
    let received = report["received"].as_f64().unwrap();
    let used = received / (seconds as f64 + median) / most;
    println!(
        "{kbit} kbit/s, {congestion}, {engine}: median {median:.2} s, {:.0} %",
        used * 100.0
    );
    assert_lasted(&a, &b);
    let limit = if kbit < 256 { 3.0 } else { 1.0 };
    assert!(median <= limit, "{report}");
    // Headers of TCP and IP take 4 %, and on the slowest link the nodes' own frames as much again.
    // There TCP also takes seconds to find its rate.
    let least = if kbit < 256 { 0.6 } else { 0.85 };
    assert!(used > least, "{report}");
}

#[test]
fn an_overloaded_slow_link_keeps_its_peering_and_a_short_queue() {
    if std::env::var_os("PINECONE_SLOW_LINKS").is_some_and(|links| links == "all") {
        for congestion in ["cubic", "bbr"] {
            for kbit in [64, 256, 1000, 4000] {
                for engine in ["auto", "epoll"] {
                    overload(kbit, congestion, engine, 60);
                }
            }
        }
        return;
    }
    println!("set PINECONE_SLOW_LINKS=all to try all rates for a minute each");
    overload(64, "cubic", "auto", 25);
    overload(256, "cubic", "epoll", 15);
}

/// Sends 20 frames of 20,000 bytes per second over a path that drops long packets without a notice.
#[test]
fn a_path_that_swallows_long_packets_keeps_its_peering() {
    // Before Linux 6.15, TCP may take longer to find the length than the peer accepts silence.
    let finds_soon = Path::new("/proc/sys/net/ipv4/tcp_rto_max_ms").exists();
    for arguments in [&[][..], &["--mss", "1000"]] {
        if arguments.is_empty() && !finds_soon {
            skip(Need::RtoMax, "only --mss is tried");
            continue;
        }
        let hosts = match Hosts::new("narrow", 2).and_then(|hosts| {
            hosts.link_narrowly()?;
            Ok(hosts)
        }) {
            Ok(hosts) => hosts,
            Err(reason) => {
                skip(Need::Namespaces, reason);
                return;
            }
        };
        let (a, b) = hosts.nodes(arguments);
        // The link is silent before the first long packets, until the next keepalive.
        std::thread::sleep(Duration::from_millis(2500));
        let start = Instant::now();
        let report = hosts.load("19887", 20.0, 10);
        println!(
            "{arguments:?}: {} of {} came",
            report["received"], report["sent"]
        );
        assert_lasted(&a, &b);
        assert!(start.elapsed() >= Duration::from_secs(10));
        let count = |name: &str| report[name].as_u64().unwrap();
        match arguments {
            [] => assert!(count("received") > count("sent") / 3, "{report}"),
            _ => assert_eq!(count("received"), count("sent"), "{report}"),
        }
    }
}
