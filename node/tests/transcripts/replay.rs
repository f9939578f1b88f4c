//! The replay of a recording to a node that takes the place of one of those recorded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pinecone::{Builder, ControlConfig, Event, Events, Node, NodeOptions, PublicKey, SecretKey};
use pinecone_wire::{Extensions, HANDSHAKE_LEN, Split, handshake, split};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::compare::{Class, Compared};
use crate::recording::{Line, Recording};

/// The longest delay of an event after its time in the recording.
const LIMIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(2);

struct Replay<'a> {
    recording: &'a Recording,
    /// The recorded node whose place the node under test takes.
    name: &'a str,
    node: Node,
    events: Events,
    connections: BTreeMap<String, Connection>,
    /// The number of frames that the recorded node had sent so far on each connection, of those that the node under
    /// test must have sent before the replay continues.
    due: BTreeMap<String, usize>,
    /// The last announcement that the recorded node had sent on each connection.
    announced: BTreeMap<String, Vec<u8>>,
    /// Broadcasts that had arrived, by key, with their connection, but that the recorded node had not handled yet. That
    /// matters, as a peer that announced itself meanwhile gets them too.
    held: BTreeMap<String, (String, Vec<u8>)>,
    start: Instant,
}

struct Connection {
    write: Option<OwnedWriteHalf>,
    /// True once the peer has announced itself.
    announced: bool,
    /// The frames that the node under test sent.
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

pub(crate) async fn in_place_of(recording: &Recording, name: &str) {
    let options = NodeOptions {
        secret_key: Some(SecretKey::from_seed(&recording.seed_of(name))),
        // The settings of deployed nodes.
        control: ControlConfig {
            wakeup_hops: 5,
            wakeup_phase: Some(Duration::from_secs(60)),
            ..ControlConfig::default()
        },
        listen: vec!["127.0.0.1:0".to_owned()],
        ..NodeOptions::default()
    };
    let node = Builder::from(options).start().await.unwrap();
    let mut replay = Replay {
        recording,
        name,
        events: node.events(),
        node,
        connections: BTreeMap::new(),
        due: BTreeMap::new(),
        announced: BTreeMap::new(),
        held: BTreeMap::new(),
        start: Instant::now(),
    };
    for (number, line) in recording.lines.iter().enumerate() {
        let later = &recording.lines[number..];
        replay.step(line, later).await;
    }
    replay.sent_what_is_due("the end").await;
    for (conn, connection) in &replay.connections {
        let recorded = recording.lines.iter().filter(|line| {
            let from = line.direction().map(|(from, _)| from);
            line.conn.as_ref() == Some(conn) && from == Some(name)
        });
        let mut frames = recorded.filter_map(Line::bytes);
        frames.next().expect("a handshake");
        let played = (recording.lines.iter())
            .filter(|line| line.what.as_deref() != Some("handshake"))
            .filter(|line| line.direction().is_some_and(|(_, to)| to == name))
            .filter_map(Line::bytes);
        Compared {
            place: format!("{} in place of {name}, {conn}", recording.name),
            own: replay.node.public_key(),
            recorded: frames.collect(),
            sent: connection.sent.lock().unwrap().clone(),
            played: played.collect(),
        }
        .check();
    }
    replay.node.close().await;
}

impl Replay<'_> {
    async fn step(&mut self, line: &Line, later: &[Line]) {
        let of_ours = line.node.as_deref() == Some(self.name);
        let at = format!(
            "{} in place of {}, {:?}",
            self.recording.name,
            self.name,
            line.at()
        );
        if line.concerns(self.name) {
            let conn = line.conn.as_deref().unwrap();
            if of_ours && (line.is_note("accepted") || line.is_note("dialled")) {
                // The recorded node took longer over its handshakes, and had handled other input before it had this
                // peering.
                self.connect_if_not(conn, line, &at).await;
            } else if line.is_note("cutting connection") {
                self.wait_for(line).await;
                self.sent_what_is_due(&at).await;
                self.cut(conn).await;
            } else if let (Some((from, _)), Some(bytes)) = (line.direction(), line.bytes()) {
                if line.what.as_deref() == Some("handshake") {
                    return;
                }
                if from == self.name {
                    let class = Class::of(&bytes);
                    // The node under test does not repeat an announcement that has not changed.
                    let repeated = class == Class::Announcement
                        && self.announced.insert(conn.to_owned(), bytes.clone()) == Some(bytes);
                    if class.is_fixed() && !repeated {
                        *self.due.entry(conn.to_owned()).or_default() += 1;
                    }
                    return;
                }
                self.connect_if_not(conn, line, &at).await;
                self.wait_for(line).await;
                self.sent_what_is_due(&at).await;
                if let Class::Broadcast(key) = Class::of(&bytes) {
                    let key = key.to_string();
                    let handled = (self.name, key.as_str());
                    if !self.held.contains_key(&key)
                        && later.iter().any(|l| l.broadcast_handled() == Some(handled))
                    {
                        self.held.insert(key, (conn.to_owned(), bytes));
                        return;
                    }
                }
                self.play(conn, &bytes, &at).await;
            }
        } else if let Some((handled_by, key)) = line.broadcast_handled() {
            if handled_by == self.name
                && let Some((conn, bytes)) = self.held.remove(key)
            {
                let key = key.to_owned();
                self.announcements_are_in(&at).await;
                self.play(&conn, &bytes, &at).await;
                self.broadcast_is_handled(&key, &at).await;
            }
        } else if of_ours && line.is_note("state") {
            self.wait_for(line).await;
            self.has_state(line, &at).await;
        } else if line.is_note(&format!("{} sends", self.name)) {
            self.wait_for(line).await;
            let to: PublicKey = line.to.as_deref().unwrap().parse().unwrap();
            let payload = hex::decode(line.payload.as_deref().unwrap()).unwrap();
            self.node.send_to(payload, &to).unwrap();
        } else if line.is_note(&format!("{} received", self.name)) {
            let received = tokio::time::timeout(LIMIT, self.node.recv_from()).await;
            let (payload, from) = received.expect(&at).unwrap();
            assert_eq!(from.to_string(), line.from.as_deref().unwrap(), "{at}");
            assert_eq!(
                hex::encode(&payload),
                line.payload.as_deref().unwrap(),
                "{at}"
            );
            // B sends back the payloads that it gets.
            if self.recording.name == "echo" && self.name == "B" {
                self.node.send_to(payload, &from).unwrap();
            }
        }
    }

    /// Sends the node under test the bytes that the other end of `conn` had sent.
    async fn play(&mut self, conn: &str, bytes: &[u8], at: &str) {
        let connection = self.connections.get_mut(conn).unwrap();
        connection.announced |= Class::of(bytes) == Class::Announcement;
        let write = connection.write.as_mut().expect("not cut");
        let written = write.write_all(bytes).await;
        written.unwrap_or_else(|e| panic!("{at}: {e}"));
    }

    /// Waits until the node under test knows the roots of all peers that announced one: later bytes on another
    /// connection must not overtake.
    async fn announcements_are_in(&self, at: &str) {
        let began = Instant::now();
        let announced = self
            .connections
            .values()
            .filter(|c| c.announced && c.write.is_some());
        let announced = announced.count();
        while (self.node.peers().await.unwrap().iter())
            .filter(|peer| peer.root.is_some())
            .count()
            < announced
        {
            assert!(began.elapsed() < LIMIT, "{at}: announcements are not in");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the node under test has reported a broadcast: later bytes on another connection must not overtake.
    async fn broadcast_is_handled(&mut self, key: &str, at: &str) {
        let told = async {
            while let Some(event) = self.events.next().await {
                if matches!(event, Event::BroadcastReceived { key: of, .. } if of.to_string() == key)
                {
                    return;
                }
            }
            panic!("{at}: no more events");
        };
        let told = tokio::time::timeout(LIMIT, told).await;
        told.unwrap_or_else(|_| panic!("{at}: the broadcast of {key} is not told of"));
    }

    /// Connects, unless that has been done.
    async fn connect_if_not(&mut self, conn: &str, line: &Line, at: &str) {
        if !self.connections.contains_key(conn) {
            self.wait_for(line).await;
            self.sent_what_is_due(at).await;
            self.connect(conn).await;
        }
    }

    /// Waits for a line's time.
    async fn wait_for(&self, line: &Line) {
        tokio::time::sleep_until((self.start + line.at()).into()).await;
    }

    /// Waits until the node under test has sent as many frames as the recorded one had. The replay waits meanwhile.
    async fn sent_what_is_due(&mut self, at: &str) {
        let began = Instant::now();
        for (conn, due) in &self.due {
            let sent = &self.connections[conn].sent;
            let fixed = || {
                let sent = sent.lock().unwrap();
                sent.iter().filter(|f| Class::of(f).is_fixed()).count()
            };
            while fixed() < *due {
                assert!(
                    began.elapsed() < LIMIT,
                    "{at}: {} of {due} frames sent on {conn}: {:#?}",
                    fixed(),
                    sent.lock()
                        .unwrap()
                        .iter()
                        .map(hex::encode)
                        .collect::<Vec<_>>()
                );
                tokio::time::sleep(LOOK).await;
            }
        }
        self.start += began.elapsed();
    }

    /// Connects in the place of the other end. The bytes are the same, whichever end dialled.
    async fn connect(&mut self, conn: &str) {
        let mut stream = TcpStream::connect(self.node.local_addrs()[0])
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        let handshakes = (self.recording.lines.iter()).filter(|line| {
            line.conn.as_deref() == Some(conn) && line.what.as_deref() == Some("handshake")
        });
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for line in handshakes {
            match line.direction().unwrap().0 == self.name {
                true => ours = line.bytes().unwrap(),
                false => theirs = line.bytes().unwrap(),
            }
        }
        stream.write_all(&theirs).await.unwrap();
        let mut got = [0; HANDSHAKE_LEN];
        stream.read_exact(&mut got).await.unwrap();
        // In the bytes that the protocol leaves unused, and that are signed with the rest, the node under test offers
        // to correct paths. The other bytes are as recorded.
        let offered = handshake::decode(&got).unwrap().extensions;
        assert_eq!(offered, Extensions::BREAK_NOTICES, "handshake on {conn}");
        let used = |bytes: &[u8]| [&bytes[..1], &bytes[4..40]].map(hex::encode);
        assert_eq!(used(&got), used(&ours), "handshake on {conn}");
        let port = self.recording.port_of(self.name, conn);
        let began = Instant::now();
        while self
            .node
            .peers()
            .await
            .unwrap()
            .iter()
            .all(|peer| peer.port.0 != port)
        {
            assert!(began.elapsed() < LIMIT, "{conn} is not on port {port}");
            tokio::time::sleep(LOOK).await;
        }
        let (read, write) = stream.into_split();
        let sent = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(read_frames(read, sent.clone()));
        let connection = Connection {
            write: Some(write),
            announced: false,
            sent,
        };
        self.connections.insert(conn.to_owned(), connection);
    }

    async fn cut(&mut self, conn: &str) {
        let port = self.recording.port_of(self.name, conn);
        drop(self.connections.get_mut(conn).unwrap().write.take());
        let began = Instant::now();
        while self
            .node
            .peers()
            .await
            .unwrap()
            .iter()
            .any(|peer| peer.port.0 == port)
        {
            assert!(began.elapsed() < LIMIT, "{conn} is still up");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the node under test is in the state that the recorded one was in.
    async fn has_state(&self, line: &Line, at: &str) {
        let root = line.root.clone().unwrap();
        let paths = line.snek_paths.clone().unwrap_or_default();
        let wanted = (
            line.coords.clone().unwrap_or_default(),
            root,
            line.root_sequence,
            line.parent_port,
            line.descending.clone(),
            paths.len(),
        );
        let began = Instant::now();
        loop {
            let status = self.node.status().await.unwrap();
            let parent = status.parent;
            let parent_port = status.peers.iter().find(|peer| Some(peer.key) == parent);
            let state = (
                status.coordinates.ports().to_vec(),
                status.root.to_string(),
                Some(status.root_sequence),
                parent_port.map(|peer| peer.port.0),
                status.descending.map(|key| key.to_string()),
                status.routes,
            );
            if state == wanted {
                return;
            }
            assert!(
                began.elapsed() < LIMIT,
                "{at}: is {state:?}, was {wanted:?}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn read_frames(mut read: OwnedReadHalf, sent: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut buffer = Vec::new();
    loop {
        while let Split::Frame(header) = split(&buffer).unwrap() {
            let frame = buffer.drain(..usize::from(header.len)).collect();
            sent.lock().unwrap().push(frame);
        }
        match read.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
