//! `pinecone bench`: measures how a running node forwards frames.
//!
//! Senders and sinks are real peers of the node, each with a thread, a control plane and a socket, but
//! without a data plane: frames are built once, then stamped and written in batches.

mod frames;
mod histogram;
mod keys;
mod link;
mod node;
mod options;
mod process;
mod report;
mod sender;
mod shared;
mod sink;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pinecone::{PublicKey, SecretKey};
use pinecone_transports::PeerUri;

use crate::failure::Failure;
use crate::output::{counted, print};
use crate::signals::{Signals, stopped_by};

use frames::{Carousel, Flow};
use link::Link;
use node::Node;
pub(crate) use options::BenchOptions;
use options::Check;
use process::Process;
use report::{Latency, Report};
use sender::{BATCH, Sender};
use shared::{Phase, Progress, Shared};
use sink::{Received, Sink, Tally};

/// Time limit until every flow has a route.
const ROUTE_LIMIT: Duration = Duration::from_secs(30);
/// Nodes that follow different roots for this long are not in the same network.
const ROOT_LIMIT: Duration = Duration::from_secs(10);
/// Time for a bootstrap to pass through the nodes.
const BOOTSTRAP_TIME: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// After the last frame was sent, sinks wait until no frame has arrived for this long.
const DRAIN_PAUSE: Duration = Duration::from_millis(500);
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Runs the benchmark. Returns false if no frame arrived.
pub(crate) async fn bench(options: BenchOptions) -> Result<bool, Failure> {
    options.log.start("error")?;
    options.check()?;
    let bench = Bench::start(&options)?;
    let mut signals = Signals::new()?;
    let report = bench.run(&options, &mut signals).await;
    // The threads must end even after a failure.
    bench.shared.enter(Phase::Ended);
    let report = bench.finish(&options, report?)?;
    print(&if options.json {
        serde_json::to_string_pretty(&report).map_err(Failure::runtime)? + "\n"
    } else {
        report.text()
    })?;
    Ok(report.received > 0)
}

/// A running benchmark.
struct Bench {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<u64>>,
    sinks: Vec<JoinHandle<Received>>,
    nodes: Vec<Node>,
    frame_len: usize,
    start: Instant,
}

/// The measurements of the time while frames were sent.
struct Window {
    route: Duration,
    time: Duration,
    /// The counters at its end.
    progress: Progress,
    /// CPU time of each node, then of this process.
    cpu: Vec<Option<Duration>>,
}

impl Bench {
    /// Connects all peers and starts the threads.
    fn start(options: &BenchOptions) -> Result<Self, Failure> {
        let start = Instant::now();
        let pairs = options.pairs as usize;
        let (to, from) = match options.through.as_slice() {
            [one] => (one, one),
            [first, last, ..] => (first, last),
            [] => return Err(Failure::usage("--through: no address")),
        };
        // The bootstraps of a sink look for the next higher key. If those are the keys of the senders,
        // the bootstraps pass the node of the senders and set up the route.
        let mut keys = keys::low_keys(2 * pairs)?.into_iter();
        let links = |address: &PeerUri, keys: &mut dyn Iterator<Item = SecretKey>| {
            keys.take(pairs)
                .map(|key| Link::connect(address, key, start))
                .collect::<Result<Vec<_>, _>>()
        };
        let mut sinks = links(from, &mut keys)?;
        sinks.iter().for_each(Link::widen);
        if options.rate.0.is_none() {
            // Latency does not matter, as frames wait in queues anyway.
            sinks.iter_mut().for_each(Link::read_in_bulk);
        }
        let senders = links(to, &mut keys)?;
        let mut nodes = Vec::new();
        for link in senders.first().into_iter().chain(sinks.first()) {
            if nodes.iter().all(|node: &Node| node.address != link.address) {
                nodes.push(Node {
                    address: link.address.clone(),
                    key: link.node,
                    process: Process::listening(link.local, link.remote),
                });
            }
        }

        let sink_keys: Vec<_> = sinks.iter().map(Link::key).collect();
        let flows: Vec<_> = (0..options.flows)
            .map(|id| Flow {
                id,
                source: PublicKey(rand::random()),
                destination: sink_keys[sink_of(id as usize, pairs)],
            })
            .collect();
        let run = rand::random();
        let size = options.size as usize;
        let shared = Arc::new(Shared::new(flows.len(), 2 * pairs));
        let mut bench = Self {
            shared: Arc::clone(&shared),
            senders: Vec::new(),
            sinks: Vec::new(),
            nodes,
            frame_len: 0,
            start,
        };
        for (i, link) in sinks.into_iter().enumerate() {
            let sink = Sink {
                tally: Tally::new(link.key(), flows.len(), run, size),
                link,
                number: pairs + i,
                shared: Arc::clone(&shared),
                sampled: options.check == Check::Sampled,
            };
            bench.sinks.push(spawn("sink", move || sink.run())?);
        }
        for (i, link) in senders.into_iter().enumerate() {
            let own: Vec<_> = flows.iter().skip(i).step_by(pairs).copied().collect();
            let carousel = Carousel::new(&own, run, size, BATCH).map_err(Failure::runtime)?;
            bench.frame_len = carousel.frame_len();
            let share = own.len() as f64 / flows.len() as f64;
            let sender = Sender {
                link,
                number: i,
                flows: own.iter().map(|flow| flow.id as usize).collect(),
                carousel,
                rate: options.rate.0.map(|rate| rate * share),
                shared: Arc::clone(&shared),
            };
            bench.senders.push(spawn("sender", move || sender.run())?);
        }
        Ok(bench)
    }

    /// Finds routes, sends until the time is over or a signal arrives, and waits for frames in flight.
    async fn run(&self, options: &BenchOptions, signals: &mut Signals) -> Result<Window, Failure> {
        tokio::select! {
            found = self.find_routes(options) => found?,
            name = signals.next() => return Err(stopped_by(name)),
        }
        let route = self.start.elapsed();
        options.say(&self.headline(options))?;
        let cpu = self.cpu();
        let begin = Instant::now();
        self.shared.enter(Phase::Running);
        tokio::select! {
            sent = self.watch(options, begin) => sent?,
            _ = signals.next() => {}
        }
        let (progress, time) = (self.shared.progress(), begin.elapsed());
        let used = self.cpu().into_iter().zip(cpu);
        let cpu = used.map(|(after, before)| Some(after?.saturating_sub(before?)));
        let cpu = cpu.collect();
        self.shared.enter(Phase::Draining);
        tokio::select! {
            drained = self.drain() => drained?,
            _ = signals.next() => {}
        }
        Ok(Window {
            route,
            time,
            progress,
            cpu,
        })
    }

    /// Waits until every flow has a lasting route. Probes may arrive after the first announcements, and then not again
    /// until bootstraps have set up routes, so only later probes count.
    async fn find_routes(&self, options: &BenchOptions) -> Result<(), Failure> {
        self.find_all(options).await?;
        while !self.shared.all_joined() {
            self.check()?;
            if self.start.elapsed() > ROUTE_LIMIT {
                return Err(Failure::runtime(format!(
                    "no bootstrap was sent within {} s",
                    ROUTE_LIMIT.as_secs()
                )));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        tokio::time::sleep(BOOTSTRAP_TIME).await;
        self.shared.forget_seen();
        self.find_all(options).await
    }

    /// Waits until a probe of every flow has arrived.
    async fn find_all(&self, options: &BenchOptions) -> Result<(), Failure> {
        while let Some(flow) = self.shared.first_unseen() {
            self.check()?;
            if let Some(why) = self.no_route(options, flow) {
                return Err(Failure::runtime(why));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.check()
    }

    /// Explains why this flow has no route, once it has taken too long.
    fn no_route(&self, options: &BenchOptions, flow: usize) -> Option<String> {
        let elapsed = self.start.elapsed();
        let (limit, root_limit) = (ROUTE_LIMIT.as_secs(), ROOT_LIMIT.as_secs());
        let (first, last) = (options.through.first()?, options.through.last()?);
        let pairs = options.pairs as usize;
        let sender = self.shared.place(flow % pairs)?;
        let sink = self.shared.place(pairs + sink_of(flow, pairs))?;
        let silent = match (sender.announced, sink.announced) {
            (false, _) => Some(first),
            (_, false) => Some(last),
            _ => None,
        };
        match silent {
            Some(address) if elapsed > ROUTE_LIMIT => Some(format!(
                "{address} has not announced itself within {limit} s: is it a Pinecone node?"
            )),
            None if sender.root != sink.root && elapsed > ROOT_LIMIT => Some(format!(
                "{first} follows the root {}, {last} the root {} after {root_limit} s: they are \
                 not in one network",
                sender.root.short(),
                sink.root.short()
            )),
            None if elapsed > ROUTE_LIMIT => Some(missing_probes(
                first,
                last,
                self.shared.seen_count(),
                options.flows as usize,
            )),
            _ => None,
        }
    }

    fn headline(&self, options: &BenchOptions) -> String {
        let peers = match options.pairs {
            1 => "one sender, one sink".to_owned(),
            n => format!("{n} senders, {n} sinks"),
        };
        let rate = match options.rate.0 {
            None => "as fast as the node reads".to_owned(),
            Some(rate) => format!("{rate} frames/s"),
        };
        format!(
            "BENCH through {}: {peers}, {}, frames of {} bytes ({} of payload), {rate}, for \
             {} s\n",
            names(&options.through).join(" to "),
            counted(options.flows.into(), "flow"),
            self.frame_len,
            options.size,
            options.seconds.as_secs_f64()
        )
    }

    /// Prints a line every second until the time is over.
    async fn watch(&self, options: &BenchOptions, begin: Instant) -> Result<(), Failure> {
        let (mut last, mut before) = (begin, Progress::default());
        loop {
            let left = options.seconds.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            let whole = begin.elapsed().as_secs() + 1;
            let at = begin + Duration::from_secs(whole).min(options.seconds);
            while Instant::now() < at {
                self.check()?;
                let next = (Instant::now() + 10 * LOOK_AGAIN).min(at);
                tokio::time::sleep_until(next.into()).await;
            }
            let (now, progress) = (Instant::now(), self.shared.progress());
            let frames = (progress.received - before.received) as f64;
            let rate = frames / (now - last).as_secs_f64();
            let line = report::second(now - begin, rate, self.frame_len, progress.missing);
            options.say(&line)?;
            (last, before) = (now, progress);
        }
    }

    /// Waits until all frames have arrived, or no more arrive.
    async fn drain(&self) -> Result<(), Failure> {
        let begin = Instant::now();
        let (mut last, mut at) = (0, begin);
        loop {
            self.check()?;
            let Progress { sent, received, .. } = self.shared.progress();
            let now = Instant::now();
            if received != last {
                (last, at) = (received, now);
            }
            let stopped = self.shared.stopped() == self.senders.len();
            let quiet = received == sent || now - at > DRAIN_PAUSE;
            if stopped && quiet || now - begin > DRAIN_LIMIT {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Fails if a peering has ended.
    fn check(&self) -> Result<(), Failure> {
        self.shared
            .failure()
            .map_or(Ok(()), |why| Err(Failure::runtime(why)))
    }

    /// Returns the CPU time used so far by each node, then by this process.
    fn cpu(&self) -> Vec<Option<Duration>> {
        let nodes = self.nodes.iter().map(|node| node.process.as_ref().ok());
        nodes
            .map(|process| process?.cpu())
            .chain([Process::own().cpu()])
            .collect()
    }

    /// Joins the threads and returns the report.
    fn finish(self, options: &BenchOptions, window: Window) -> Result<Report, Failure> {
        let lost_thread = |_| Failure::runtime("a thread of the bench has panicked");
        let mut left_out = 0;
        for sender in self.senders {
            left_out += sender.join().map_err(lost_thread)?;
        }
        let mut all = Received::default();
        for sink in self.sinks {
            let received = sink.join().map_err(lost_thread)?;
            all.totals.add(&received.totals);
            all.latency.add(&received.latency);
            all.strange += received.strange;
        }
        let sent = self.shared.progress().sent;
        let lost = sent.saturating_sub(all.totals.received);
        let seconds = window.time.as_secs_f64();
        let frames_per_second = window.progress.received as f64 / seconds;
        let mut cpu = window.cpu.into_iter();
        let nodes = self
            .nodes
            .into_iter()
            .map(|node| {
                let used = cpu.next().flatten().map(|used| used.as_secs_f64());
                node.report(used, seconds, window.progress.received)
            })
            .collect();
        Ok(Report {
            through: names(&options.through),
            size: options.size,
            frame_bytes: self.frame_len,
            flows: options.flows,
            pairs: options.pairs,
            rate: options.rate.0,
            seconds,
            route_seconds: window.route.as_secs_f64(),
            sent,
            received: all.totals.received,
            lost,
            loss: lost as f64 / sent.max(1) as f64,
            reordered: all.totals.reordered,
            duplicates: all.totals.duplicates,
            strange: all.strange,
            check: options.check,
            skipped: all.totals.skipped,
            left_out,
            offered_frames_per_second: window.progress.sent as f64 / seconds,
            frames_per_second,
            gbit_per_second: report::gbit(frames_per_second, self.frame_len),
            latency_us: (all.latency.count() > 0).then(|| {
                let us = |time: Duration| time.as_nanos() as f64 / 1000.0;
                let quantile = |share| us(all.latency.quantile(share));
                Latency {
                    p50: quantile(0.5),
                    p90: quantile(0.9),
                    p99: quantile(0.99),
                    p999: quantile(0.999),
                    max: us(all.latency.max()),
                }
            }),
            nodes,
            bench_cpu_seconds: cpu.next().flatten().map(|used| used.as_secs_f64()),
        })
    }
}

/// Explains that probes of only `seen` of all flows arrived within [`ROUTE_LIMIT`].
fn missing_probes(first: &PeerUri, last: &PeerUri, seen: usize, flows: usize) -> String {
    let limit = ROUTE_LIMIT.as_secs();
    match seen {
        0 => format!(
            "no frame from {first} to {last} came through within {limit} s: there is no route, or the \
             path is too slow; try --flows 1 and a smaller --size"
        ),
        _ => format!(
            "frames of only {seen} of {} from {first} to {last} came through within {limit} s: the \
             path is slow or loses frames; try fewer --flows and a smaller --size",
            counted(flows as u64, "flow")
        ),
    }
}

fn names(addresses: &[PeerUri]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

/// Returns the sink of a flow. Its sender is `flow % pairs`. With enough flows, every sender sends to every
/// sink.
fn sink_of(flow: usize, pairs: usize) -> usize {
    (flow % pairs + flow / pairs) % pairs
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|e| Failure::runtime(format!("cannot start a thread: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn flows_reach_every_sink_from_every_sender() {
        for pairs in 1..6 {
            let few: BTreeSet<_> = (0..pairs).map(|flow| sink_of(flow, pairs)).collect();
            assert_eq!(few.len(), pairs);
            let all: BTreeSet<_> = (0..pairs * pairs)
                .map(|flow| (flow % pairs, sink_of(flow, pairs)))
                .collect();
            assert_eq!(all.len(), pairs * pairs);
        }
    }

    #[test]
    fn a_slow_path_is_told_from_a_missing_route() {
        let address: PeerUri = "a:1".parse().unwrap();
        let text = |seen| missing_probes(&address, &address, seen, 64);
        assert!(text(0).contains("there is no route, or the path is too slow"));
        assert!(text(3).contains("only 3 of 64 flows"));
        assert!(!text(3).contains("no route"));
    }
}
