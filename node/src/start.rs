//! The start of a node: its parts are started in the order of their dependencies.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::unbounded;
use pinecone_controlplane::ControlPlane;
use pinecone_dataplane::{DataPlane, EngineInfo};
use pinecone_fib::{Fib, FibWriter};
use pinecone_transports::tls::{Tls, TlsOptions};
use pinecone_transports::{Listen, PeerUri, TransportOptions, parse_static_peers};
use pinecone_wire::timing::BROADCAST_INTERVAL;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::command::CommandSender;
use crate::control::{Control, Parts};
use crate::event::{EventSender, Subscribers};
use crate::host::{self, Host};
use crate::hosted::{End, HostedNode};
use crate::local::Local;
use crate::node::Inner;
use crate::pin::pin_to;
use crate::runtime::{self, NodeTransports, RuntimeThread};
use crate::shard::{Seat, Shard};
use crate::verifiers::Verifiers;
use crate::{ControlConfig, DataPlaneOptions, NodeOptions, PacketFilter, StartError, generate_key};

/// Starts a node. On an error, all parts that had been started have ended when this returns.
pub(crate) fn start(
    mut options: NodeOptions,
    subscribers: Arc<Subscribers>,
    host: Option<&Host>,
) -> Result<Inner, StartError> {
    options.check()?;
    if host.is_some() {
        host::check(&options)?;
    }
    let key = match options.secret_key.take() {
        Some(key) => key,
        None => generate_key().map_err(no_random_numbers)?,
    };
    let own = key.public_key();
    let tls = match options.tls == TlsOptions::default() {
        true => None,
        false => Some(Tls::new(&key, std::mem::take(&mut options.tls))?),
    };
    // The steps that are most likely to fail come first, as they leave nothing to clean up.
    let static_peers = read_static_peers(&options.static_peers)?;
    let bind = match options.listen_retry {
        true => Listen::when_possible,
        false => Listen::now,
    };
    let listen = (options.listen.iter())
        .map(|address| bind(address))
        .collect::<Result<Vec<_>, _>>()?;
    for listen in &listen {
        listen.check_certificate(tls.as_ref().is_some_and(Tls::has_certificate_files))?;
    }
    let first_nonce = random()?;
    let wakeup_phase = random()? % BROADCAST_INTERVAL.as_millis() as u64;
    let wakeup_phase = Duration::from_millis(wakeup_phase);

    let clock = Clock::new();
    let (fib_writer, fib) = FibWriter::new(own);
    let inbox = options.receive_queue;
    let max_coordinates = options.control.max_cached_coordinates;
    let reader = fib.reader();
    let (local, inbox) = Local::new(
        own,
        clock,
        reader,
        inbox,
        options.receive_for,
        max_coordinates,
        first_nonce,
    );
    let local = Arc::new(local);

    let (sender, commands) = unbounded();
    let seat = host.map(Host::seat);
    let waker = seat.as_ref().map(|(_, seat)| seat.waker());
    let sender = CommandSender::new(sender, waker);
    let (requests, receiver) = mpsc::unbounded_channel();
    let setup = runtime::Setup {
        key: key.clone(),
        options: TransportOptions {
            limits: options.transport_limits.clone(),
            extensions: options.control.extensions(),
            relay_tcp: options.relay_tcp,
            tls: tls.clone(),
            upgrade_paths: options.upgrade_paths.clone(),
            trusted_proxies: options.trusted_proxies.clone(),
            ..TransportOptions::default()
        },
        listen,
        static_peers,
        dial_schedule: options.dial_schedule.clone(),
        control: sender.clone(),
        requests: receiver,
    };
    // These start before the control thread, whose core they must not inherit.
    let verifiers = Verifiers::start(options.verify_threads)
        .map_err(|source| system("start the verifier threads", source))?;
    let transports = match host {
        Some(host) => host.runtime().serve(setup),
        None => start_transports(setup, options.runtime_core, options.transport_threads),
    };
    let transports = match transports {
        Ok(transports) => transports,
        Err(error) => {
            verifiers.end();
            return Err(error);
        }
    };
    let listeners = transports.listeners.clone();
    let failure = Arc::new(OnceLock::new());
    let config = ControlConfig {
        // A peering for which there is no descriptor is refused at once.
        max_peers: options.control.max_peers.min(options.dataplane.max_ports),
        wakeup_phase: options.control.wakeup_phase.or(Some(wakeup_phase)),
        ..options.control.clone()
    };
    let parts = Parts {
        control: ControlPlane::new(config, key, fib_writer),
        verifiers,
        commands,
        sender: sender.clone(),
        local: Arc::clone(&local),
        events: EventSender::new(Arc::clone(&subscribers)),
        clock,
        bandwidth_interval: options.bandwidth_interval,
        own,
        transports,
        verified: host.map(Host::verified),
        failure: Arc::clone(&failure),
    };

    let forwarding = Forwarding {
        options: options.dataplane.clone(),
        fib,
        local: Arc::clone(&local),
        filter: options.packet_filter.take(),
    };
    let (end, ended, ended_blocking) = End::new();
    let running = match seat {
        Some((shard, seat)) => start_hosted(shard, seat, parts, forwarding, end)?,
        None => start_alone(parts, forwarding, options.control_core, end)?,
    };

    let info = &running.engine;
    tracing::info!(
        // The line has a target of its own, so that a program that prints the same elsewhere can suppress it.
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
        tls,
        dataplane: running.dataplane,
        control: sender,
        runtime: requests,
        inbox: Mutex::new(inbox),
        subscribers,
        ended,
        ended_blocking,
        failure,
        control_thread: Mutex::new(running.control_thread),
    })
}

/// Starts the transports of a node on a thread of their own.
fn start_transports(
    setup: runtime::Setup,
    core: Option<usize>,
    relay_threads: usize,
) -> Result<NodeTransports, StartError> {
    let thread = RuntimeThread::start(core, relay_threads)?;
    match thread.serve(setup) {
        Ok(transports) => Ok(transports.with_thread(thread)),
        Err(error) => {
            thread.join();
            Err(error)
        }
    }
}

/// The parts that a data plane starts from.
struct Forwarding {
    options: DataPlaneOptions,
    fib: Fib,
    local: Arc<Local>,
    filter: Option<Arc<dyn PacketFilter>>,
}

/// A node whose data plane and control run.
struct Running {
    dataplane: Weak<DataPlane>,
    engine: EngineInfo,
    /// The thread of the control, if the node does not share one.
    control_thread: Option<JoinHandle<()>>,
}

/// Connects a data plane that has just started with the parts that send through it.
fn connect(
    dataplane: DataPlane,
    local: &Local,
    filter: Option<Arc<dyn PacketFilter>>,
) -> Arc<DataPlane> {
    let dataplane = Arc::new(dataplane);
    local.attach(Arc::downgrade(&dataplane));
    if filter.is_some() {
        dataplane.set_filter(filter);
    }
    dataplane
}

/// Starts the data plane and the control of a node on threads of their own.
fn start_alone(
    parts: Parts,
    forwarding: Forwarding,
    core: Option<usize>,
    end: End,
) -> Result<Running, StartError> {
    let Forwarding {
        options,
        fib,
        local,
        filter,
    } = forwarding;
    let (dataplane, reports) = match DataPlane::start(options, fib, local.clone()) {
        Ok(started) => started,
        Err(error) => {
            parts.end();
            return Err(error.into());
        }
    };
    let dataplane = connect(dataplane, &local, filter);
    let weak = Arc::downgrade(&dataplane);
    let engine = dataplane.info().clone();
    let thread = start_control(Control::new(parts, dataplane, reports), core, end)?;
    Ok(Running {
        dataplane: weak,
        engine,
        control_thread: Some(thread),
    })
}

/// Starts the data plane and the control of a node on a thread that it shares.
fn start_hosted(
    shard: &Shard,
    seat: Seat,
    parts: Parts,
    forwarding: Forwarding,
    end: End,
) -> Result<Running, StartError> {
    let (reply, started) = std::sync::mpsc::sync_channel(1);
    let make = move || {
        let Forwarding {
            options,
            fib,
            local,
            filter,
        } = forwarding;
        match DataPlane::driven(options, fib, local.clone()) {
            Ok((dataplane, reports, worker)) => {
                let dataplane = connect(dataplane, &local, filter);
                let running = Running {
                    dataplane: Arc::downgrade(&dataplane),
                    engine: dataplane.info().clone(),
                    control_thread: None,
                };
                // The starting thread waits for this.
                let _ = reply.send(Ok(running));
                let control = Control::new(parts, dataplane, reports);
                Some(HostedNode::new(control, worker, end))
            }
            Err(error) => {
                let _ = reply.send(Err((Box::new(parts), error)));
                None
            }
        }
    };
    shard.add(seat, Box::new(make));
    match started.recv() {
        Ok(Ok(running)) => Ok(running),
        Ok(Err((parts, error))) => {
            // Ended here, as this waits and the shared thread must not.
            parts.end();
            Err(error.into())
        }
        Err(_) => {
            let source = std::io::Error::other("its thread panicked");
            Err(system("start the node", source))
        }
    }
}

fn start_control(
    control: Control,
    core: Option<usize>,
    end: End,
) -> Result<JoinHandle<()>, StartError> {
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let run = move || {
        // The starting thread waits for the answer.
        match pin_to("control", core) {
            Ok(()) => {
                let _ = ready.send(Ok(()));
                run_control(control);
            }
            Err(error) => {
                control.abandon();
                let _ = ready.send(Err(error));
            }
        }
        // Dropped last, when all other parts of the node have ended.
        drop(end);
    };
    let thread = std::thread::Builder::new()
        .name("pinecone-control".to_owned())
        .spawn(run)
        .map_err(|source| system("start the control thread", source))?;
    let ended_at_once = |_| {
        let source = std::io::Error::other("it ended at once");
        Err(system("start the control thread", source))
    };
    match started.recv().unwrap_or_else(ended_at_once) {
        Ok(()) => Ok(thread),
        Err(error) => {
            let _ = thread.join();
            Err(error)
        }
    }
}

/// Runs a node's control to its end. After a panic, the other parts of the node end as the control's handles are
/// dropped.
fn run_control(mut control: Control) {
    let ended = match catch_unwind(AssertUnwindSafe(|| control.run())) {
        Ok(()) => catch_unwind(AssertUnwindSafe(|| control.finish())),
        Err(_) => catch_unwind(AssertUnwindSafe(|| control.end_after_panic())),
    };
    if ended.is_err() {
        tracing::error!("the control thread panicked when it ended");
    }
}

fn read_static_peers(lists: &[String]) -> Result<Vec<PeerUri>, StartError> {
    let mut peers: Vec<PeerUri> = Vec::new();
    for list in lists {
        let more = parse_static_peers(list)?;
        let new: Vec<_> = more.into_iter().filter(|p| !peers.contains(p)).collect();
        peers.extend(new);
    }
    Ok(peers)
}

fn random() -> Result<u64, StartError> {
    let number = SysRng.try_next_u64();
    number.map_err(|error| no_random_numbers(std::io::Error::other(error)))
}

fn no_random_numbers(source: std::io::Error) -> StartError {
    system("get random numbers", source)
}

fn system(what: &str, source: std::io::Error) -> StartError {
    StartError::System {
        what: what.to_owned(),
        source,
    }
}
