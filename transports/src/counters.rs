//! Counters of connections and handshakes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::HandshakeFailed;
use crate::tls::TlsError;
use crate::websocket::UpgradeError;

/// Declares the counters once, with their snapshot.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Numbers of connections that the transports made and refused since the start.
        ///
        /// `refused_*`, `timed_out`, `closed_early` and `stream_failed` count failed handshakes,
        /// whichever side opened the stream.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct TransportCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> TransportCounters {
                TransportCounters {
                    $($name: self.$name.get(),)*
                }
            }
        }
    };
}

counters! {
    /// Connections accepted by listeners, before any handshake.
    accepted,
    /// Connections closed at once because too many were handshaking or waiting to become peerings.
    over_cap,
    /// Connections closed at once because too few file descriptors were left.
    short_of_descriptors,
    /// Failures of the system to accept a connection, such as for lack of descriptors.
    accept_failed,
    /// Dials.
    dialled,
    /// Dials that ended without a connection.
    dial_failed,
    /// Successful handshakes.
    established,
    /// Handshakes with another protocol version.
    refused_version,
    /// Handshakes with other capabilities.
    refused_capabilities,
    /// Handshakes with a signature that does not verify.
    refused_signature,
    /// Handshakes with this node's own key.
    refused_own_key,
    /// Handshakes with this node's own key that were not between this node and itself.
    own_key_elsewhere,
    /// Handshakes with another key than the URI demands with `?key=`.
    refused_key,
    /// Connections whose TLS handshake failed, or on which TLS proved another key than the peer claims.
    refused_tls,
    /// Connections whose upgrade to a WebSocket was refused, or was answered with anything else.
    refused_upgrade,
    /// Handshakes that were not finished in time.
    timed_out,
    /// Handshakes during which the peer closed the stream.
    closed_early,
    /// Handshakes during which the stream failed.
    stream_failed,
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
    /// Counts the result of a handshake.
    pub(crate) fn handshake(&self, failure: Option<&HandshakeFailed>) {
        match failure {
            None => &self.established,
            Some(HandshakeFailed::Version(_)) => &self.refused_version,
            Some(HandshakeFailed::Capabilities(_)) => &self.refused_capabilities,
            Some(HandshakeFailed::Signature) => &self.refused_signature,
            Some(HandshakeFailed::OwnKey) => &self.refused_own_key,
            Some(HandshakeFailed::Key(_)) => &self.refused_key,
            Some(HandshakeFailed::Timeout(_)) => &self.timed_out,
            Some(HandshakeFailed::Eof { .. }) => &self.closed_early,
            Some(HandshakeFailed::Io(_)) => &self.stream_failed,
            Some(HandshakeFailed::Tls(error)) => match **error {
                TlsError::Eof => &self.closed_early,
                TlsError::Io(_) => &self.stream_failed,
                _ => &self.refused_tls,
            },
            Some(HandshakeFailed::Upgrade(error)) => match error {
                UpgradeError::Timeout(_) => &self.timed_out,
                UpgradeError::Eof => &self.closed_early,
                UpgradeError::Io(_) => &self.stream_failed,
                _ => &self.refused_upgrade,
            },
        }
        .add();
    }
}
