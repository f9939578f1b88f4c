//! Starts the parts of a node in the order in which they need each other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, unbounded};
use pinecone_controlplane::ControlPlane;
use pinecone_dataplane::DataPlane;
use pinecone_fib::FibWriter;
use pinecone_transports::{Listen, PeerAddress, parse_static_peers};
use pinecone_wire::timing::BROADCAST_INTERVAL;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::{broadcast, mpsc, watch};

use crate::clock::Clock;
use crate::command::Command;
use crate::control::{Control, RuntimeThread};
use crate::local::Local;
use crate::node::Inner;
use crate::pin::pin_to;
use crate::runtime::{self, Ready};
use crate::verifiers::Verifiers;
use crate::{ControlConfig, NodeError, NodeOptions, StartError, event, generate_key};

/// Starts a node; on an error everything that ran already has ended when this returns.
pub(crate) fn start(mut options: NodeOptions) -> Result<Inner, StartError> {
    options.check()?;
    let no_random_numbers = |source| system("get random numbers", source);
    let key = match options.secret_key.take() {
        Some(key) => key,
        None => generate_key().map_err(no_random_numbers)?,
    };
    let own = key.public_key();
    // First what is most likely to fail, and leaves nothing behind.
    let static_peers = read_static_peers(&options.static_peers)?;
    let bind = match options.listen_retry {
        true => Listen::when_possible,
        false => Listen::now,
    };
    let listen = (options.listen.iter())
        .map(|address| bind(address))
        .collect::<Result<Vec<_>, _>>()?;
    let first_nonce = SysRng.try_next_u64();
    let first_nonce = first_nonce.map_err(|e| no_random_numbers(std::io::Error::other(e)))?;

    let wakeup_phase = SysRng.try_next_u64();
    let wakeup_phase = wakeup_phase.map_err(|e| no_random_numbers(std::io::Error::other(e)))?;
    let wakeup_phase = Duration::from_millis(wakeup_phase % BROADCAST_INTERVAL.as_millis() as u64);

    let clock = Clock::new();
    let (fib_writer, fib) = FibWriter::new(own);
    let inbox = options.receive_queue;
    let max_coordinates = options.control.max_cached_coordinates;
    let reader = fib.reader();
    let (local, inbox) = Local::new(own, clock, reader, inbox, max_coordinates, first_nonce);
    let local = Arc::new(local);
    let max_ports = options.dataplane.max_ports;
    let (dataplane, reports) = DataPlane::start(options.dataplane.clone(), fib, local.clone())?;
    let dataplane = Arc::new(dataplane);
    local.attach(Arc::downgrade(&dataplane));
    if let Some(filter) = options.packet_filter.take() {
        dataplane.set_filter(Some(filter));
    }

    let (control, commands) = unbounded();
    let (runtime, requests) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let failure = Arc::new(OnceLock::new());
    let setup = runtime::Setup {
        key: key.clone(),
        core: options.runtime_core,
        limits: options.transport_limits.clone(),
        extensions: options.control.extensions(),
        listen,
        static_peers,
        dial_schedule: options.dial_schedule.clone(),
        control: control.clone(),
        requests,
        stop: stopped,
    };
    let started = start_runtime(setup, stop).and_then(|(runtime_thread, ready)| {
        let listeners = ready.listeners.clone();
        let (events, _) = broadcast::channel(event::BACKLOG);
        let weak_events = events.downgrade();
        let config = options.control.clone();
        let config = ControlConfig {
            // A peering without a descriptor to be had for it is better refused at once.
            max_peers: config.max_peers.min(max_ports),
            wakeup_phase: config.wakeup_phase.or(Some(wakeup_phase)),
            ..config
        };
        // Before the control thread, whose core they shall not inherit.
        let verifiers = Verifiers::start(options.verify_threads)
            .map_err(|source| system("start the verifier threads", source))?;
        let control = Control {
            verifiers,
            control: ControlPlane::new(config, key, fib_writer),
            dataplane: Arc::clone(&dataplane),
            reports,
            commands,
            commands_to_self: control.clone(),
            local: Arc::clone(&local),
            events,
            clock,
            bandwidth_interval: options.bandwidth_interval,
            own,
            listeners: ready.listeners,
            transports: ready.transports,
            static_peers: ready.static_peers,
            runtime: runtime_thread,
            failure: Arc::clone(&failure),
        };
        let thread = start_control(control, options.control_core)?;
        Ok((thread, weak_events, listeners))
    });
    let ((control_thread, ended, ended_blocking), events, listeners) =
        started.inspect_err(|_| dataplane.shutdown())?;

    let info = dataplane.info();
    tracing::info!(
        // A target of its own: a program that prints the same elsewhere can leave it out.
        target: "pinecone::started",
        key = %own,
        listen = ?listeners.local_addrs(),
        engine = info.name,
        engine_reason = info.description,
        workers = options.dataplane.workers,
        queue_bytes = options.dataplane.queue_bytes,
        verify_threads = options.verify_threads,
        worker_cores = ?info.cores,
        "node started"
    );
    Ok(Inner {
        own,
        listeners,
        local,
        dataplane: Arc::downgrade(&dataplane),
        control,
        runtime,
        inbox: tokio::sync::Mutex::new(inbox),
        events,
        ended,
        ended_blocking,
        failure,
        control_thread: Mutex::new(Some(control_thread)),
    })
}

type ControlThread = (JoinHandle<()>, watch::Receiver<()>, Receiver<()>);

fn start_control(control: Control, core: Option<usize>) -> Result<ControlThread, StartError> {
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let (end, ended) = watch::channel(());
    let (end_blocking, ended_blocking) = crossbeam::channel::bounded(0);
    let thread = spawn("pinecone-control", move || {
        let pinned = pin_to("control", core);
        let failed = pinned.is_err();
        // Whoever starts the node waits until it hears.
        let _ = ready.send(pinned);
        if failed {
            control.abandon();
        } else {
            let failure = Arc::clone(&control.failure);
            // All else of the node ends with what it held.
            if catch_unwind(AssertUnwindSafe(|| control.run())).is_err() {
                let _ = failure.set(NodeError::Panicked { thread: "control" });
            }
        }
        // Lost when all else of the node is.
        drop((end, end_blocking));
    })?;
    match started.recv() {
        Ok(Ok(())) => Ok((thread, ended, ended_blocking)),
        failed => {
            let _ = thread.join();
            Err(thread_failed("control", failed))
        }
    }
}

fn start_runtime(
    setup: runtime::Setup,
    stop: watch::Sender<bool>,
) -> Result<(RuntimeThread, Ready), StartError> {
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let control = setup.control.clone();
    let thread = spawn("pinecone-runtime", move || {
        if catch_unwind(AssertUnwindSafe(|| runtime::run(setup, ready))).is_err() {
            // Fails if the node is closed already.
            let _ = control.send(Command::Fail(NodeError::Panicked { thread: "runtime" }));
        }
    })?;
    match started.recv() {
        Ok(Ok(ready)) => Ok((RuntimeThread { stop, thread }, ready)),
        failed => {
            let _ = thread.join();
            Err(thread_failed("runtime", failed))
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| system(&format!("start the thread {name}"), source))
}

fn thread_failed<T>(
    thread: &str,
    failed: Result<Result<T, StartError>, std::sync::mpsc::RecvError>,
) -> StartError {
    match failed {
        Ok(Err(error)) => error,
        _ => system(
            &format!("start the {thread} thread"),
            std::io::Error::other("it ended at once"),
        ),
    }
}

fn read_static_peers(lists: &[String]) -> Result<Vec<PeerAddress>, StartError> {
    let mut peers: Vec<PeerAddress> = Vec::new();
    for list in lists {
        let more = parse_static_peers(list)?;
        let new: Vec<_> = more.into_iter().filter(|p| !peers.contains(p)).collect();
        peers.extend(new);
    }
    Ok(peers)
}

fn system(what: &str, source: std::io::Error) -> StartError {
    StartError::System {
        what: what.to_owned(),
        source,
    }
}
