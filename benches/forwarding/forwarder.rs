//! The forwarders to compare: relays, the data plane with each engine, and a worker on tokio-uring.

mod account;
mod plane;
mod relay;
mod splice;
mod tables;
mod tokio_worker;

use std::fmt;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Result;
use pinecone_dataplane::{DataPlaneOptions, EngineChoice};

pub use account::{Account, Forwarder};
pub use plane::{Placement, Plane};
use relay::{Copying, Relay};
use splice::Splicing;
pub use tables::Tables;

/// Time for which a worker with busy polling spins without work, longer than the gap between frames.
const BUSY_POLL: Duration = Duration::from_millis(2);

/// Time for which a worker with batch waits may wait for more frames.
const BATCH_WAIT: Duration = Duration::from_micros(100);

/// The kind of forwarder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A relay that copies.
    Relay,
    /// A relay that splices.
    Splice,
    /// The data plane with the epoll engine.
    Epoll,
    /// The data plane with the io_uring engine.
    Uring,
    /// The io_uring engine with busy polling.
    UringBusy,
    /// The io_uring engine with batch waits.
    UringBatch,
    /// A worker on tokio-uring.
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

/// Starts a forwarder on the router's core, with the router's ends of the connections.
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
