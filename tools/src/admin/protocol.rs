//! The requests and replies of the admin socket. Scripts rely on the names: add fields, do not rename
//! them.

use std::collections::BTreeMap;

use pinecone::{Counter, Direction, LinkType, Peer, StaticPeer, Status, Traffic};
use serde::{Deserialize, Serialize};

/// The longest request, in bytes. Replies have no limit.
pub(crate) const MAX_REQUEST: usize = 4096;
/// The longest reply that a client accepts, in bytes: some hundred thousand peers.
pub(crate) const MAX_REPLY: usize = 256 << 20;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// A request for the status, answered by [`Reply::Status`].
    Status {},
    /// A request for the peerings, answered by [`Reply::Peers`].
    Peers {},
    /// A request for a series of pings, answered by a [`Reply::Ping`] for each ping, then [`Reply::Done`].
    Ping(PingRequest),
    /// Answered by [`Reply::Done`].
    Disconnect {
        /// The port of the peering.
        port: u32,
    },
}

/// A series of pings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PingRequest {
    /// The key to ping, in hexadecimal.
    pub(crate) key: String,
    /// Number of pings. `None` means until the client disconnects.
    #[serde(default)]
    pub(crate) count: Option<u64>,
    /// Bytes of filler.
    pub(crate) size: u32,
    /// Milliseconds between two pings.
    pub(crate) interval_ms: u64,
    /// Milliseconds to wait for each answer.
    pub(crate) timeout_ms: u64,
    /// True if a [`Reply::Sent`] is to report each ping when it is sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) report_sent: bool,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(crate) enum Reply {
    Status(Box<StatusInfo>),
    Peers {
        peers: Vec<PeerInfo>,
        /// The static peers.
        #[serde(default)]
        static_peers: Vec<StaticPeerInfo>,
    },
    /// A ping was sent. Only if the request asks for it.
    Sent {
        seq: u64,
    },
    Ping(PingInfo),
    /// The request is complete.
    Done {},
    /// The request was malformed or failed.
    Error {
        error: String,
    },
}

/// A ping of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PingInfo {
    /// Its number in the series, from 1.
    pub(crate) seq: u64,
    /// Bytes of payload in each direction.
    pub(crate) bytes: usize,
    #[serde(flatten)]
    pub(crate) outcome: PingOutcome,
}

/// The result of a ping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum PingOutcome {
    Answer { hops: u16, rtt_ms: f64 },
    Failed { error: String },
}

/// The status of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StatusInfo {
    pub(crate) public_key: String,
    pub(crate) version: String,
    pub(crate) uptime_seconds: f64,
    pub(crate) coordinates: Vec<u64>,
    pub(crate) root: RootInfo,
    /// Null if the node is the root.
    pub(crate) parent: Option<String>,
    /// Seconds that the clock is behind the time of the network, negative if ahead. Null if they agree.
    #[serde(default)]
    pub(crate) clock_behind_seconds: Option<i64>,
    pub(crate) descending: Option<String>,
    pub(crate) routes: usize,
    pub(crate) listeners: Vec<String>,
    /// The addresses that `--listen-retry` waits for.
    #[serde(default)]
    pub(crate) missing_listeners: Vec<MissingListenerInfo>,
    #[serde(default)]
    pub(crate) own_key_elsewhere: OwnKeyElsewhereInfo,
    pub(crate) engine: EngineInfo,
    pub(crate) workers: Vec<WorkerInfo>,
    /// Counters of the whole node.
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) peers: Vec<PeerInfo>,
    /// The static peers.
    pub(crate) static_peers: Vec<StaticPeerInfo>,
}

/// A static peer, which is dialled again whenever it is lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StaticPeerInfo {
    pub(crate) address: String,
    /// `waiting` (for the next dial), `resolving`, `queued`, `dialling` or `connected`.
    pub(crate) state: String,
    /// Number of failures in a row.
    pub(crate) failures: u32,
    /// Null once a peering has lasted a minute.
    #[serde(default)]
    pub(crate) last_error: Option<String>,
    /// Null while it is connected or being dialled.
    #[serde(default)]
    pub(crate) next_dial_seconds: Option<f64>,
}

/// An address that is not listened on yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MissingListenerInfo {
    pub(crate) address: String,
    pub(crate) error: String,
}

/// Signs of another node that uses this node's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnKeyElsewhereInfo {
    /// Handshakes with this node's key. They may be its own, sent back.
    pub(crate) handshakes: u64,
    /// Frames with this node's signature that it did not sign.
    pub(crate) signed_frames: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootInfo {
    pub(crate) key: String,
    pub(crate) sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EngineInfo {
    pub(crate) name: String,
    pub(crate) reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerInfo {
    pub(crate) index: usize,
    /// Null if it is not pinned.
    pub(crate) core: Option<usize>,
    pub(crate) stats: BTreeMap<String, u64>,
}

/// A peering.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerInfo {
    pub(crate) port: u32,
    pub(crate) key: String,
    pub(crate) remote: String,
    /// `inbound` or `outbound`.
    pub(crate) direction: String,
    /// `pipe`, `multicast`, `bonjour`, `remote` or `bluetooth`.
    pub(crate) link: String,
    /// `tcp`, `tls`, `ws` or `wss`. Null for a stream that is none of these.
    #[serde(default)]
    pub(crate) transport: Option<String>,
    #[serde(default)]
    pub(crate) priority: u8,
    /// True if it is not used because another peering with the same key has a higher priority.
    #[serde(default)]
    pub(crate) standby: bool,
    pub(crate) connected_seconds: f64,
    /// Null until the peer has announced.
    pub(crate) coordinates: Option<Vec<u64>>,
    /// Null until the peer has announced.
    pub(crate) root: Option<String>,
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
    /// Numbers of frames dropped at this port, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// Traffic frames from the peer that were delivered to this node.
    #[serde(default)]
    pub(crate) delivered_frames: u64,
    /// Traffic frames from the peer that followed a recently expired route.
    #[serde(default)]
    pub(crate) expired_route_frames: u64,
    /// Traffic frames from the peer that were sent by way of another key.
    #[serde(default)]
    pub(crate) detoured_frames: u64,
    pub(crate) queued_bytes: u64,
    #[serde(default)]
    pub(crate) queued_frames: u64,
}

impl From<&Status> for StatusInfo {
    fn from(status: &Status) -> Self {
        Self {
            public_key: status.public_key.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: status.uptime.as_secs_f64(),
            coordinates: status.coordinates.ports().to_vec(),
            root: RootInfo {
                key: status.root.to_string(),
                sequence: status.root_sequence,
            },
            parent: status.parent.map(|key| key.to_string()),
            clock_behind_seconds: status.clock_behind_ms.map(|ms| ms / 1000),
            descending: status.descending.map(|key| key.to_string()),
            routes: status.routes,
            listeners: status.listeners.iter().map(ToString::to_string).collect(),
            missing_listeners: status
                .missing_listeners
                .iter()
                .map(|missing| MissingListenerInfo {
                    address: missing.address.clone(),
                    error: missing.error.clone(),
                })
                .collect(),
            own_key_elsewhere: OwnKeyElsewhereInfo {
                handshakes: status.own_key_elsewhere.handshakes,
                signed_frames: status.own_key_elsewhere.signed_frames,
            },
            engine: EngineInfo {
                name: status.engine.clone(),
                reason: status.engine_reason.clone(),
            },
            workers: status
                .workers
                .iter()
                .map(|worker| WorkerInfo {
                    index: worker.index,
                    core: worker.core,
                    stats: counters(&worker.stats),
                })
                .collect(),
            counters: counters(&status.counters),
            peers: status.peers.iter().map(PeerInfo::from).collect(),
            static_peers: status
                .static_peers
                .iter()
                .map(StaticPeerInfo::from)
                .collect(),
        }
    }
}

impl From<&StaticPeer> for StaticPeerInfo {
    fn from(peer: &StaticPeer) -> Self {
        Self {
            address: peer.address.clone(),
            state: peer.state.to_string(),
            failures: peer.failures,
            last_error: peer.last_error.clone(),
            next_dial_seconds: peer.next_dial.map(|wait| wait.as_secs_f64()),
        }
    }
}

impl From<&Peer> for PeerInfo {
    fn from(peer: &Peer) -> Self {
        Self {
            port: peer.port.0,
            key: peer.key.to_string(),
            remote: peer.remote.clone(),
            direction: match peer.direction {
                Direction::Inbound => "inbound",
                Direction::Outbound => "outbound",
            }
            .to_owned(),
            link: match peer.link {
                LinkType::Pipe => "pipe",
                LinkType::Multicast => "multicast",
                LinkType::Bonjour => "bonjour",
                LinkType::Remote => "remote",
                LinkType::Bluetooth => "bluetooth",
            }
            .to_owned(),
            transport: peer.scheme.map(|scheme| scheme.to_string()),
            priority: peer.priority,
            standby: peer.standby,
            connected_seconds: peer.connected_for.as_secs_f64(),
            coordinates: peer.coordinates.as_ref().map(|c| c.ports().to_vec()),
            root: peer.root.map(|key| key.to_string()),
            traffic: peer.traffic,
            drops: counters(&peer.drops),
            delivered_frames: peer.delivered_frames,
            expired_route_frames: peer.expired_route_frames,
            detoured_frames: peer.detoured_frames,
            queued_bytes: peer.queued_bytes,
            queued_frames: peer.queued_frames,
        }
    }
}

fn counters(list: &[Counter]) -> BTreeMap<String, u64> {
    list.iter()
        .map(|counter| (counter.name.to_owned(), counter.value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_documented() {
        let read = |text: &str| serde_json::from_str::<Request>(text);
        assert_eq!(read(r#"{"request":"status"}"#).unwrap(), Request::Status {});
        assert_eq!(
            read(r#"{"request":"disconnect","port":3}"#).unwrap(),
            Request::Disconnect { port: 3 }
        );
        let ping = Request::Ping(PingRequest {
            key: "ab".to_owned(),
            count: None,
            size: 8,
            interval_ms: 1000,
            timeout_ms: 5000,
            report_sent: false,
        });
        let text = r#"{"request":"ping","key":"ab","size":8,"interval_ms":1000,"timeout_ms":5000}"#;
        assert_eq!(read(text).unwrap(), ping);
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"request":"reboot"}"#,
            r#"{"request":"status","x":1}"#,
            r#"{"request":"disconnect","port":-1}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ping_replies_keep_their_form() {
        let answer = Reply::Ping(PingInfo {
            seq: 1,
            bytes: 75,
            outcome: PingOutcome::Answer {
                hops: 2,
                rtt_ms: 1.5,
            },
        });
        let failed = Reply::Ping(PingInfo {
            seq: 2,
            bytes: 75,
            outcome: PingOutcome::Failed {
                error: "no answer in time".to_owned(),
            },
        });
        for (reply, text) in [
            (
                answer,
                r#"{"reply":"ping","seq":1,"bytes":75,"hops":2,"rtt_ms":1.5}"#,
            ),
            (
                failed,
                r#"{"reply":"ping","seq":2,"bytes":75,"error":"no answer in time"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&reply).unwrap(), text);
            assert_eq!(serde_json::from_str::<Reply>(text).unwrap(), reply);
        }
    }
}
