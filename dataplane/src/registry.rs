//! The registry of open ports.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::PortId;
use crate::counters::{CountersSnapshot, PortCounters};
use crate::report::WorkerError;

/// The open ports, and the worker of each.
#[derive(Default)]
pub(crate) struct Registry(Mutex<Ports>);

#[derive(Default)]
struct Ports {
    open: BTreeMap<PortId, Registered>,
    /// The workers that have failed, and the reasons.
    failed: BTreeMap<usize, WorkerError>,
}

pub(crate) struct Registered {
    pub(crate) worker: usize,
    pub(crate) counters: Arc<PortCounters>,
}

impl Registry {
    /// Adds a port to the worker that has the fewest. If several have, `hint` or the next one after it
    /// gets the port.
    pub(crate) fn add(
        &self,
        port: PortId,
        hint: usize,
        counters: &Arc<PortCounters>,
        workers: usize,
    ) -> Result<usize, WorkerError> {
        let mut ports = self.lock();
        let mut load = vec![0usize; workers];
        ports.open.values().for_each(|r| load[r.worker] += 1);
        let least = (0..workers)
            .map(|i| (hint + i) % workers)
            .filter(|worker| !ports.failed.contains_key(worker))
            .min_by_key(|&w| load[w]);
        let worker = match (least, ports.failed.values().next()) {
            (Some(worker), _) => worker,
            (None, Some(error)) => return Err(error.clone()),
            (None, None) => hint,
        };
        ports.open.insert(
            port,
            Registered {
                worker,
                counters: Arc::clone(counters),
            },
        );
        Ok(worker)
    }

    /// Removes a port that has closed.
    pub(crate) fn remove(&self, port: PortId) {
        self.lock().open.remove(&port);
    }

    /// Returns the worker of an open port.
    pub(crate) fn worker_of(&self, port: PortId) -> Option<usize> {
        self.lock().open.get(&port).map(|r| r.worker)
    }

    /// Returns the worker and the counters of an open port.
    pub(crate) fn get(&self, port: PortId) -> Option<(usize, Arc<PortCounters>)> {
        let ports = self.lock();
        let found = ports.open.get(&port)?;
        Some((found.worker, Arc::clone(&found.counters)))
    }

    /// Returns the number of frames of local origin that open ports have dropped.
    pub(crate) fn local_drops(&self) -> u64 {
        let ports = self.lock();
        ports
            .open
            .values()
            .map(|r| r.counters.local_drops.get())
            .sum()
    }

    /// The counters of an open port.
    pub(crate) fn counters_of(&self, port: PortId) -> Option<CountersSnapshot> {
        self.lock().open.get(&port).map(|r| r.counters.snapshot())
    }

    /// Takes all ports from a worker that has failed. It gets no further ones.
    pub(crate) fn fail(&self, worker: usize, error: WorkerError) -> BTreeMap<PortId, Registered> {
        let mut ports = self.lock();
        ports.failed.insert(worker, error);
        let (its, others) = std::mem::take(&mut ports.open)
            .into_iter()
            .partition(|(_, r)| r.worker == worker);
        ports.open = others;
        its
    }

    fn lock(&self) -> MutexGuard<'_, Ports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
