//! Traffic that the node itself sends and receives.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pinecone_controlplane::CoordinateCache;
use pinecone_dataplane::{DataPlane, Delivery, LocalFrame, PortId};
use pinecone_fib::{FibReader, NextHop, Snapshot};
use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::frame::HEADER_LEN;
use pinecone_wire::ping::{Ping, PingType};
use pinecone_wire::traffic::push_traffic_head;
use pinecone_wire::{
    Coordinates, MAX_FRAME_LEN, PublicKey, TrafficFields, TrafficLayout, Watermark, varu64,
};
use tokio::sync::{Notify, mpsc};

use crate::clock::Clock;
use crate::joining::Joining;
use crate::pending_pings::PendingPings;
use crate::unanswered::Unanswered;
use crate::{Closed, Counter, Payload, ReceiveFor, ReceiveQueue, Received, SendError};

/// The hop limit of frames that the node sends (protocol section 7).
const HOP_LIMIT: u8 = 10;
/// Room for the bytes before the payload, unless there are many coordinates.
const HEAD_ROOM: usize = 256;
/// The largest watermark sequence that a frame reserves room for: Unix milliseconds until the year
/// 2109.
const WATERMARK_SEQUENCE_ROOM: u64 = (1 << 42) - 1;

/// The local end of a node's traffic.
pub(crate) struct Local {
    own: PublicKey,
    clock: Clock,
    /// Weak, because the data plane holds a reference to this.
    dataplane: OnceLock<Weak<DataPlane>>,
    closed: AtomicBool,
    /// The coordinates of this node and of others.
    places: Mutex<Places>,
    pub(crate) pings: PendingPings,
    pub(crate) joining: Joining,
    inbox: mpsc::Sender<Received>,
    /// Wakes all who wait for a payload when one has arrived: if only one were woken, and it did not take the payload,
    /// the others would wait on.
    pub(crate) arrived: Notify,
    /// Bytes of payload in the inbox.
    inbox_bytes: AtomicUsize,
    receive_for: ReceiveFor,
    inbox_frames_limit: usize,
    inbox_bytes_limit: usize,
    received: AtomicU64,
    inbox_full: AtomicU64,
    pings_answered: AtomicU64,
    answers_not_sent: AtomicU64,
    unreachable: AtomicU64,
    for_other_keys: AtomicU64,
}

struct Places {
    fib: FibReader,
    cache: CoordinateCache,
    unanswered: Unanswered,
}

impl Local {
    pub(crate) fn new(
        own: PublicKey,
        clock: Clock,
        fib: FibReader,
        queue: ReceiveQueue,
        receive_for: ReceiveFor,
        max_coordinates: usize,
        first_nonce: u64,
    ) -> (Self, mpsc::Receiver<Received>) {
        let (inbox, receiver) = mpsc::channel(queue.payloads.clamp(1, mpsc_limit()));
        let local = Self {
            own,
            clock,
            dataplane: OnceLock::new(),
            closed: AtomicBool::new(false),
            places: Mutex::new(Places {
                fib,
                cache: CoordinateCache::new(max_coordinates),
                unanswered: Unanswered::default(),
            }),
            pings: PendingPings::new(first_nonce),
            joining: Joining::default(),
            inbox,
            arrived: Notify::new(),
            inbox_bytes: AtomicUsize::new(0),
            receive_for,
            inbox_frames_limit: queue.payloads,
            inbox_bytes_limit: queue.bytes,
            received: AtomicU64::new(0),
            inbox_full: AtomicU64::new(0),
            pings_answered: AtomicU64::new(0),
            answers_not_sent: AtomicU64::new(0),
            unreachable: AtomicU64::new(0),
            for_other_keys: AtomicU64::new(0),
        };
        (local, receiver)
    }

    /// Sets the data plane, once it exists.
    pub(crate) fn attach(&self, dataplane: Weak<DataPlane>) {
        // Called once, by the thread that starts the node.
        let _ = self.dataplane.set(dataplane);
    }

    /// Stops sending.
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Forgets all coordinates, which belong to the tree of another root.
    pub(crate) fn forget_places(&self) {
        self.places().cache.clear();
    }

    /// Records that a payload has left the inbox, which makes room for others.
    pub(crate) fn taken(&self, payload: &Bytes) {
        self.inbox_bytes.fetch_sub(payload.len(), Relaxed);
    }

    pub(crate) fn max_payload(&self) -> usize {
        max_payload(
            &Coordinates::default(),
            self.places().fib.load().coordinates(),
        )
    }

    pub(crate) fn send_to(&self, payload: Payload<'_>, key: &PublicKey) -> Result<(), SendError> {
        if self.closed.load(Relaxed) {
            return Err(Closed::default().into());
        }
        let len = payload.as_slice().len();
        let is_split = len >= LocalFrame::SPLIT_FROM;
        let (mut frame, egress) = {
            let mut places = self.places();
            let now = self.clock.now();
            let known = (places.cache.get(now, key))
                .filter(|_| places.unanswered.sending(now.monotonic, key));
            places.cache.sent_to(now, key);
            let fib = places.fib.load();
            let source = fib.coordinates();
            let destination = usable(known, source, len);
            let max = max_payload(&destination, source);
            if len > max {
                return Err(SendError::TooLong { len, max });
            }
            let room = if is_split { 0 } else { len };
            let mut frame = Vec::with_capacity(HEAD_ROOM + room);
            let fields = TrafficFields {
                extra: 0,
                hop_limit: HOP_LIMIT,
                destination: &destination,
                source,
                destination_key: *key,
                source_key: self.own,
                watermark: Watermark::START,
                payload: payload.as_slice(),
            };
            push_traffic_head(&mut frame, &fields).map_err(|_| SendError::TooLong { len, max })?;
            let egress = TrafficLayout::parse_head(&frame)
                .ok()
                .and_then(|(layout, _)| first_hop(fib, layout.destination(&frame), key));
            (frame, egress)
        };
        if *key == self.own {
            // If the receive queue is full, the payload is dropped and counted like others.
            self.receive(self.own, key, CoordinatesView::EMPTY, payload);
            return Ok(());
        }
        let frame = match is_split {
            true => LocalFrame::split(frame, payload.into_bytes()),
            false => {
                frame.extend_from_slice(payload.as_slice());
                frame.into()
            }
        };
        let dataplane = self.dataplane.get().and_then(Weak::upgrade);
        match dataplane.ok_or_else(Closed::default)?.inject(frame, egress) {
            true => Ok(()),
            false => Err(SendError::Full),
        }
    }

    /// Returns ready when the first hop to a key takes a payload of any length.
    pub(crate) fn poll_send_ready(
        &self,
        key: &PublicKey,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        if self.closed.load(Relaxed) {
            return Poll::Ready(Err(Closed::default()));
        }
        if *key == self.own {
            return Poll::Ready(Ok(()));
        }
        let Some(dataplane) = self.dataplane.get().and_then(Weak::upgrade) else {
            return Poll::Ready(Err(Closed::default()));
        };
        let [short, long] = {
            let mut places = self.places();
            let now = self.clock.now();
            let known = (places.cache.get(now, key))
                .filter(|_| places.unanswered.may_use(now.monotonic, key));
            let fib = places.fib.load();
            let source = fib.coordinates();
            // The length of a payload can decide how it is routed.
            [0, max_payload(&Coordinates::default(), source)].map(|len| {
                let mut encoded = Vec::new();
                usable(known.clone(), source, len).push_body(&mut encoded);
                let destination = CoordinatesView::new(&encoded).unwrap_or(CoordinatesView::EMPTY);
                first_hop(fib, destination, key)
            })
        };
        ready!(dataplane.poll_room(short, context));
        if long != short {
            ready!(dataplane.poll_room(long, context));
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn counters(&self) -> Vec<Counter> {
        let mut counters: Vec<_> = [
            ("received_payloads", &self.received),
            ("receive_queue_full", &self.inbox_full),
            ("pings_answered", &self.pings_answered),
            ("ping_answers_not_sent", &self.answers_not_sent),
            ("unreachable", &self.unreachable),
            ("payloads_for_other_keys", &self.for_other_keys),
        ]
        .map(|(name, value)| Counter {
            name,
            value: value.load(Relaxed),
        })
        .into();
        if let Some(dataplane) = self.dataplane.get().and_then(Weak::upgrade) {
            counters.push(Counter {
                name: "local_sends_dropped",
                value: dataplane.local_drops(),
            });
        }
        let places = self.places();
        let cached = [
            ("coordinates_refused", places.cache.refused()),
            ("coordinates_evicted", places.cache.evicted()),
        ];
        counters.extend(cached.map(|(name, value)| Counter { name, value }));
        counters
    }

    /// Puts a payload into the inbox. Returns false if it is dropped.
    fn receive(
        &self,
        source: PublicKey,
        destination: &PublicKey,
        source_coordinates: CoordinatesView<'_>,
        payload: Payload<'_>,
    ) -> bool {
        let for_us = *destination == self.own;
        if for_us && source != self.own {
            let now = self.clock.now();
            let mut places = self.places();
            places.unanswered.heard(&source);
            if !source_coordinates.is_empty() {
                places.cache.insert(now, source, source_coordinates.into());
            }
        }
        if let Some(ping) = Ping::decode(payload.as_slice()) {
            return for_us && self.handle_ping(&ping);
        }
        if !for_us && self.receive_for == ReceiveFor::OwnKey {
            self.for_other_keys.fetch_add(1, Relaxed);
            return false;
        }
        self.enqueue(source, *destination, payload)
    }

    /// Answers a ping that asks this node, and hands a pong to the caller that waits for it. Returns
    /// false for pings and pongs of other nodes.
    fn handle_ping(&self, ping: &Ping<'_>) -> bool {
        match ping.kind {
            PingType::Ping if ping.destination == self.own => {
                let counter = match self.send_to(ping.pong().encode().into(), &ping.origin) {
                    Ok(()) => &self.pings_answered,
                    Err(_) => &self.answers_not_sent,
                };
                counter.fetch_add(1, Relaxed);
                true
            }
            PingType::Pong if ping.origin == self.own => {
                if let Some(nonce) = ping.data.first_chunk() {
                    let nonce = u64::from_be_bytes(*nonce);
                    self.pings.answered(&ping.destination, nonce, ping.hops);
                }
                true
            }
            PingType::Ping | PingType::Pong => false,
        }
    }

    fn enqueue(&self, source: PublicKey, destination: PublicKey, payload: Payload<'_>) -> bool {
        let len = payload.as_slice().len();
        let before = self.inbox_bytes.fetch_add(len, Relaxed);
        let fits =
            self.inbox_frames_limit > 0 && before.saturating_add(len) <= self.inbox_bytes_limit;
        let received = || Received {
            source,
            destination,
            payload: payload.into_bytes(),
        };
        let taken = fits && self.inbox.try_send(received()).is_ok();
        if taken {
            self.received.fetch_add(1, Relaxed);
            self.arrived.notify_waiters();
        } else {
            self.inbox_bytes.fetch_sub(len, Relaxed);
            self.inbox_full.fetch_add(1, Relaxed);
        }
        taken
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery for Local {
    fn deliver(&self, ingress: PortId, frame: &[u8], layout: &TrafficLayout) -> bool {
        let destination = layout.destination_key(frame);
        if ingress == PortId::LOCAL && destination != self.own {
            // The frame is this node's own, and no known node is nearer to its destination.
            self.unreachable.fetch_add(1, Relaxed);
            return false;
        }
        self.receive(
            layout.source_key(frame),
            &destination,
            layout.source(frame),
            layout.payload(frame).into(),
        )
    }
}

/// Returns the coordinates to which a payload of `len` bytes is sent, given those of its destination. If they are
/// empty, it is routed by SNEK.
fn usable(known: Option<Coordinates>, source: &Coordinates, len: usize) -> Coordinates {
    // Coordinates are unverified: long ones must not keep a payload from being sent.
    let fitting = known.filter(|coordinates| len <= max_payload(coordinates, source));
    fitting.unwrap_or_default()
}

/// Returns the port that a frame of this node is sent on.
fn first_hop(fib: &Snapshot, destination: CoordinatesView<'_>, key: &PublicKey) -> Option<PortId> {
    let by_tree = match destination.is_empty() {
        true => NextHop::None,
        false => fib.tree(PortId::LOCAL, destination),
    };
    match by_tree {
        NextHop::Port(port) => Some(port),
        NextHop::Local | NextHop::None => match fib.snek(key, &Watermark::START).next {
            NextHop::Port(port) => Some(port),
            NextHop::Local | NextHop::None => None,
        },
    }
}

/// Returns the length of the longest payload that reaches its destination, both with coordinates and
/// after a node on the way has replaced them by a watermark: a frame that grows beyond 65,535 bytes is
/// dropped.
fn max_payload(destination: &Coordinates, source: &Coordinates) -> usize {
    let watermark = PublicKey::LEN + varu64::len(WATERMARK_SEQUENCE_ROOM);
    let head = HEADER_LEN
        + 2
        + (2 + 2 + source.encoded_len())
        + 2 * PublicKey::LEN
        + destination.encoded_len().max(watermark);
    MAX_FRAME_LEN.saturating_sub(head)
}

const fn mpsc_limit() -> usize {
    tokio::sync::Semaphore::MAX_PERMITS
}
