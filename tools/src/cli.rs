//! The command line.

pub(crate) mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use pinecone::{EngineChoice, PublicKey, UpgradePath};

use crate::admin::client::AdminOptions;
use crate::bench::BenchOptions;
use crate::cores::CoreList;
use crate::failure::Failure;
use crate::limits;
use crate::logging::LogOptions;
use crate::secret::KeyOptions;
use values::{QueueDelay, Switch, seconds, whole};

const PEERINGS: &str = "Peerings";
const THREADS: &str = "Threads and cores";
const ENGINE: &str = "Engine";
const ROUTING: &str = "Routing";
const QUEUES: &str = "Queues and limits";

/// A Pinecone node, and the tools to run and watch one.
///
/// Without a subcommand, runs a node as `pinecone run` does.
#[derive(Debug, Parser)]
#[command(name = "pinecone", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node: a static peer for others.
    Run(Box<RunOptions>),
    /// Make a new secret key and print it, or write it to a file.
    Genkey {
        /// Write the secret key to this new file, which only you can read, and print the public key.
        #[arg(long, value_name = "PATH")]
        key_file: Option<PathBuf>,
    },
    /// Print the public key that belongs to a secret key.
    ///
    /// Without a flag, reads the secret key from standard input.
    Pubkey {
        /// File that holds the secret key.
        #[arg(long, value_name = "PATH", conflicts_with = "secretkey")]
        key_file: Option<PathBuf>,
        /// The secret key itself.
        #[arg(long, value_name = "HEX")]
        secretkey: Option<String>,
    },
    /// Show the state of the running node.
    Status {
        #[command(flatten)]
        admin: AdminOptions,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the peerings of the running node.
    Peers {
        #[command(flatten)]
        admin: AdminOptions,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Print keys in full instead of their first 8 digits.
        #[arg(long)]
        full: bool,
    },
    /// Close a peering of the running node.
    ///
    /// A static peer is dialled again.
    Disconnect {
        #[command(flatten)]
        admin: AdminOptions,
        /// Port of the peering, as `pinecone peers` lists it.
        #[arg(value_parser = whole::<u32>(0, u32::MAX.into()))]
        port: u32,
    },
    /// Measure the round-trip time to a node.
    ///
    /// Pings from the running node or, with --connect, from a temporary node. Exits with 0 if any
    /// ping was answered and with 1 if none was.
    Ping(PingOptions),
    /// Send standard input to a `pinecone recv` at another node.
    ///
    /// Runs a temporary node, even if another node runs on this machine. The bytes are neither
    /// encrypted nor authenticated. Exits with 0 once the receiver has confirmed everything.
    Send {
        /// Public key of the receiver.
        key: PublicKey,
        #[command(flatten)]
        node: MomentaryNode,
        /// Bytes of data in each frame, from 64 to 60000.
        #[arg(short, long, value_name = "BYTES", default_value_t = 16384,
              value_parser = whole::<u32>(64, 60000))]
        size: u32,
    },
    /// Receive from a `pinecone send` and write to standard output.
    ///
    /// Runs a temporary node and prints its public key to standard error. Exits after the first
    /// stream: with 0 if it is complete, else with 1. Anyone who knows the key may send.
    Recv {
        #[command(flatten)]
        node: MomentaryNode,
        /// Wait for the next stream when one has ended.
        #[arg(long)]
        keep: bool,
    },
    /// Measure how a running node forwards: frames per second, loss, order, latency and CPU time.
    ///
    /// Joins the node as temporary peers that send frames to each other through it, by default as
    /// fast as it takes them. Works with any implementation; CPU time needs the node on this machine.
    Bench(BenchOptions),
}

/// Options of `pinecone run`.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Address to listen on: `host:port` for TCP, or a URI with tcp://, tls://, ws:// or wss://. May be
    /// repeated.
    ///
    /// `:65432` listens on all addresses of the machine, `host:65432` on all addresses of the name.
    /// Port 0 takes a free port. Options follow a question mark, as in
    /// `tcp://:65432?priority=1&interface=eth0`: `key=HEX` accepts this key only, `priority=N` prefers
    /// these peerings to others with the same key, and `interface=NAME` listens on this interface.
    #[arg(long, value_name = "ADDR", default_value = ":65432", help_heading = PEERINGS)]
    pub(crate) listen: Vec<String>,
    /// Address to listen on for WebSockets: short for `--listen ws://ADDR`. May be repeated.
    #[arg(long, alias = "listenws", value_name = "ADDR", help_heading = PEERINGS)]
    pub(crate) listen_ws: Vec<String>,
    /// Path on which WebSocket listeners accept connections, without a query. May be repeated.
    ///
    /// Other requests get the status 404. [default: `/` and `/ws`]
    #[arg(long, value_name = "PATH", help_heading = PEERINGS)]
    pub(crate) ws_path: Vec<UpgradePath>,
    /// Networks of reverse proxies that name the addresses of their clients, as in `10.0.0.0/8,::1`.
    ///
    /// The headers `Forwarded` and `X-Forwarded-For` are believed from these addresses only. May be repeated.
    #[arg(long, value_name = "CIDR,...", value_delimiter = ',', help_heading = PEERINGS)]
    pub(crate) trust_forwarded_for: Vec<String>,
    /// PEM file with the certificate for TLS listeners, the certificate of the server first.
    ///
    /// `wss://` needs it; `tls://` between nodes does not. Read again when it changes, and on SIGHUP.
    #[arg(long, value_name = "FILE", help_heading = PEERINGS)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate.
    #[arg(long, value_name = "FILE", help_heading = PEERINGS)]
    pub(crate) tls_key: Option<PathBuf>,
    /// PEM file with certificates of authorities to trust when dialling, besides those of the system.
    #[arg(long, value_name = "FILE", help_heading = PEERINGS)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Wait for addresses to listen on that this machine does not have yet, instead of failing.
    #[arg(long, help_heading = PEERINGS)]
    pub(crate) listen_retry: bool,
    /// Static peers to keep connected: `host:port` for TCP, or URIs with tcp://, tls://, ws:// or wss://,
    /// separated by commas. May be repeated.
    ///
    /// A name is looked up at each dial, so it need not resolve at the start. Options follow a question mark, as in `tcp://host:65432?maxbackoff=30s&priority=1`:
    /// `key=HEX` refuses any other key, `maxbackoff=TIME` is the longest pause between two dials of this
    /// peer, `priority=N` (0 to 255) prefers this peering to others with the same key, and
    /// `interface=NAME` dials through this interface.
    #[arg(long, value_name = "LIST", help_heading = PEERINGS)]
    pub(crate) connect: Vec<String>,
    /// Number of dials that may run at the same time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = whole::<u16>(1, u16::MAX.into()),
          help_heading = PEERINGS)]
    pub(crate) max_dials: u16,
    /// Longest pause between two dials of a static peer that does not answer.
    ///
    /// The pause starts at 2 s and doubles with each failure up to this limit.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds,
          help_heading = PEERINGS)]
    pub(crate) max_backoff: Duration,
    /// Longest TCP segment, for paths that drop longer packets without a notice.
    ///
    /// Use the longest IP packet that gets through, minus 40 bytes for IPv4 or 60 for IPv6.
    /// [default: what the network interface allows]
    #[arg(long, value_name = "BYTES", value_parser = whole::<u32>(88, 32_767),
          help_heading = PEERINGS)]
    pub(crate) mss: Option<u32>,
    #[command(flatten)]
    pub(crate) key: KeyOptions,
    /// Number of worker threads, which forward frames. [default: one for each core in
    /// --worker-cores, else 1]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1, 250), help_heading = THREADS)]
    pub(crate) workers: Option<u16>,
    /// Cores to pin the worker threads to, one each, as in `1,2,4-7`. [default: not pinned]
    #[arg(long, value_name = "LIST", help_heading = THREADS)]
    pub(crate) worker_cores: Option<CoreList>,
    /// Core to pin the control thread to. [default: not pinned]
    #[arg(long, value_name = "CORE", value_parser = whole::<usize>(0, u64::MAX),
          help_heading = THREADS)]
    pub(crate) control_core: Option<usize>,
    /// Number of threads that verify the signatures of protocol frames. With 0, the control thread
    /// does it.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u16>(0, 64),
          help_heading = THREADS)]
    pub(crate) verify_threads: u16,
    /// Number of threads that relay peerings that are not plain TCP. They start when needed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u16>(1, 256),
          help_heading = THREADS)]
    pub(crate) transport_threads: u16,
    /// Relay plain TCP, too, for tests and to measure relays.
    #[arg(long, hide = true)]
    pub(crate) relay_tcp: bool,
    /// I/O engine of the workers: io_uring, epoll, or io_uring with epoll as the fallback.
    #[arg(long, value_name = "auto|uring|epoll", default_value_t = EngineChoice::Auto,
          help_heading = ENGINE)]
    pub(crate) engine: EngineChoice,
    /// Microseconds that an idle worker polls for frames before it sleeps.
    ///
    /// Lowers latency, but the worker uses up to a whole core. [default: sleep at once]
    #[arg(long, value_name = "USEC", value_parser = whole::<u64>(1, 60_000_000),
          help_heading = ENGINE)]
    pub(crate) busy_poll: Option<u64>,
    /// Core for a kernel thread that submits the workers' io_uring requests for them.
    ///
    /// The thread uses the whole core while there is traffic. [default: no such thread]
    #[arg(long, value_name = "CORE", value_parser = whole::<usize>(0, u64::MAX),
          help_heading = ENGINE)]
    pub(crate) sqpoll: Option<usize>,
    /// Send without copying to the kernel when at least this many queued bytes are sent in one call.
    ///
    /// Pays on fast network interfaces only; slower on loopback. [default: always copy]
    #[arg(long, value_name = "BYTES", value_parser = whole::<u32>(1, 524_288),
          help_heading = ENGINE)]
    pub(crate) zerocopy: Option<u32>,
    /// Longest time in microseconds that a worker waits to handle several small frames at once.
    ///
    /// It waits only while many small frames arrive from several peers. With 0, it never waits.
    #[arg(long, value_name = "USEC", default_value_t = 0, value_parser = whole::<u64>(0, 1000),
          help_heading = ENGINE)]
    pub(crate) batch_wait: u64,
    /// Decrement the hop limit of frames that are forwarded, and drop frames whose limit is used up.
    #[arg(long, value_name = "on|off", num_args = 0..=1, default_value = "off",
          default_missing_value = "on", help_heading = ROUTING)]
    pub(crate) hop_limiting: Switch,
    /// Send wakeup broadcasts for this node, as the deployed nodes do.
    #[arg(long, value_name = "on|off", num_args = 0..=1, default_value = "on",
          default_missing_value = "on", help_heading = ROUTING)]
    pub(crate) wakeup_broadcasts: Switch,
    /// Hop limit of this node's wakeup broadcasts. With 1, they reach its peers only.
    ///
    /// Routing does not depend on them. Deployed nodes use 5.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u8>(1, 5),
          help_heading = ROUTING)]
    pub(crate) wakeup_hops: u8,
    /// When a path changes, also correct the old one, and notify the sources of broken paths.
    ///
    /// The frames for this are sent only to peers that have this option, too.
    #[arg(long, value_name = "on|off", num_args = 0..=1, default_value = "on",
          default_missing_value = "on", help_heading = ROUTING)]
    pub(crate) correct_paths: Switch,
    /// KiB of traffic that may be queued for one peer.
    #[arg(long, value_name = "KIB", default_value_t = 4096, value_parser = whole::<usize>(1, u64::MAX),
          help_heading = QUEUES)]
    pub(crate) port_queue: usize,
    /// KiB of traffic that may be queued for all peers together.
    ///
    /// [default: an eighth of the memory of the cgroup or the system, and at most 262144]
    #[arg(long, value_name = "KIB", value_parser = whole::<usize>(1, u64::MAX),
          help_heading = QUEUES)]
    pub(crate) queue: Option<usize>,
    /// Milliseconds of queueing delay above which the oldest frames of a flow are dropped (CoDel).
    ///
    /// With `off`, frames are dropped only when a queue is full.
    #[arg(long, value_name = "MS|off", default_value = "100", help_heading = QUEUES)]
    pub(crate) queue_delay: QueueDelay,
    /// Limit on what the node stores, such as `max-routes=500000`. May be repeated.
    ///
    /// docs/operations.md lists all limits.
    #[arg(long, value_name = "NAME=NUMBER", value_parser = limits::parse, help_heading = QUEUES)]
    pub(crate) limit: Vec<(String, u64)>,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

/// Options of `pinecone ping`.
#[derive(Debug, Args)]
pub(crate) struct PingOptions {
    /// Public key of the node to ping.
    pub(crate) key: PublicKey,
    /// Stop after sending this many pings. [default: continue until interrupted]
    #[arg(short, value_name = "N", value_parser = whole::<u64>(1, u64::MAX))]
    pub(crate) count: Option<u64>,
    /// Bytes of filler in each ping, from 8 to 60000.
    #[arg(short, value_name = "BYTES", default_value_t = 56, value_parser = whole::<u32>(8, 60000))]
    pub(crate) size: u32,
    /// Seconds between two pings.
    #[arg(short, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: Duration,
    /// Seconds to wait for each answer and, with --connect, for a peering to come up.
    ///
    /// [default: 5 for an answer, 15 for a peering]
    #[arg(short = 'W', value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Print JSON: an object on a line for each ping, and one with the summary.
    #[arg(long)]
    pub(crate) json: bool,
    /// Ping from a temporary node with these static peers instead of the running node.
    #[arg(long, value_name = "LIST", conflicts_with = "path")]
    pub(crate) connect: Vec<String>,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

/// Options of a node that lives as long as the command.
#[derive(Debug, Args)]
pub(crate) struct MomentaryNode {
    /// Static peers to join the network through: `host:port`, separated by commas.
    #[arg(long, value_name = "LIST", required = true)]
    pub(crate) connect: Vec<String>,
    /// File that holds the secret key. [default: a new key]
    #[arg(long, value_name = "PATH")]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

/// Parses the command line. Returns `None` if it asked for help or the version, which are then
/// printed.
pub(crate) fn parse() -> Result<Option<Cli>, Failure> {
    let error = match Cli::try_parse() {
        Ok(cli) => return Ok(Some(cli)),
        Err(error) => error,
    };
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return match error.print() {
            Ok(()) => Ok(None),
            Err(error) => Err(Failure::runtime(error)),
        };
    }
    let text = error.to_string();
    let what = text.split("\n\nUsage:").next().unwrap_or(&text);
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let what = what
        .split("\n\nFor more information")
        .next()
        .unwrap_or(what);
    // Clap puts tips on lines of their own.
    let what = what.replace("\n\n  tip: ", "; ");
    let command = Cli::command();
    let subcommand = std::env::args().nth(1);
    let subcommand = subcommand.and_then(|name| command.find_subcommand(name));
    let help = match subcommand {
        Some(subcommand) => format!("pinecone {} --help", subcommand.get_name()),
        None => "pinecone --help".to_owned(),
    };
    Err(Failure::usage(format!("{what} (see {help})")))
}
