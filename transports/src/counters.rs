use std::sync::atomic::{AtomicU64, Ordering};

use crate::HandshakeFailed;

/// What the transports connected and turned away since the start. `refused_*`, `timed_out`,
/// `closed_early` and `stream_failed` count handshakes that failed, whoever opened the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportCounters {
    /// Connections accepted by listeners, before any handshake.
    pub accepted: u64,
    /// Connections closed at once because too many were handshaking, or waiting to become peerings.
    pub over_cap: u64,
    /// Connections closed at once because few file descriptors were left.
    pub short_of_descriptors: u64,
    /// Times that the system would not give us a waiting connection (out of descriptors, say).
    pub accept_failed: u64,
    /// Attempts to dial.
    pub dialled: u64,
    /// Attempts that ended without a connection.
    pub dial_failed: u64,
    /// Handshakes done.
    pub established: u64,
    /// Another protocol version.
    pub refused_version: u64,
    /// Other capabilities.
    pub refused_capabilities: u64,
    /// A signature that does not verify.
    pub refused_signature: u64,
    /// Our own key.
    pub refused_own_key: u64,
    /// Of these, handshakes that were not between this node and itself.
    pub own_key_elsewhere: u64,
    /// Not done within the limit.
    pub timed_out: u64,
    /// The peer closed the stream before its 104 bytes were there.
    pub closed_early: u64,
    /// The stream failed.
    pub stream_failed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Counter,
    pub(crate) over_cap: Counter,
    pub(crate) short_of_descriptors: Counter,
    pub(crate) accept_failed: Counter,
    pub(crate) dialled: Counter,
    pub(crate) dial_failed: Counter,
    established: Counter,
    refused_version: Counter,
    refused_capabilities: Counter,
    refused_signature: Counter,
    refused_own_key: Counter,
    pub(crate) own_key_elsewhere: Counter,
    timed_out: Counter,
    closed_early: Counter,
    stream_failed: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// Counts how a handshake ended.
    pub(crate) fn handshake(&self, failure: Option<&HandshakeFailed>) {
        match failure {
            None => &self.established,
            Some(HandshakeFailed::Version(_)) => &self.refused_version,
            Some(HandshakeFailed::Capabilities(_)) => &self.refused_capabilities,
            Some(HandshakeFailed::Signature) => &self.refused_signature,
            Some(HandshakeFailed::OwnKey) => &self.refused_own_key,
            Some(HandshakeFailed::Timeout(_)) => &self.timed_out,
            Some(HandshakeFailed::Eof { .. }) => &self.closed_early,
            Some(HandshakeFailed::Io(_)) => &self.stream_failed,
        }
        .add();
    }

    pub(crate) fn snapshot(&self) -> TransportCounters {
        TransportCounters {
            accepted: self.accepted.get(),
            over_cap: self.over_cap.get(),
            short_of_descriptors: self.short_of_descriptors.get(),
            accept_failed: self.accept_failed.get(),
            dialled: self.dialled.get(),
            dial_failed: self.dial_failed.get(),
            established: self.established.get(),
            refused_version: self.refused_version.get(),
            refused_capabilities: self.refused_capabilities.get(),
            refused_signature: self.refused_signature.get(),
            refused_own_key: self.refused_own_key.get(),
            own_key_elsewhere: self.own_key_elsewhere.get(),
            timed_out: self.timed_out.get(),
            closed_early: self.closed_early.get(),
            stream_failed: self.stream_failed.get(),
        }
    }
}
