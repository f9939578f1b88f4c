//! Runs two hundred nodes in one process, joined to a ring by pipes, until each has reached all others.
//!
//! ```sh
//! cargo run --release -p pinecone --example two_hundred_nodes
//! cargo run --release -p pinecone --example two_hundred_nodes -- 50 60    # 50 nodes, then idle for 60 s
//! cargo run --release -p pinecone --example two_hundred_nodes -- 50 60 2  # on two threads
//! ```

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use pinecone::{Builder, Host, HostOptions, Node, NodeOptions, PingError, pipe};
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let idle = arguments.next().map_or(Ok(0), |text| text.parse())?;

    let mut options = HostOptions::default();
    if let Some(threads) = arguments.next() {
        options.threads = threads.parse()?;
    }

    let before = Usage::now()?;
    let started = Instant::now();
    let host = Host::new(options)?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        let builder = Builder::from(NodeOptions::small()).on(&host);
        nodes.push(builder.start().await?);
    }
    for (index, node) in nodes.iter().enumerate() {
        pipe(node, &nodes[(index + 1) % nodes.len()]).await?;
    }
    println!(
        "{count} nodes started and joined in {:?}",
        started.elapsed()
    );

    let joined = Instant::now();
    let mut tasks = JoinSet::new();
    for from in &nodes {
        let (from, keys) = (
            from.clone(),
            nodes.iter().map(Node::public_key).collect::<Vec<_>>(),
        );
        tasks.spawn(async move {
            let mut lost = 0;
            for key in keys.iter().filter(|key| **key != from.public_key()) {
                // A busy machine answers late. Longer waits keep repeated pings from making it busier.
                let mut wait = Duration::from_secs(1);
                loop {
                    match from.ping(key, 0, wait).await {
                        Ok(_) => break,
                        Err(PingError::Timeout) => (lost, wait) = (lost + 1, 2 * wait),
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(lost)
        });
    }
    let mut lost = 0;
    while let Some(of_node) = tasks.join_next().await {
        lost += of_node??;
    }
    println!(
        "each reached all others in {:?}; {lost} pings were lost",
        joined.elapsed()
    );

    let after = Usage::now()?;
    println!(
        "{} KiB of memory a node, {} threads, {} descriptors",
        (after.memory_kib - before.memory_kib) / count as u64,
        after.threads,
        after.descriptors
    );
    if idle > 0 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let before = Usage::now()?.cpu;
        tokio::time::sleep(Duration::from_secs(idle)).await;
        let used = Usage::now()?.cpu - before;
        println!(
            "idle: {:.1} % of a core",
            100.0 * used.as_secs_f64() / idle as f64
        );
    }
    for node in nodes {
        node.close().await;
    }
    Ok(())
}

/// The resources that the process uses.
struct Usage {
    memory_kib: u64,
    threads: usize,
    descriptors: usize,
    cpu: Duration,
}

impl Usage {
    fn now() -> Result<Self, Box<dyn Error>> {
        let status = fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.ok_or("no VmRSS")?.trim_end_matches("kB").trim();
        // After the name in parentheses: state first, then utime and stime as 12th and 13th, in 1/100 s.
        let stat = fs::read_to_string("/proc/self/stat")?;
        let fields = stat
            .rsplit(')')
            .next()
            .ok_or("no fields")?
            .split_whitespace();
        let ticks = fields.skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>()?;
        Ok(Self {
            memory_kib: resident.parse()?,
            threads: fs::read_dir("/proc/self/task")?.count(),
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            cpu: Duration::from_millis(10 * ticks),
        })
    }
}
