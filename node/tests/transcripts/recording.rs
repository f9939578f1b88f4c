//! The format of the recordings.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

#[derive(Clone)]
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) lines: Arc<Vec<Line>>,
}

#[derive(Deserialize)]
pub(crate) struct Line {
    t_us: u64,
    pub(crate) conn: Option<String>,
    dir: Option<String>,
    pub(crate) what: Option<String>,
    hex: Option<String>,
    note: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) port: Option<u32>,
    seed: Option<String>,
    pub(crate) payload: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) coords: Option<Vec<u64>>,
    pub(crate) root: Option<String>,
    pub(crate) root_sequence: Option<u64>,
    pub(crate) parent_port: Option<u32>,
    pub(crate) descending: Option<String>,
    pub(crate) snek_paths: Option<Vec<String>>,
    event: Option<String>,
    data: Option<EventData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EventData {
    #[serde(rename = "PeerID")]
    peer_id: Option<String>,
}

impl Recording {
    pub(crate) fn read(name: &str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../wire/vectors/transcripts");
        let text = std::fs::read_to_string(format!("{folder}/{name}.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        Self {
            name: name.to_owned(),
            lines: Arc::new(lines.collect()),
        }
    }

    /// Returns the nodes of the recording.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let made = self.lines.iter().filter(|line| line.is_note("node"));
        made.filter_map(|line| line.node.clone()).collect()
    }

    pub(crate) fn seed_of(&self, node: &str) -> [u8; 32] {
        let mut made = self.lines.iter().filter(|line| line.is_note("node"));
        let line = made
            .find(|line| line.node.as_deref() == Some(node))
            .unwrap();
        let seed = hex::decode(line.seed.as_deref().unwrap()).unwrap();
        seed.try_into().unwrap()
    }

    /// Returns the number that `node` gave to the peering over `conn`.
    pub(crate) fn port_of(&self, node: &str, conn: &str) -> u32 {
        let mut of_conn = (self.lines.iter()).filter(|line| line.conn.as_deref() == Some(conn));
        let line = of_conn.find(|l| l.port.is_some() && l.node.as_deref() == Some(node));
        line.and_then(|line| line.port).unwrap()
    }
}

impl Line {
    pub(crate) fn at(&self) -> Duration {
        Duration::from_micros(self.t_us)
    }

    pub(crate) fn is_note(&self, note: &str) -> bool {
        self.note.as_deref() == Some(note)
    }

    /// Returns the source of the broadcast that a node handled, if the line reports that.
    pub(crate) fn broadcast_handled(&self) -> Option<(&str, &str)> {
        let key = self.data.as_ref()?.peer_id.as_deref()?;
        (self.event.as_deref() == Some("BroadcastReceived")).then_some((self.node.as_deref()?, key))
    }

    /// Returns the sender and the receiver of bytes on a connection.
    pub(crate) fn direction(&self) -> Option<(&str, &str)> {
        self.dir.as_deref()?.split_once('>')
    }

    /// Returns the bytes sent, if the line is about bytes.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        self.hex.as_deref().map(|hex| hex::decode(hex).unwrap())
    }

    /// Reports whether the connection has `node` at one end.
    pub(crate) fn concerns(&self, node: &str) -> bool {
        let conn = self.conn.as_deref();
        conn.is_some_and(|conn| conn.split('-').any(|end| end == node))
    }
}
