//! Driving a worker on a thread of its own.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use super::Worker;
use super::event_loop::Waiting;
use super::shared::Shared;
use crate::options::DataPlaneError;
use crate::pin::pin_to_core;

/// Starts a worker on a thread of its own, and waits until it is set up. Returns the thread, and a
/// description of the parts of the kernel in use.
///
/// # Errors
/// The worker cannot be set up.
pub(crate) fn start(
    worker: usize,
    shared: &Arc<Shared>,
) -> Result<(JoinHandle<()>, String), DataPlaneError> {
    let failed = |source| DataPlaneError::Start { worker, source };
    let shared = Arc::clone(shared);
    let (ready, started) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name(format!("worker-{worker}"))
        .spawn(move || {
            let core = shared.options.cores.get(worker).copied();
            match pin(worker, core).and_then(|()| Worker::new(worker, shared)) {
                Err(e) => drop(ready.send(Err(e))),
                Ok(made) => {
                    let _ = ready.send(Ok(made.features()));
                    run(made);
                }
            }
        })
        .map_err(failed)?;
    let ended = |_| failed(io::Error::other("thread ended at once"));
    let features = started.recv().map_err(ended)??;
    Ok((thread, features))
}

/// Runs a worker until it shuts down or fails.
fn run(mut worker: Worker) {
    let outcome = loop {
        match worker.iterate(Waiting::Block) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break Ok(()),
            Err(e) => break Err(e),
        }
    };
    worker.finish(outcome);
}

fn pin(worker: usize, core: Option<usize>) -> Result<(), DataPlaneError> {
    let Some(core) = core else { return Ok(()) };
    pin_to_core(core).map_err(|source| DataPlaneError::Pin {
        worker,
        core,
        source,
    })
}
