//! What stands between generator and sink: the relay, our data plane with either engine, and a
//! worker made with tokio-uring.

mod plane;
mod relay;
mod splice;
mod tokio_worker;

use std::fmt;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use pinecone_dataplane::{DataPlaneOptions, EngineChoice, PortId};
use pinecone_fib::{Fib, FibWriter};
use pinecone_wire::PublicKey;

use crate::traffic::{Fill, route_key, route_sequence};

pub use plane::{Placement, Plane};
use relay::{Copying, Relay};
use splice::Splicing;

/// How long a worker that polls goes on without finding anything: longer than frames are apart.
const BUSY_POLL: Duration = Duration::from_millis(2);

/// How long a worker that gathers may wait for more.
const BATCH_WAIT: Duration = Duration::from_micros(100);

/// A row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Relay,
    /// A relay that splices.
    Splice,
    Epoll,
    Uring,
    /// The io_uring engine, which looks for work for a while before it sleeps.
    UringBusy,
    /// The io_uring engine, which may wait for several small frames together.
    UringBatch,
    TokioUring,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Relay => "relay",
            Self::Splice => "relay that splices",
            Self::Epoll => "epoll engine",
            Self::Uring => "io_uring engine",
            Self::UringBusy => "io_uring engine, --busy-poll",
            Self::UringBatch => "io_uring engine, --batch-wait",
            Self::TokioUring => "tokio-uring",
        })
    }
}

/// Moves frames, or bytes, from the first half of its connections to the second.
pub trait Forwarder: Sync {
    /// The threads whose CPU time counts.
    fn threads(&self) -> &[u32];
    /// What became of the frames so far; a relay does not know.
    fn account(&self) -> Option<Account>;
    /// Whether frames go where their destination says.
    fn routes(&self) -> bool {
        true
    }
}

/// What a router says about the frames it has seen.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub received: u64,
    pub forwarded: u64,
    pub forwarded_bytes: u64,
    pub delivered: u64,
    pub dropped: u64,
    /// The drops by reason.
    pub reasons: String,
    pub waiting: u64,
}

impl Account {
    /// Whether it is whole: each frame that was sent is received, and forwarded, delivered or
    /// dropped.
    pub fn balance(&self, sent: u64) -> Result<()> {
        ensure!(
            self.received == sent,
            "{sent} frames were sent to the router, which counted {}",
            self.received
        );
        ensure!(
            self.received == self.forwarded + self.delivered + self.dropped && self.waiting == 0,
            "the router's counters do not add up: {self:?}"
        );
        Ok(())
    }
}

/// Forwarding tables for so many peers on either side.
pub struct Tables {
    _writer: FibWriter,
    pub fib: Fib,
}

impl Tables {
    /// Route r leads to way out `r % peers`.
    pub fn new(peers: usize, routes: usize, fill: Fill) -> Self {
        let (mut writer, fib) = FibWriter::new(PublicKey([0x55; 32]));
        for route in 0..routes {
            let port = PortId((peers + 1 + route % peers) as u32);
            writer.set_route(route_key(route), port, route_sequence(route, fill));
        }
        writer.publish();
        Self {
            _writer: writer,
            fib,
        }
    }
}

/// Starts a row's forwarder on its core, with the near ends of the connections.
pub fn start(kind: Kind, ends: Vec<TcpStream>, tables: &Tables) -> Result<Box<dyn Forwarder>> {
    let mut options = DataPlaneOptions::default();
    options.engine = match kind {
        Kind::Relay => return Ok(Box::new(Relay::start::<Copying>(ends))),
        Kind::Splice => return Ok(Box::new(Relay::start::<Splicing>(ends))),
        Kind::TokioUring => {
            let fib = tables.fib.clone();
            return Ok(Box::new(tokio_worker::TokioWorker::start(ends, fib)));
        }
        Kind::Epoll => EngineChoice::Epoll,
        Kind::Uring => EngineChoice::Uring,
        Kind::UringBusy => {
            options.busy_poll = Some(BUSY_POLL);
            EngineChoice::Uring
        }
        Kind::UringBatch => {
            options.batch_wait = BATCH_WAIT;
            EngineChoice::Uring
        }
    };
    let plane = Plane::start(options, ends, tables, Placement::One)?;
    Ok(Box::new(plane))
}
