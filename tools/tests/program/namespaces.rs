//! Five hosts in a line, each a network namespace: links fail and recover, the root dies, and every
//! connected pair finds a route within 15 s.

use pinecone_testing::{Need, skip};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::daemon::{Daemon, Start, key, wait_at_most, wait_until};
use crate::silence::closing_sockets;

pub(crate) const HOSTS: usize = 5;
const ROOT: usize = HOSTS / 2;
const LIMIT: Duration = Duration::from_secs(15);

/// The namespaces. Removed when dropped.
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    /// Host `i` has the interface `right` to host `i + 1`, whose interface `left` it is; the link
    /// has the network 10.77.i.0/24, with 1 at the left and 2 at the right end.
    pub(crate) fn new(test: &str) -> Result<Self, String> {
        let mut hosts = Self(Vec::new());
        for i in 0..HOSTS {
            let name = format!("pinecone-{test}-{}-{i}", std::process::id());
            ip(&["netns", "add", &name])?;
            hosts.0.push(name);
            hosts.ip(i, &["link", "set", "lo", "up"])?;
        }
        for i in 0..HOSTS - 1 {
            let link = ["link", "add", "right", "netns", &hosts.0[i], "type", "veth"];
            let peer = ["peer", "name", "left", "netns", &hosts.0[i + 1]];
            ip(&[&link[..], &peer[..]].concat())?;
            for (host, interface, address) in [(i, "right", 1), (i + 1, "left", 2)] {
                let address = format!("10.77.{i}.{address}/24");
                hosts.ip(host, &["address", "add", &address, "dev", interface])?;
                hosts.ip(host, &["link", "set", interface, "up"])?;
            }
        }
        Ok(hosts)
    }

    fn ip(&self, host: usize, arguments: &[&str]) -> Result<(), String> {
        ip(&[&["-n", &self.0[host]], arguments].concat())
    }

    /// Starts the daemon of a host, which dials its neighbours.
    fn start(&self, host: usize, seed: u8) -> Daemon {
        self.start_in(host, seed, &[])
    }

    /// Starts the daemon with these environment variables.
    pub(crate) fn start_in(&self, host: usize, seed: u8, environment: &[(&str, &str)]) -> Daemon {
        let mut connect = Vec::new();
        if host > 0 {
            connect.push(format!("10.77.{}.1:65432", host - 1));
        }
        if host < HOSTS - 1 {
            connect.push(format!("10.77.{host}.2:65432"));
        }
        Start {
            seed: Some(seed),
            listen: Some(":65432"),
            connect,
            namespace: Some(&self.0[host]),
            environment,
            ..Start::default()
        }
        .run()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.0 {
            if let Err(error) = ip(&["netns", "delete", name]) {
                eprintln!("{name} is left over: {error}");
            }
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

/// Asserts that every host reaches every other one within the limit after `start`.
pub(crate) fn all_pairs_ping(what: &str, start: Instant, daemons: &[&Daemon]) {
    std::thread::scope(|scope| {
        for (from, to) in daemons
            .iter()
            .flat_map(|a| daemons.iter().map(move |b| (a, b)))
        {
            if from.key == to.key {
                continue;
            }
            let what = format!("{what}: {} to reach {}", from.key.short(), to.key.short());
            scope.spawn(move || {
                let rest = LIMIT.saturating_sub(start.elapsed());
                wait_at_most(rest, &what, || {
                    from.ping(&to.key, Duration::from_millis(500))
                });
            });
        }
    });
    println!(
        "{what}: all pairs after {:.1} s",
        start.elapsed().as_secs_f64()
    );
}

/// Returns the sockets of a host that wait for an answer to their FIN.
fn waiting_for_fin(host: &str) -> usize {
    let output = Command::new("ip")
        .args(["netns", "exec", host, "cat", "/proc/net/tcp"])
        .output()
        .unwrap();
    closing_sockets(&String::from_utf8_lossy(&output.stdout), |_| true)
}

fn lost(daemon: &Daemon, neighbour: &Daemon) {
    wait_until("the loss of the peering", || {
        daemon.peer(&neighbour.key).map_or(Ok(()), Err)
    });
}

#[test]
fn a_line_of_hosts_survives_cuts_and_the_death_of_its_root() {
    let hosts = match Hosts::new("line") {
        Ok(hosts) => hosts,
        Err(reason) => {
            skip(Need::Namespaces, reason);
            return;
        }
    };
    // The root, with the highest key, is in the middle.
    let mut seeds: Vec<u8> = (1..=HOSTS as u8).collect();
    seeds.sort_by_key(|seed| key(*seed).public_key());
    seeds.swap(ROOT, HOSTS - 1);
    let start = Instant::now();
    let mut daemons: Vec<_> = (0..HOSTS).map(|i| hosts.start(i, seeds[i])).collect();
    let [a, b, root, c, d] = &daemons[..] else {
        unreachable!("five were started")
    };
    all_pairs_ping("at the start", start, &[a, b, root, c, d]);
    for daemon in &daemons {
        assert_eq!(daemon.status()["root"]["key"], root.key.to_string());
    }
    // The path is as long as the line.
    let answer = a.ping(&d.key, LIMIT).unwrap();
    assert_eq!(answer["hops"], HOSTS - 2, "{answer}");

    let start = Instant::now();
    hosts.ip(0, &["link", "set", "right", "down"]).unwrap();
    lost(a, b);
    lost(b, a);
    all_pairs_ping("with the first link cut", start, &[b, root, c, d]);
    assert_eq!(a.status()["root"]["key"], a.key.to_string());
    let start = Instant::now();
    hosts.ip(0, &["link", "set", "right", "up"]).unwrap();
    all_pairs_ping("with the first link healed", start, &[a, b, root, c, d]);

    let start = Instant::now();
    hosts.ip(2, &["link", "set", "right", "down"]).unwrap();
    lost(root, c);
    lost(c, root);
    all_pairs_ping("with the third link cut, left of it", start, &[a, b, root]);
    all_pairs_ping("with the third link cut, right of it", start, &[c, d]);
    let start = Instant::now();
    hosts.ip(2, &["link", "set", "right", "up"]).unwrap();
    all_pairs_ping("with the third link healed", start, &[a, b, root, c, d]);

    let start = Instant::now();
    daemons.remove(ROOT).end(Signal::KILL);
    let [a, b, c, d] = &daemons[..] else {
        unreachable!("four are left")
    };
    all_pairs_ping("with the root dead, left of it", start, &[a, b]);
    all_pairs_ping("with the root dead, right of it", start, &[c, d]);
    let start = Instant::now();
    let again = hosts.start(ROOT, seeds[ROOT]);
    all_pairs_ping("with the root back", start, &[a, b, &again, c, d]);
}

#[test]
fn an_only_peer_behind_a_dead_link_is_dropped_reset_and_taken_back() {
    let hosts = match Hosts::new("silence") {
        Ok(hosts) => hosts,
        Err(reason) => {
            skip(Need::Namespaces, reason);
            return;
        }
    };
    let start = |host: usize, connect: &[&str]| {
        Start {
            listen: Some(":65432"),
            connect: connect.iter().map(|&peer| peer.to_owned()).collect(),
            namespace: Some(&hosts.0[host]),
            ..Start::default()
        }
        .run()
    };
    let server = start(0, &[]);
    std::thread::sleep(Duration::from_secs(8));
    let client = start(1, &["10.77.0.1:65432"]);
    for idle in [Duration::from_secs(8), Duration::from_secs(1)] {
        wait_until("the peering", || server.peer(&client.key).ok_or("none"));
        hosts.ip(0, &["link", "set", "right", "down"]).unwrap();
        for (host, daemon, other) in [(0, &server, &client), (1, &client, &server)] {
            wait_at_most(Duration::from_secs(8), "the loss of the peering", || {
                daemon.peer(&other.key).map_or(Ok(()), Err)
            });
            assert_eq!(waiting_for_fin(&hosts.0[host]), 0, "host {host}");
        }
        std::thread::sleep(idle);
        hosts.ip(0, &["link", "set", "right", "up"]).unwrap();
    }
    server.wait_for_log("peer was silent for 5 s");
}
