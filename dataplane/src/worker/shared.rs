//! State that the workers of a data plane share.

use std::sync::Arc;

use crossbeam::channel::Sender;
use pinecone_fib::Fib;

use crate::counters::WorkerCounters;
use crate::delivery::Delivery;
use crate::engine::{EngineKind, SharedPoller};
use crate::mailbox::Mailbox;
use crate::options::DataPlaneOptions;
use crate::port_map::PortMap;
use crate::registry::Registry;
use crate::report::{Budget, Report};

/// State that the workers of a data plane share.
pub(crate) struct Shared {
    pub(crate) options: DataPlaneOptions,
    pub(crate) engine: EngineKind,
    pub(crate) fib: Fib,
    pub(crate) delivery: Arc<dyn Delivery>,
    pub(crate) map: PortMap,
    /// The mailbox of each worker.
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    /// The counters of each worker.
    pub(crate) counters: Vec<WorkerCounters>,
    pub(crate) reports: Sender<Report>,
    pub(crate) pending: Arc<Budget>,
    pub(crate) registry: Registry,
    /// Used while workers are started.
    pub(crate) poller: SharedPoller,
}
