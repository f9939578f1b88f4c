//! A container of 32 MiB, with peers that make the node store as much as its limits allow.

use pinecone_testing::{Need, skip};
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pinecone_wire::{Coordinates, PublicKey, SecretKey, handshake};
use socket2::{Domain, Socket, Type};

use crate::daemon::{PATIENCE, Start, wait_until};
use crate::raw_peer::chain;
use crate::traffic::traffic_with;

const BYTES: u64 = 32 << 20;

/// A cgroup with little memory. Removed when dropped.
struct SmallGroup {
    directory: PathBuf,
}

impl SmallGroup {
    /// Returns `None` if this process may not create one.
    fn make(name: &str) -> Option<Self> {
        let name = format!("pinecone-{name}-{}", std::process::id());
        let versions = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        versions.into_iter().find_map(|(root, limit)| {
            let directory = PathBuf::from(root).join(&name);
            fs::create_dir(&directory).ok()?;
            let group = Self { directory };
            fs::write(group.directory.join(limit), BYTES.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for SmallGroup {
    fn drop(&mut self) {
        // Fails until the kernel has seen the end of the last process.
        let start = Instant::now();
        while fs::remove_dir(&self.directory).is_err() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn announcements_coordinates_and_unfinished_frames_do_not_fill_it() {
    let Some(group) = SmallGroup::make("peers") else {
        skip(Need::Cgroups, "none can be made here");
        return;
    };
    let mut daemon = Start {
        cgroup: Some(&group.directory),
        seed: Some(1),
        ..Start::default()
    }
    .run();
    let limits = daemon
        .banner
        .lines()
        .find(|line| line.starts_with("limits "));
    let limits = limits.unwrap_or_else(|| panic!("no limits: {}", daemon.banner));
    assert!(limits.contains("max-peers 32, "), "{limits}");
    assert!(limits.ends_with(", lowered to fit the memory"), "{limits}");
    // As many signatures as a node accepts.
    let mut keys: Vec<_> = (0..490u32).map(numbered_key).collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.public_key()));
    let mut opening = handshake::encode(&keys[489]).to_vec();
    opening.extend(chain(&keys.iter().collect::<Vec<_>>(), 1));
    let key = keys[489].public_key();
    let traffic = |from, source: &Coordinates, payload| {
        traffic_with(source, from, &Coordinates::default(), daemon.key, payload)
    };
    // Coordinates of many made-up keys, as long as the node stores.
    let deep: Coordinates = vec![1; 600].into();
    let mut coordinates = Vec::new();
    for n in 0..3000u32 {
        let mut made_up = PublicKey::MIN;
        made_up.0[..4].copy_from_slice(&n.to_be_bytes());
        coordinates.extend(traffic(made_up, &deep, &[]));
    }
    opening.extend(&traffic(key, &Coordinates::default(), &[0; 65_000])[..63_000]);
    let first = [&opening[..opening.len() - 63_000], &coordinates].concat();
    let mut peers = Vec::new();
    for n in 0..800 {
        let from = if n < 400 { 2 } else { 3 };
        let Some(stream) = connect(daemon.address(), from) else {
            break;
        };
        peers.push((stream, if n == 0 { &first[..] } else { &opening[..] }));
        peers
            .iter_mut()
            .for_each(|(stream, rest)| feed(stream, rest));
    }
    wait_until("all that they have to send", || {
        assert!(daemon.is_running(), "{}", daemon.log());
        peers
            .iter_mut()
            .for_each(|(stream, rest)| feed(stream, rest));
        match daemon.counter("announcements") + daemon.counter("peers_over_limit") {
            seen @ ..300 => Err(seen),
            _ => Ok(()),
        }
    });
    assert_eq!(peers.len(), 800);
    assert!(daemon.is_running(), "{}", daemon.log());
    drop(daemon);
}

fn numbered_key(n: u32) -> SecretKey {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    SecretKey::from_seed(&seed)
}

/// Connects from this address of the loopback interface. Returns `None` if the daemon has exited.
fn connect(to: &str, from: u8) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, from], 0)).into())
        .unwrap();
    let to: SocketAddr = to.parse().unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).ok()?;
    socket.set_nonblocking(true).unwrap();
    Some(socket.into())
}

/// Sends as much of `rest` as the connection accepts.
fn feed(stream: &mut TcpStream, rest: &mut &[u8]) {
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(len) => *rest = &rest[len..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            // The daemon has refused it.
            Err(_) => *rest = &[],
        }
    }
}
