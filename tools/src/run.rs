//! `pinecone run`: runs a node until a signal stops it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use pinecone::{
    Builder, ControlConfig, DataPlaneOptions, DialSchedule, EngineChoice, Limits, MemoryLimit,
    NodeOptions, ReceiveQueue, Status, TlsOptions, TrustedProxies,
};

use pinecone_transports::tls::Tls;

use crate::admin::socket::AdminSocket;
use crate::cli::RunOptions;
use crate::failure::Failure;
use crate::secret::{self, NodeKey};
use crate::signals::{OtherSignals, Signals};
use crate::{addresses, cores, files, limits, memory, output, start_failure};

/// The target of the log line that repeats the banner.
const STARTED: &str = "pinecone::started";
/// Time limit for closing the peerings after a signal.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Runs the node. Returns when SIGTERM or SIGINT has arrived and all peerings are closed.
pub(crate) async fn run(options: RunOptions) -> Result<(), Failure> {
    let banner_is_enough = output::is_also_stderr().then_some(STARTED);
    options.log.start_without("info", banner_is_enough)?;
    let mut other_signals = OtherSignals::new()?;
    let (workers, worker_cores) = workers(&options)?;
    check_engine(&options, &worker_cores)?;
    let listen = addresses::listen(options.listen.clone(), &options.listen_ws)?;
    addresses::static_peers(&options.connect)?;
    let trusted_proxies = trusted_proxies(&options.trust_forwarded_for)?;
    let tls = TlsOptions {
        certificate: options.tls_cert.clone(),
        key: options.tls_key.clone(),
        authorities: options.tls_ca.clone(),
    };
    let has_tls_files = tls != TlsOptions::default();
    options.key.check()?;
    // The key does not exist yet. Any other does for the check.
    Tls::new(&secret::generate()?, tls.clone()).map_err(Failure::usage)?;
    let files = files::raise();
    let mut signals = Signals::new()?;
    // A key file is created only after this has succeeded, so that a failed start leaves nothing
    // behind.
    let admin = match options.admin.socket_path() {
        Some(path) => Some(AdminSocket::bind(&path)?),
        None => {
            tracing::warn!("no admin socket, as there is no home directory: name one with --admin");
            None
        }
    };
    let NodeKey { key, lock: _lock } = options.key.node_key()?;

    let memory = MemoryLimit::read();
    let given = options.queue.is_some();
    let queue = options.queue.map_or_else(
        || MemoryLimit::default_queue_bytes(memory),
        |kib| kib.saturating_mul(1024),
    );
    memory::warn(&options, queue, memory);
    let default = NodeOptions::default();
    let mut node_options = NodeOptions {
        secret_key: Some(key),
        listen,
        listen_retry: options.listen_retry,
        static_peers: options.connect,
        dial_schedule: DialSchedule {
            longest_wait: options.max_backoff,
            ..default.dial_schedule
        },
        transport_limits: Limits {
            max_dials: usize::from(options.max_dials),
            max_segment: options.mss,
            ..default.transport_limits
        },
        dataplane: DataPlaneOptions {
            workers,
            cores: worker_cores,
            engine: options.engine,
            busy_poll: options.busy_poll.map(Duration::from_micros),
            sqpoll: options.sqpoll,
            zero_copy: options.zerocopy.map(|bytes| bytes as usize),
            batch_wait: Duration::from_micros(options.batch_wait),
            hop_limiting: options.hop_limiting.is_on(),
            port_queue_bytes: options.port_queue.saturating_mul(1024),
            queue_bytes: queue,
            queue_delay: options.queue_delay.0.map(Duration::from_millis),
            ..default.dataplane
        },
        control: ControlConfig {
            wakeup_broadcasts: options.wakeup_broadcasts.is_on(),
            wakeup_hops: options.wakeup_hops,
            correct_paths: options.correct_paths.is_on(),
            ..default.control
        },
        verify_threads: usize::from(options.verify_threads),
        transport_threads: usize::from(options.transport_threads),
        relay_tcp: options.relay_tcp,
        tls,
        upgrade_paths: match options.ws_path.is_empty() {
            true => default.upgrade_paths,
            false => options.ws_path,
        },
        trusted_proxies,
        control_core: options.control_core,
        // Nothing here reads payloads.
        receive_queue: ReceiveQueue {
            payloads: 0,
            bytes: 0,
        },
        ..NodeOptions::default()
    };
    let mut lowered = Vec::new();
    if let Some(memory) = memory {
        let usual = limits::values(&node_options);
        node_options.fit_memory(memory);
        lowered = memory::lowered(usual, limits::values(&node_options), &options.limit);
    }
    for (name, value) in &options.limit {
        limits::set(&mut node_options, name, *value).map_err(Failure::usage)?;
    }
    let max_peers = node_options.control.max_peers as u64;
    let node = Builder::from(node_options).start().await;
    let node = node.map_err(start_failure::explain)?;
    let signalled = node.clone();
    tokio::spawn(async move { other_signals.handle(&signalled, has_tls_files).await });

    if let Ok(status) = node.status().await {
        let mut text = banner(&status);
        let _ = writeln!(
            text,
            "queue       {}",
            memory::describe(given, queue, memory)
        );
        if let Some(limit) = files.filter(|limit| *limit < max_peers) {
            let _ = writeln!(text, "files       {}", files::describe(limit));
        }
        if !lowered.is_empty() {
            let _ = writeln!(
                text,
                "limits      {}, lowered to fit the memory",
                lowered.join(", ")
            );
        }
        if let Some(admin) = &admin {
            let _ = writeln!(text, "admin       {}", admin.path().display());
        }
        output::offer(text);
    }

    let serve = async {
        match &admin {
            Some(admin) => admin.serve(&node).await,
            None => std::future::pending().await,
        }
    };
    let name = tokio::select! {
        name = signals.next() => name,
        ended = node.closed() => return ended.map_err(Failure::runtime),
        () = serve => return Err(Failure::runtime("the admin socket failed")),
    };
    let first = Instant::now();
    tracing::info!(signal = name, "closing all peerings");
    tokio::select! {
        () = node.close() => Ok(()),
        name = signals.next_after(first) => {
            Err(Failure::runtime(format!("stopped by a second {name} while closing")))
        }
        () = tokio::time::sleep(CLOSE_LIMIT) => Err(Failure::runtime(format!(
            "not all peerings closed within {} s",
            CLOSE_LIMIT.as_secs()
        ))),
    }
}

fn trusted_proxies(networks: &[String]) -> Result<TrustedProxies, Failure> {
    let mut trusted = TrustedProxies::default();
    for network in networks {
        let added = trusted.add(network.trim());
        added.map_err(|error| Failure::usage(format!("--trust-forwarded-for: {error}")))?;
    }
    Ok(trusted)
}

fn workers(options: &RunOptions) -> Result<(usize, Vec<usize>), Failure> {
    if let Some(core) = options.control_core {
        cores::check(&[core])?;
    }
    let asked = options.workers.map(usize::from);
    let Some(list) = &options.worker_cores else {
        return Ok((asked.unwrap_or(1), Vec::new()));
    };
    cores::check(&list.0)?;
    let workers = asked.unwrap_or(list.0.len());
    if workers != list.0.len() {
        return Err(Failure::usage(format!(
            "--workers {workers} with {} in --worker-cores: name one core for each worker",
            output::counted(list.0.len() as u64, "core")
        )));
    }
    Ok((workers, list.0.clone()))
}

/// Refuses contradictory engine options.
fn check_engine(options: &RunOptions, worker_cores: &[usize]) -> Result<(), Failure> {
    if options.engine == EngineChoice::Epoll {
        let uring_only = [
            ("--sqpoll", options.sqpoll.is_some()),
            ("--zerocopy", options.zerocopy.is_some()),
            ("--batch-wait", options.batch_wait > 0),
        ];
        if let Some((flag, _)) = uring_only.iter().find(|(_, given)| *given) {
            return Err(Failure::usage(format!(
                "{flag} needs io_uring: omit it, or --engine epoll"
            )));
        }
    }
    let Some(core) = options.sqpoll else {
        return Ok(());
    };
    cores::check(&[core])?;
    if worker_cores.contains(&core) {
        return Err(Failure::usage(format!(
            "--sqpoll {core} is the core of a worker: give the kernel thread a core of its own"
        )));
    }
    Ok(())
}

fn banner(status: &Status) -> String {
    let mut text = format!("public key  {}\n", status.public_key);
    for address in &status.listeners {
        let _ = writeln!(text, "listening   {address}");
    }
    for missing in &status.missing_listeners {
        let _ = writeln!(
            text,
            "waiting     for {}: {}",
            missing.address, missing.error
        );
    }
    let _ = writeln!(
        text,
        "engine      {} ({})",
        status.engine, status.engine_reason
    );
    let cores: Vec<_> = status
        .workers
        .iter()
        .filter_map(|worker| worker.core.map(|core| core.to_string()))
        .collect();
    let pinned = match cores.as_slice() {
        [] => "not pinned".to_owned(),
        cores => format!("on cores {}", cores.join(",")),
    };
    let _ = writeln!(text, "workers     {}, {pinned}", status.workers.len());
    text
}
