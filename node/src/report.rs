//! Converts the counters of the parts into the node's own types.

use std::time::Duration;

use pinecone_dataplane::{CountersSnapshot, DropReason, WorkerStats};
use pinecone_transports::{StaticPeerState as DialState, StaticPeersHandle, TransportCounters};

use crate::{Counter, StaticPeer, StaticPeerState, Worker};

/// Returns the drops by reason. Reasons that never occurred are left out.
pub(crate) fn drops(counters: &CountersSnapshot) -> Vec<Counter> {
    let all = DropReason::ALL.iter().map(|&reason| Counter {
        name: reason.name(),
        value: counters.dropped(reason),
    });
    all.filter(|counter| counter.value > 0).collect()
}

pub(crate) fn workers(stats: &[WorkerStats]) -> Vec<Worker> {
    let workers = stats.iter().enumerate();
    workers
        .map(|(index, stats)| {
            let mut counters = named([
                ("ports", stats.ports),
                ("iterations", stats.iterations),
                ("sleeps", stats.sleeps),
                ("handed_over", stats.handed_over),
                ("out_of_buffers", stats.out_of_buffers),
                ("zero_copy_sends", stats.zero_copy_sends),
                ("local_frames", stats.local.rx_traffic_frames),
                ("local_delivered_frames", stats.local.delivered_frames),
                ("closed_rx_traffic_frames", stats.closed.rx_traffic_frames),
                ("closed_tx_traffic_frames", stats.closed.tx_traffic_frames),
                ("closed_delivered_frames", stats.closed.delivered_frames),
            ]);
            // Frames of local origin, and of peerings that have ended.
            let mut gone = stats.local.clone();
            gone.add(&stats.closed);
            counters.extend(named([
                ("expired_route_frames", gone.expired_route_frames),
                ("detoured_frames", gone.detoured_frames),
            ]));
            counters.extend(drops(&gone));
            Worker {
                index,
                core: stats.core,
                stats: counters,
            }
        })
        .collect()
}

pub(crate) fn transports(counters: &TransportCounters) -> Vec<Counter> {
    named([
        ("connections_accepted", counters.accepted),
        ("connections_over_cap", counters.over_cap),
        (
            "connections_short_of_descriptors",
            counters.short_of_descriptors,
        ),
        ("accepts_failed", counters.accept_failed),
        ("dialled", counters.dialled),
        ("dials_failed", counters.dial_failed),
        ("handshakes_done", counters.established),
        ("handshakes_refused_version", counters.refused_version),
        (
            "handshakes_refused_capabilities",
            counters.refused_capabilities,
        ),
        ("handshakes_refused_signature", counters.refused_signature),
        ("handshakes_refused_own_key", counters.refused_own_key),
        ("handshakes_own_key_elsewhere", counters.own_key_elsewhere),
        ("handshakes_refused_key", counters.refused_key),
        ("handshakes_refused_tls", counters.refused_tls),
        ("handshakes_refused_upgrade", counters.refused_upgrade),
        ("handshakes_timed_out", counters.timed_out),
        ("handshakes_closed_early", counters.closed_early),
        ("handshakes_stream_failed", counters.stream_failed),
    ])
}

pub(crate) fn control(counters: &pinecone_controlplane::Counters) -> Vec<Counter> {
    let entries = counters.entries().into_iter();
    entries
        .map(|(name, value)| Counter { name, value })
        .collect()
}

pub(crate) fn static_peers(handle: &StaticPeersHandle) -> Vec<StaticPeer> {
    let state = |state| match state {
        DialState::Waiting { .. } => StaticPeerState::Waiting,
        DialState::Resolving => StaticPeerState::Resolving,
        DialState::Queued => StaticPeerState::Queued,
        DialState::Dialling => StaticPeerState::Dialling,
        DialState::Connected { .. } => StaticPeerState::Connected,
    };
    let now = handle.now();
    let peers = handle.status().into_iter().map(|peer| StaticPeer {
        address: peer.address.to_string(),
        state: state(peer.state),
        failures: peer.failures,
        last_error: peer.last_error,
        next_dial: match peer.state {
            DialState::Waiting { until } => Some(until.saturating_sub(now)),
            DialState::Resolving | DialState::Queued => Some(Duration::ZERO),
            DialState::Dialling | DialState::Connected { .. } => None,
        },
    });
    peers.collect()
}

fn named<const N: usize>(counters: [(&'static str, u64); N]) -> Vec<Counter> {
    counters.map(|(name, value)| Counter { name, value }).into()
}
