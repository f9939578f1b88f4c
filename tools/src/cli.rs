//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use pinecone::{EngineChoice, PublicKey};

use crate::bench::BenchOptions;
use crate::cores::CoreList;
use crate::failure::Failure;
use crate::limits;
use crate::secret::KeyOptions;

/// A Pinecone node, and the tools to run and watch one.
///
/// Without a subcommand it runs a static peer, as `pinecone run` does.
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
    /// Make a secret key, and print it or write it to a file.
    Genkey {
        /// Write it to this new file, readable by you alone.
        #[arg(long, value_name = "PATH")]
        key_file: Option<PathBuf>,
    },
    /// Print the public key that belongs to a secret key, read from standard input if no flag
    /// says otherwise.
    Pubkey {
        /// The file that holds the secret key.
        #[arg(long, value_name = "PATH", conflicts_with = "secretkey")]
        key_file: Option<PathBuf>,
        /// The secret key itself.
        #[arg(long, value_name = "HEX")]
        secretkey: Option<String>,
    },
    /// What a running node says about itself.
    Status {
        #[command(flatten)]
        admin: AdminOptions,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// The peerings of a running node.
    Peers {
        #[command(flatten)]
        admin: AdminOptions,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Keys in full length.
        #[arg(long)]
        full: bool,
    },
    /// Close a peering of a running node. A static peer is dialled again.
    Disconnect {
        #[command(flatten)]
        admin: AdminOptions,
        /// The peering's port, as `pinecone peers` shows it.
        port: u32,
    },
    /// Ask a node for an answer and print the round-trip time.
    Ping(PingOptions),
    /// Send standard input to `pinecone recv` at another node.
    ///
    /// Runs as a node of its own for the moment, also where another node runs on this machine. The
    /// bytes are neither encrypted nor authenticated: it is for trying things.
    Send {
        /// The key of the receiver.
        key: PublicKey,
        #[command(flatten)]
        node: MomentaryNode,
        /// Bytes of payload in each frame.
        #[arg(short, long, value_name = "BYTES", default_value_t = 16384,
              value_parser = clap::value_parser!(u32).range(64..=60000))]
        size: u32,
    },
    /// Write to standard output what `pinecone send` sends from another node.
    ///
    /// Runs as a node of its own for the moment. Ends with the first stream. Anyone may send: it
    /// is for trying things.
    Recv {
        #[command(flatten)]
        node: MomentaryNode,
        /// Go on with the next stream when one has ended.
        #[arg(long)]
        keep: bool,
    },
    /// Measure what a running node forwards, of whatever make: frames a second, loss, order,
    /// latency, and its CPU time if it is on this machine.
    ///
    /// Joins it as peers of our own for the moment, and loads it as asked: by default with all it
    /// can take.
    Bench(BenchOptions),
}

/// Options of `pinecone run`.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// TCP address to listen on; `:65432` means all addresses of the machine, a name all of its
    /// addresses. May be given several times.
    #[arg(long, value_name = "ADDR", default_value = ":65432")]
    pub(crate) listen: Vec<String>,
    /// Wait for addresses to listen on that this machine does not have yet, instead of failing.
    #[arg(long)]
    pub(crate) listen_retry: bool,
    /// Static peers, `host:port`, separated by commas. A name need not resolve at the start.
    #[arg(long, value_name = "LIST")]
    pub(crate) connect: Vec<String>,
    /// Dials that may run at a time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_dials: u16,
    /// Seconds that may pass until a static peer that cannot be connected is dialled again.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub(crate) max_backoff: Duration,
    #[command(flatten)]
    pub(crate) key: KeyOptions,
    /// Threads that move frames. [default: as many as --worker-cores names, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=250))]
    pub(crate) workers: Option<u16>,
    /// Cores to pin them to, such as `1,2,4-7`.
    #[arg(long, value_name = "LIST")]
    pub(crate) worker_cores: Option<CoreList>,
    /// Core to pin the control thread to.
    #[arg(long, value_name = "N")]
    pub(crate) control_core: Option<usize>,
    /// Threads that check the signatures of protocol frames; without any, the control thread does.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=64))]
    pub(crate) verify_threads: u16,
    /// What moves frames: io_uring, epoll, or io_uring if it can be set up and else epoll.
    #[arg(long, value_name = "auto|uring|epoll", default_value_t = EngineChoice::Auto)]
    pub(crate) engine: EngineChoice,
    /// Microseconds that a worker goes on looking for something to do before it sleeps: lower
    /// latency, at the price of its core. [default: it sleeps at once]
    #[arg(long, value_name = "USEC", value_parser = clap::value_parser!(u64).range(1..=60_000_000))]
    pub(crate) busy_poll: Option<u64>,
    /// Core for a kernel thread that takes the workers' io_uring requests, so that they need not
    /// enter the kernel; it takes all of that core while there is traffic.
    #[arg(long, value_name = "CORE")]
    pub(crate) sqpoll: Option<usize>,
    /// Do not copy to the kernel what has waited for a peer when it is sent by so many bytes and
    /// more. Pays on real network interfaces only.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=524_288))]
    pub(crate) zerocopy: Option<u32>,
    /// Microseconds that a worker may wait for several small frames together when many come; 0 is
    /// never.
    #[arg(long, value_name = "USEC", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub(crate) batch_wait: u64,
    /// Lower the hop limit of frames that are passed on, and drop those that have used it up.
    #[arg(long, value_name = "on|off", num_args = 0..=1, require_equals = true,
          default_value = "off", default_missing_value = "on")]
    pub(crate) hop_limiting: Switch,
    /// Send wakeup broadcasts of our own, as the deployed nodes do.
    #[arg(long, value_name = "on|off", num_args = 0..=1, require_equals = true,
          default_value = "on", default_missing_value = "on")]
    pub(crate) wakeup_broadcasts: Switch,
    /// Hop limit of our own wakeup broadcasts: at 1 they reach our peers alone. Nothing in routing
    /// reads them. Deployed nodes: 5.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) wakeup_hops: u8,
    /// Lead what is left of old paths the new way when a path changes, and tell those whose paths are
    /// broken. Only peers that offer the same get these frames.
    #[arg(long, value_name = "on|off", num_args = 0..=1, require_equals = true,
          default_value = "on", default_missing_value = "on")]
    pub(crate) correct_paths: Switch,
    /// KiB of traffic that may wait for one peer that does not take it.
    #[arg(long, value_name = "KIB", default_value_t = 4096)]
    pub(crate) port_queue: usize,
    /// KiB of traffic that may wait for all peers together. [default: an eighth of the memory, that
    /// of the cgroup or of the system, and at most 262144]
    #[arg(long, value_name = "KIB")]
    pub(crate) queue: Option<usize>,
    /// Milliseconds that a flow's traffic may keep waiting before its oldest frames are dropped
    /// (CoDel); `off`: until the queue is full.
    #[arg(long, value_name = "MS|off", default_value = "100")]
    pub(crate) queue_delay: QueueDelay,
    /// Longest TCP segment in bytes, for paths that swallow longer packets without telling: 40 less
    /// than the longest IPv4 packet that gets through, 60 for IPv6. [default: what interfaces allow]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(88..=32_767))]
    pub(crate) mss: Option<u32>,
    /// A bound on what the node remembers or keeps waiting, such as `max-routes=500000`; see docs/operations.md for all. May
    /// be given several times.
    #[arg(long, value_name = "NAME=NUMBER", value_parser = limits::parse)]
    pub(crate) limit: Vec<(String, u64)>,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

/// Options of `pinecone ping`.
#[derive(Debug, Args)]
pub(crate) struct PingOptions {
    /// The key to ask.
    pub(crate) key: PublicKey,
    /// Stop after so many. [default: never]
    #[arg(short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Bytes of filler in each.
    #[arg(short, value_name = "BYTES", default_value_t = 56,
          value_parser = clap::value_parser!(u32).range(8..=60000))]
    pub(crate) size: u32,
    /// Seconds from one to the next.
    #[arg(short, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: Duration,
    /// Seconds to wait for each answer.
    #[arg(short = 'W', value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// One JSON object a line: each ping when it is over, and a summary.
    #[arg(long)]
    pub(crate) json: bool,
    /// Ask as a node of our own with these static peers, not from the running node. The first ping
    /// waits until one of them is connected, for 15 s at the most.
    #[arg(long, value_name = "LIST", conflicts_with = "path")]
    pub(crate) connect: Vec<String>,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

/// A node that lives as long as the command.
#[derive(Debug, Args)]
pub(crate) struct MomentaryNode {
    /// The static peers to join the network by, `host:port`, separated by commas.
    #[arg(long, value_name = "LIST", required = true)]
    pub(crate) connect: Vec<String>,
    /// The secret key. Without it, a key is made for the occasion.
    #[arg(long, value_name = "PATH")]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

/// Where the running node is asked.
#[derive(Debug, Args)]
pub(crate) struct AdminOptions {
    /// Unix socket of the running node. [default: pinecone.sock in $XDG_RUNTIME_DIR, else admin.sock
    /// beside the default key file]
    #[arg(id = "path", long = "admin", value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
}

/// What is logged to standard error.
#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// What to log: error, warn, info, debug, trace, or a filter as in RUST_LOG, which is used
    /// without this flag.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
}

/// A target delay in milliseconds, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueDelay(pub(crate) Option<u64>);

impl FromStr for QueueDelay {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        let delay = text.parse().ok().filter(|ms| (1..=60_000).contains(ms));
        let delay = delay.ok_or("milliseconds from 1 to 60000 or `off` are wanted")?;
        Ok(Self(Some(delay)))
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Switch {
    pub(crate) fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Reads the command line. Nothing if only help or the version was asked for, and printed.
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
    // Its tips stand on lines of their own.
    let what = what.replace("\n\n  tip: ", "; ");
    Err(Failure::usage(format!("{what} (see pinecone --help)")))
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.001..=86400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "seconds from 0.001 to 86400 are wanted".to_owned())
}
