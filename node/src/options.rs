//! The options of a node.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pinecone_transports::tls::TlsOptions;
use pinecone_transports::websocket::{TrustedProxies, UpgradePath};
use pinecone_transports::{DialSchedule, Limits, TransportOptions};
use pinecone_wire::SecretKey;

use crate::{
    ControlConfig, DataPlaneOptions, EngineChoice, LimitError, MemoryLimit, OptionError,
    PacketFilter,
};

/// The least that a bound on waiting protocol frames may be: the longest frame.
const LEAST_PENDING: u64 = 65_536;
/// The divisor of the memory that gives the bound on frames that wait for the control plane.
const PENDING_SHARE: u64 = 16;

const MAX_VERIFY_THREADS: usize = 256;
const MAX_DIALS: usize = 65_536;
const MAX_TRANSPORT_THREADS: usize = 256;
const LEAST_INTERVAL: Duration = Duration::from_millis(10);
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);
/// The memory that the limits of a small node's control plane are fit to.
const SMALL_MEMORY: u64 = 32 << 20;
const HOUR: Duration = Duration::from_secs(60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The options of a node. [`Builder`](crate::Builder) sets them by methods.
///
/// The default is a node with a new key that neither listens nor dials.
///
/// ```
/// # fn main() -> Result<(), pinecone::StartError> {
/// use pinecone::{Builder, ControlConfig, NodeOptions};
///
/// let options = NodeOptions {
///     control: ControlConfig {
///         max_peers: 100,
///         ..ControlConfig::default()
///     },
///     ..NodeOptions::default()
/// };
/// let node = Builder::from(options).start_blocking()?;
/// node.close_blocking();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NodeOptions {
    /// The node's key. Default: a [new one](crate::generate_key).
    pub secret_key: Option<SecretKey>,
    /// The addresses to listen on: see [`Builder::listen`](crate::Builder::listen). Default: none.
    pub listen: Vec<String>,
    /// Set to wait in the background for addresses to listen on that this machine does not have yet, and for names that
    /// do not resolve yet. Default: not set, the start fails.
    pub listen_retry: bool,
    /// The static peers, which are dialled again whenever they are lost, several separated by commas: see
    /// [`Builder::connect`](crate::Builder::connect). Default: none.
    pub static_peers: Vec<String>,
    /// The times at which static peers are dialled again.
    pub dial_schedule: DialSchedule,
    /// Bounds on connecting and handshakes.
    pub transport_limits: Limits,
    /// Workers, engine, queues and buffers.
    pub dataplane: DataPlaneOptions,
    /// Routes, broadcasts and peerings. If [`ControlConfig::wakeup_phase`] is `None`, the node draws
    /// a random one.
    pub control: ControlConfig,
    /// Number of threads that check the signatures of protocol frames, at most 256. Default: 0, the
    /// control thread checks them.
    pub verify_threads: usize,
    /// Number of threads that relay the streams of peerings that are not plain TCP sockets, from 1 to 256. They start
    /// when they are needed. A node on a [host](crate::Host) uses those of the host. Default: 1.
    pub transport_threads: usize,
    /// Set to relay plain TCP as well, for tests and to measure relays. Default: not set.
    #[doc(hidden)]
    pub relay_tcp: bool,
    /// The files with certificates and keys for TLS, which [`Node::reload_tls`](crate::Node::reload_tls) reads again, as
    /// does the node soon after they have changed. Default: none, which suffices for `tls://` between nodes.
    pub tls: TlsOptions,
    /// The paths on which WebSocket listeners upgrade connections; other requests get a 404. Default: `/` and `/ws`.
    pub upgrade_paths: Vec<UpgradePath>,
    /// The reverse proxies in front of WebSocket listeners whose `Forwarded` and `X-Forwarded-For` headers are believed.
    /// Default: none.
    pub trusted_proxies: TrustedProxies,
    /// The core to pin the control thread to. Default: not pinned.
    pub control_core: Option<usize>,
    /// The core to pin the runtime thread to, which listens, dials and shakes hands. Default: not
    /// pinned.
    pub runtime_core: Option<usize>,
    /// The packet filter, from the first frame on. Default: none.
    pub packet_filter: Option<Arc<dyn PacketFilter>>,
    /// Bounds on the payloads that wait for the application.
    pub receive_queue: ReceiveQueue,
    /// The payloads that the application receives. Default: those for the node's own key.
    pub receive_for: ReceiveFor,
    /// The interval of [`Event::Bandwidth`](crate::Event::Bandwidth), from 10 ms to one year.
    /// Default: one minute.
    pub bandwidth_interval: Duration,
}

/// Bounds on the payloads that wait for [`Node::recv_from`](crate::Node::recv_from). A payload that
/// exceeds one of them is dropped and counted as `receive_queue_full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveQueue {
    /// Number of payloads. Default: 4,096. With 0 every payload is dropped, for a node that only
    /// forwards.
    pub payloads: usize,
    /// Bytes of payload. Default: 16 MiB.
    pub bytes: usize,
}

/// The choice of the payloads that a node's application receives.
///
/// A frame for a key that no node has is delivered at the node with the next higher key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiveFor {
    /// Payloads for the node's own key. Others are dropped and counted as `payloads_for_other_keys`.
    #[default]
    OwnKey,
    /// Every payload that is delivered at this node. [`Node::recv`](crate::Node::recv) returns the key that each was
    /// for. This is for adapters that derive partial keys, for instance from IP addresses.
    AnyKey,
}

impl Default for NodeOptions {
    fn default() -> Self {
        let transports = TransportOptions::default();
        Self {
            secret_key: None,
            listen: Vec::new(),
            listen_retry: false,
            static_peers: Vec::new(),
            dial_schedule: DialSchedule::default(),
            transport_limits: Limits::default(),
            dataplane: DataPlaneOptions::default(),
            control: ControlConfig::default(),
            verify_threads: 0,
            transport_threads: 1,
            relay_tcp: false,
            tls: TlsOptions::default(),
            upgrade_paths: transports.upgrade_paths,
            trusted_proxies: transports.trusted_proxies,
            control_core: None,
            runtime_core: None,
            packet_filter: None,
            receive_queue: ReceiveQueue::default(),
            receive_for: ReceiveFor::default(),
            bandwidth_interval: Duration::from_secs(60),
        }
    }
}

impl Default for ReceiveQueue {
    fn default() -> Self {
        Self {
            payloads: 4096,
            bytes: 16 << 20,
        }
    }
}

impl NodeOptions {
    /// Returns options for one of many nodes in a process: smaller queues and buffers than by default, at most 64
    /// peers, and the epoll engine, which needs less memory. Such a node takes about 250 KB without peers and 750 KB
    /// with two peers and a hundred routes. On a [host](crate::Host), where it has no threads of its own, it takes 60 KB
    /// and 400 KB.
    #[must_use]
    pub fn small() -> Self {
        let mut options = Self {
            dataplane: DataPlaneOptions {
                engine: EngineChoice::Epoll,
                ..DataPlaneOptions::small()
            },
            receive_queue: ReceiveQueue {
                payloads: 64,
                bytes: 1 << 20,
            },
            ..Self::default()
        };
        options.control.fit_memory(SMALL_MEMORY);
        options.control.max_peers = 64;
        options
    }

    /// Lowers the limits on state that peers can create, for a machine or a container with little
    /// memory. Limits that are lower already stay.
    pub fn fit_memory(&mut self, memory: MemoryLimit) {
        self.control.fit_memory(memory.bytes);
        let most = (memory.bytes / PENDING_SHARE).max(LEAST_PENDING);
        let pending = &mut self.dataplane.pending_bytes;
        *pending = (*pending).min(usize::try_from(most).unwrap_or(usize::MAX));
    }

    /// Checks the values that the node itself uses; the data plane checks its own.
    pub(crate) fn check(&self) -> Result<(), OptionError> {
        between("verify_threads", self.verify_threads, 0, MAX_VERIFY_THREADS)?;
        between(
            "transport_threads",
            self.transport_threads,
            1,
            MAX_TRANSPORT_THREADS,
        )?;
        time(
            "bandwidth_interval",
            self.bandwidth_interval,
            LEAST_INTERVAL,
            YEAR,
        )?;
        between("wakeup_hops", self.control.wakeup_hops, 1, 5)?;
        if let Some(phase) = self.control.wakeup_phase {
            time("wakeup_phase", phase, Duration::ZERO, YEAR)?;
        }
        for (name, value) in self.control.limit_values() {
            let accepts = |value| ControlConfig::default().set_limit(name, value);
            // Zero is allowed here: everything is refused then.
            if let Err(LimitError::Range { most, .. }) = accepts(value.max(1)) {
                between(&name.replace('-', "_"), value, 0, most)?;
            }
        }
        let limits = &self.transport_limits;
        between("max_dials", limits.max_dials, 1, MAX_DIALS)?;
        for (name, value) in [
            ("handshake_timeout", limits.handshake_timeout),
            ("lookup_timeout", limits.lookup_timeout),
            ("connect_timeout", limits.connect_timeout),
        ] {
            time(name, value, LEAST_TIMEOUT, HOUR)?;
        }
        if let Some(bytes) = limits.max_segment {
            between("max_segment", bytes, 88, 32_767)?;
        }
        let schedule = &self.dial_schedule;
        time("longest_wait", schedule.longest_wait, LEAST_INTERVAL, YEAR)?;
        for (name, value) in [
            ("lasting_after", schedule.lasting_after),
            ("good_after", schedule.good_after),
            ("spread", schedule.spread),
        ] {
            time(name, value, Duration::ZERO, YEAR)?;
        }
        Ok(())
    }
}

impl fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names every field, so that a new one is not forgotten.
        let Self {
            secret_key,
            listen,
            listen_retry,
            static_peers,
            dial_schedule,
            transport_limits,
            dataplane,
            control,
            verify_threads,
            transport_threads,
            relay_tcp,
            tls,
            upgrade_paths,
            trusted_proxies,
            control_core,
            runtime_core,
            packet_filter,
            receive_queue,
            receive_for,
            bandwidth_interval,
        } = self;
        let public_key = secret_key.as_ref().map(SecretKey::public_key);
        let has_packet_filter = packet_filter.is_some();
        f.debug_struct("NodeOptions")
            .field("public_key", &public_key)
            .field("listen", listen)
            .field("listen_retry", listen_retry)
            .field("static_peers", static_peers)
            .field("dial_schedule", dial_schedule)
            .field("transport_limits", transport_limits)
            .field("dataplane", dataplane)
            .field("control", control)
            .field("verify_threads", verify_threads)
            .field("transport_threads", transport_threads)
            .field("relay_tcp", relay_tcp)
            .field("tls", tls)
            .field("upgrade_paths", upgrade_paths)
            .field("trusted_proxies", trusted_proxies)
            .field("control_core", control_core)
            .field("runtime_core", runtime_core)
            .field("has_packet_filter", &has_packet_filter)
            .field("receive_queue", receive_queue)
            .field("receive_for", receive_for)
            .field("bandwidth_interval", bandwidth_interval)
            .finish()
    }
}

fn between<T: PartialOrd + fmt::Display>(
    option: &str,
    value: T,
    least: T,
    most: T,
) -> Result<(), OptionError> {
    match (&least..=&most).contains(&&value) {
        true => Ok(()),
        false => Err(OptionError {
            option: option.to_owned(),
            problem: format!("{value} is not from {least} to {most}"),
        }),
    }
}

fn time(option: &str, value: Duration, least: Duration, most: Duration) -> Result<(), OptionError> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(OptionError {
            option: option.to_owned(),
            problem: format!("{value:?} is not from {least:?} to {most:?}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_planes_fit_the_memory() {
        let fitted = |bytes| {
            let mut options = NodeOptions::default();
            let is_cgroup = true;
            options.fit_memory(MemoryLimit { bytes, is_cgroup });
            options
        };
        let small = fitted(32 << 20);
        assert_eq!(small.dataplane.pending_bytes, 2 << 20);
        assert_eq!(small.control.max_peers, 32);
        assert_eq!(fitted(1 << 10).dataplane.pending_bytes, 65_536);
        assert_eq!(fitted(64 << 30).dataplane.pending_bytes, 64 << 20);
    }

    #[test]
    fn defaults_pass_the_check() {
        NodeOptions::default().check().unwrap();
    }
}
