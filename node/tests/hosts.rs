//! Nodes that share the threads of a host. These tests have a process of their own, so that threads can be counted.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::{Debug, Write};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pinecone::{
    Builder, Host, HostOptions, Node, NodeError, NodeOptions, SecretKey, StreamOptions, pipe,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const LIMIT: Duration = Duration::from_secs(120);

/// Waits until no other test runs: the tests count the threads of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The first runtime of a process makes descriptors that stay.
    run(std::future::ready(()));
    alone
}

/// Returns the number of threads of nodes. The test harness starts and ends threads of its own meanwhile.
fn threads() -> usize {
    threads_named(&["pinecone", "worker", "relay", "resolver"])
}

fn threads_named(prefixes: &[&str]) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    let is_wanted = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
    names.filter(is_wanted).count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Checks that the numbers are back to `before`. Threads that have ended are listed for a moment longer.
fn assert_back_to(before: (usize, usize)) {
    let deadline = Instant::now() + LIMIT;
    while (threads(), descriptors()) != before {
        let now = (threads(), descriptors());
        assert!(Instant::now() < deadline, "{now:?}, not {before:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, future).await.expect("in time") })
}

fn host(threads: usize) -> Host {
    Host::new(HostOptions {
        threads,
        ..HostOptions::default()
    })
    .unwrap()
}

async fn start(host: &Host) -> Node {
    let builder = Builder::from(NodeOptions::small());
    builder.on(host).start().await.unwrap()
}

async fn exchange(a: &Node, b: &Node) {
    a.reachable(&b.public_key(), LIMIT).await.unwrap();
    let mut received = None;
    // Like any datagram, a payload may be lost.
    while received.is_none() {
        a.send_to(b"payload", &b.public_key()).unwrap();
        let receive = tokio::time::timeout(Duration::from_secs(1), b.recv_from());
        received = receive.await.ok();
    }
    let (payload, from) = received.unwrap().unwrap();
    assert_eq!((&payload[..], from), (&b"payload"[..], a.public_key()));
}

#[test]
fn a_thousand_nodes_share_a_few_threads() {
    let _alone = alone();
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum.map_or(20_000, |most| most.min(20_000));
    let maximum = limit.maximum;
    let raised = Rlimit {
        current: Some(current),
        maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let before = (threads(), descriptors());
    run(async {
        let host = host(2);
        let mut nodes: Vec<Node> = Vec::new();
        for index in 0..1000 {
            let node = start(&host).await;
            // The nodes form a tree, so that no two are far apart.
            if index > 0 {
                pipe(&node, &nodes[(index - 1) / 10]).await.unwrap();
            }
            nodes.push(node);
        }
        let all = std::fs::read_dir("/proc/self/task").unwrap().count();
        assert!(threads() >= 3 && all < 20, "{} threads of {all}", threads());
        for (a, b) in [(0, 999), (500, 123), (998, 1), (321, 322)] {
            exchange(&nodes[a], &nodes[b]).await;
        }
        for node in &nodes {
            node.close().await;
        }
    });
    assert_back_to(before);
}

#[test]
fn closing_and_dropping_release_everything() {
    let _alone = alone();
    let before = (threads(), descriptors());
    run(async {
        let host = host(2);
        let with_host = (threads(), descriptors());
        for drops in [false, true] {
            let (a, b) = (start(&host).await, start(&host).await);
            let builder = Builder::from(NodeOptions::small()).listen("127.0.0.1:0");
            let c = builder.on(&host).start().await.unwrap();
            pipe(&a, &b).await.unwrap();
            let address = c.local_addrs()[0].to_string();
            a.connect(&address).await.unwrap();
            exchange(&b, &c).await;
            assert_eq!(a.peers().await.unwrap().len(), 2);
            if !drops {
                a.close().await;
                assert!(a.peers().await.is_err());
                assert_eq!(a.closed().await, Ok(()));
                b.close_blocking();
                c.close().await;
            }
            drop((a, b, c));
            while descriptors() != with_host.1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        // The threads outlive the handle to the host as long as a node needs them.
        let (a, b) = (start(&host).await, start(&host).await);
        drop(host);
        pipe(&a, &b).await.unwrap();
        exchange(&a, &b).await;
    });
    assert_back_to(before);
}

#[test]
fn all_nodes_relay_on_the_threads_of_the_host() {
    let _alone = alone();
    let before = (threads(), descriptors());
    run(async {
        let host = host(1);
        let nodes = [start(&host).await, start(&host).await, start(&host).await];
        let [a, b, c] = &nodes;
        let options = StreamOptions::default;
        let mut far = Vec::new();
        for node in [a, b] {
            // The handshake of a peer that says nothing else.
            let (near, mut end) = tokio::io::duplex(4096);
            let key = SecretKey::from_seed(&[9; 32]);
            let ours = pinecone_wire::handshake::encode(&key);
            tokio::io::AsyncWriteExt::write_all(&mut end, &ours)
                .await
                .unwrap();
            node.connect_relayed(near, options()).await.unwrap();
            far.push(end);
        }
        assert_eq!(threads_named(&["relay"]), 1);
        let (of_b, of_c) = tokio::io::duplex(4096);
        let joined = tokio::join!(
            b.connect_relayed(of_b, options()),
            c.connect_relayed(of_c, options())
        );
        joined.0.and(joined.1).unwrap();
        // The streams of a node have been dropped when it has closed, and those of others have not.
        a.close().await;
        let mut bytes = Vec::new();
        let ended = tokio::io::AsyncReadExt::read_to_end(&mut far[0], &mut bytes);
        tokio::time::timeout(Duration::ZERO, ended)
            .await
            .unwrap()
            .unwrap();
        exchange(b, c).await;
        drop((nodes, host));
    });
    assert_back_to(before);
}

#[test]
fn options_that_need_threads_are_refused() {
    let _alone = alone();
    let before = (threads(), descriptors());
    let host = host(1);
    let small = || Builder::from(NodeOptions::small()).on(&host);
    for (builder, option) in [
        (small().workers(2), "workers"),
        (small().engine(pinecone::EngineChoice::Uring), "engine"),
        (small().verify_threads(1), "verify_threads"),
        (small().control_core(0), "control_core"),
        (small().transport_threads(2), "transport_threads"),
    ] {
        let error = builder.start_blocking().unwrap_err().to_string();
        assert!(error.contains(option), "{error}");
    }
    let error = Host::new(HostOptions {
        threads: 0,
        ..HostOptions::default()
    })
    .unwrap_err();
    assert!(error.to_string().contains("threads"), "{error}");
    drop(host);
    // Its threads end in the background, and the next test counts threads.
    assert_back_to(before);
}

/// A log that panics on a host's thread when it gets a line about [`VICTIM`].
struct Panicking;

static ARMED: AtomicBool = AtomicBool::new(false);

fn victim() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        write!(self.0, "{value:?} ").unwrap();
    }
}

impl Subscriber for Panicking {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let thread = std::thread::current();
        let on_host = (thread.name()).is_some_and(|name| name.starts_with("pinecone-host"));
        if !on_host || !ARMED.load(Ordering::SeqCst) {
            return;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        if text.0.contains(&victim().public_key().to_string()) {
            panic!("as the test wants it");
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_node_that_panics_is_closed_and_the_others_go_on() {
    let _alone = alone();
    tracing::subscriber::set_global_default(Panicking).unwrap();
    let before = (threads(), descriptors());
    run(async {
        let host = host(1);
        let (a, b, c) = (start(&host).await, start(&host).await, start(&host).await);
        pipe(&b, &c).await.unwrap();
        let key = victim();
        let builder = Builder::from(NodeOptions::small()).secret_key(key);
        // The victim is not on the host: only `a` panics, when it logs the new peering.
        let victim = builder.start().await.unwrap();
        ARMED.store(true, Ordering::SeqCst);
        pipe(&a, &victim).await.unwrap_err();
        let expected = NodeError::Panicked { thread: "host" };
        assert_eq!(a.closed().await, Err(expected));
        a.close().await;
        assert!(a.status().await.is_err());
        drop(a);
        exchange(&b, &c).await;
        let d = start(&host).await;
        pipe(&c, &d).await.unwrap();
        exchange(&b, &d).await;
        ARMED.store(false, Ordering::SeqCst);
        for node in [b, c, d, victim] {
            node.close().await;
        }
    });
    assert_back_to(before);
}
