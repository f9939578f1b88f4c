use bytes::Bytes;
use proptest::prelude::*;

use super::pacing::{DRAIN_MAX, DRAIN_MIN, UNSENT_MIN};
use super::watch::QUIET_MS;
use super::*;
use crate::buffer::Place;
use crate::{DataPlaneOptions, LinkType};

fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut bytes = b"pine\0\x03\0\0".to_vec();
    bytes.extend((len as u16).to_be_bytes());
    bytes.extend([0; 6]);
    bytes.resize(len - 4, 7);
    bytes.extend(number.to_be_bytes());
    bytes
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(*frame.last_chunk().unwrap())
}

struct Bench {
    port: Port,
    memory: IterationMemory,
    receive: ReceiveBuffers,
}

impl Bench {
    fn new(change: impl FnOnce(&mut DataPlaneOptions)) -> Self {
        let mut options = DataPlaneOptions::default();
        change(&mut options);
        let port = Port::new(
            PortId(1),
            PortOptions {
                link: LinkType::Remote,
                keepalives: true,
            },
            Arc::default(),
            Budget::new(0),
            &Limits::new(&options),
            0,
        );
        Self {
            port,
            memory: IterationMemory::default(),
            receive: ReceiveBuffers::new(2, 4096),
        }
    }

    /// Pushes a frame that has no neighbour in memory.
    fn push(&mut self, number: u32, len: usize) {
        let bytes = frame(number, len);
        let id = self.memory.own(bytes.clone());
        let burst = Burst {
            ingress: PortId(2),
            egress: PortId(1),
            frames: 1,
            head: &[],
            bytes: &bytes,
            place: Place::Owned(id),
            at: 0,
        };
        self.port.push_traffic(&burst, &mut self.memory, 0);
    }

    /// Pushes a frame whose payload, all bytes from `at` on, lies apart.
    fn push_split(&mut self, number: u32, len: usize, at: usize) -> Bytes {
        let bytes = frame(number, len);
        let (head, payload) = bytes.split_at(at);
        let payload = Bytes::copy_from_slice(payload);
        let id = self.memory.share(payload.clone());
        let burst = Burst {
            ingress: PortId(2),
            egress: PortId(1),
            frames: 1,
            head,
            bytes: &payload,
            place: Place::Shared(id),
            at: 0,
        };
        self.port.push_traffic(&burst, &mut self.memory, 0);
        payload
    }

    /// Lets the socket take up to `room` bytes of the next send. Returns these bytes.
    fn send(&mut self, room: usize) -> Option<Vec<u8>> {
        let outgoing = match self.port.next_send(0)? {
            Send::Inline(outgoing) | Send::Drain(outgoing) => outgoing,
        };
        let owned = outgoing.owned.iter().map(|f| &f[..]);
        let segments = outgoing.segments.iter();
        let segments = segments.map(|s| self.memory.bytes(s, &self.receive));
        let mut bytes: Vec<u8> = owned.chain(segments).flatten().copied().collect();
        assert!(outgoing.owned.len() + outgoing.segments.len() <= MAX_PIECES);
        bytes.drain(..outgoing.skip);
        bytes.truncate(room);
        (self.port).sent(outgoing, bytes.len(), 0, &self.memory, &self.receive);
        Some(bytes)
    }

    fn numbers(mut stream: &[u8]) -> Vec<u32> {
        let mut all = Vec::new();
        while !stream.is_empty() {
            let len = usize::from(u16::from_be_bytes([stream[8], stream[9]]));
            let (frame, rest) = stream.split_at(len);
            all.push(number(frame));
            stream = rest;
        }
        all
    }
}

#[test]
fn order_holds_whatever_the_socket_takes() {
    // More frames than one send takes: some too long to be gathered, and short ones between them.
    for (room, frames) in [
        (usize::MAX, 3000),
        (0, 3000),
        (12_345, 3000),
        (2_100_007, 2000),
    ] {
        let mut bench = Bench::new(|options| options.port_queue_bytes = 64 << 20);
        for n in 0..frames {
            bench.push(n, if n % 7 == 0 { 90 } else { 2100 });
        }
        let mut stream = bench.send(room).unwrap();
        for n in frames..frames + 10 {
            bench.push(n, 100);
        }
        while let Some(bytes) = bench.send(700_000) {
            stream.extend(bytes);
        }
        assert_eq!(
            Bench::numbers(&stream),
            (0..frames + 10).collect::<Vec<_>>()
        );
        let counters = bench.port.counters.snapshot();
        assert_eq!(
            (counters.tx_traffic_frames, counters.queued_frames),
            (u64::from(frames) + 10, 0)
        );
        assert_eq!(bench.port.total.bytes(), 0);
    }
}

#[test]
fn a_long_payload_is_sent_from_where_it_lies() {
    let mut bench = Bench::new(|_| {});
    let payload = bench.push_split(1, 5000, 150);
    let Some(Send::Inline(outgoing)) = bench.port.next_send(0) else {
        panic!("nothing to send");
    };
    let pieces: Vec<_> = (outgoing.segments.iter())
        .map(|segment| bench.memory.bytes(segment, &bench.receive).as_ptr_range())
        .collect();
    assert_eq!(pieces.len(), 2);
    assert_eq!(pieces[1], payload.as_ptr_range());
    assert!(!payload.is_unique());
    (bench.port).sent(outgoing, 5000, 0, &bench.memory, &bench.receive);
    bench.memory.clear();
    assert!(payload.is_unique(), "the iteration keeps it no longer");
}

proptest! {
    /// Payloads that lie apart change none of the bytes sent, whatever the socket takes at a time.
    #[test]
    fn payloads_apart_change_no_byte(
        steps in prop::collection::vec(
            prop::collection::vec((160usize..9000, prop::option::of(10usize..160)), 0..20), 1..20),
        rooms in prop::collection::vec(0usize..40_000, 1..20),
    ) {
        let [apart, whole] = [true, false].map(|apart| {
            let mut bench = Bench::new(|options| options.port_queue_bytes = 64 << 20);
            let (mut number, mut stream) = (0, Vec::new());
            let mut rooms = rooms.iter().cycle();
            for frames in &steps {
                for &(len, at) in frames {
                    match at.filter(|_| apart) {
                        Some(at) => drop(bench.push_split(number, len, at)),
                        None => bench.push(number, len),
                    }
                    number += 1;
                }
                stream.extend(bench.send(*rooms.next().unwrap()).unwrap_or_default());
            }
            while let Some(bytes) = bench.send(1 << 20) {
                stream.extend(bytes);
            }
            (stream, bench.port.counters.snapshot(), bench.port.total.bytes())
        });
        prop_assert_eq!(&apart, &whole);
        let sent = steps.iter().map(Vec::len).sum::<usize>() as u32;
        prop_assert_eq!(Bench::numbers(&apart.0), (0..sent).collect::<Vec<_>>());
    }
}

/// A send has at most about a thousand pieces. Frames that waited share pieces, or a port with small
/// frames would never catch up.
#[test]
fn small_frames_that_waited_share_pieces() {
    let mut bench = Bench::new(|_| {});
    bench.push(0, 100);
    let first = bench.port.next_send(0);
    (1..5000).for_each(|n| bench.push(n, if n % 100 == 0 { 3000 } else { 100 }));
    let Some(Send::Inline(first)) = first else {
        panic!("nothing to send");
    };
    bench
        .port
        .sent(first, 100, 0, &bench.memory, &bench.receive);
    bench.port.pacing.set_drain_limit(DRAIN_MAX);
    let Some(Send::Drain(drain)) = bench.port.next_send(0) else {
        panic!("nothing waits");
    };
    let bytes: usize = drain.owned.iter().map(|piece| piece.len()).sum();
    assert!(bytes >= DRAIN_MAX && drain.owned.len() < 150);
    // The send ends in the middle of the first long frame, behind 99 short ones.
    (bench.port).sent(drain, 12_345, 0, &bench.memory, &bench.receive);
    assert_eq!(bench.port.counters.snapshot().tx_traffic_frames, 1 + 99);
    let mut stream = Vec::new();
    while let Some(bytes) = bench.send(98_765) {
        stream.extend(bytes);
    }
    let rest = 99 * 100 + 3000 - 12_345;
    assert_eq!(
        Bench::numbers(&stream[rest..]),
        (101..5000).collect::<Vec<_>>()
    );
    let counters = bench.port.counters.snapshot();
    assert_eq!(
        (counters.tx_traffic_frames, counters.queued_frames),
        (5000, 0)
    );
    assert_eq!(bench.port.total.bytes(), 0);
}

#[test]
fn a_closed_port_accounts_for_all_it_had() {
    let mut bench = Bench::new(|_| {});
    (0..3000).for_each(|n| bench.push(n, 2100));
    let Some(Send::Inline(outgoing)) = bench.port.next_send(0) else {
        panic!("nothing to send");
    };
    bench.port.abandon(CloseReason::PeerClosed);
    (bench.port).sent(outgoing, 5000, 0, &bench.memory, &bench.receive);
    let counters = bench.port.counters.snapshot();
    assert_eq!((counters.tx_traffic_frames, counters.queued_frames), (2, 0));
    assert_eq!(counters.dropped(DropReason::PortClosed), 2998);
}

#[test]
fn protocol_frames_go_first() {
    let mut bench = Bench::new(|_| {});
    (0..10).for_each(|n| bench.push(n, 2100));
    // The socket takes half a frame; the rest of that one cannot be overtaken.
    let mut stream = bench.send(1000).unwrap();
    let mut protocol = frame(1000, 200);
    protocol[5] = 1;
    bench.port.push_protocol(protocol.into());
    while let Some(bytes) = bench.send(usize::MAX) {
        stream.extend(bytes);
    }
    let numbers = Bench::numbers(&stream);
    assert_eq!(numbers[..3], [0, 1000, 1]);
}

/// A drain can be neither overtaken nor dropped, so it must be small on a slow link.
#[test]
fn a_slow_link_gets_small_drains_and_recovers() {
    let mut bench = Bench::new(|options| options.queue_delay = None);
    bench.push(0, 1300);
    let first = bench.port.next_send(0);
    (1..3000).for_each(|n| bench.push(n, 1300));
    let Some(Send::Inline(first)) = first else {
        panic!("nothing to send");
    };
    (bench.port).sent(first, 1300, 0, &bench.memory, &bench.receive);
    let mut now = 0;
    // Makes a drain over a link that takes `rate` bytes in a millisecond. Returns its length.
    let mut drain = |bench: &mut Bench, rate: usize| {
        let Some(Send::Drain(drain)) = bench.port.next_send(now) else {
            panic!("nothing waits");
        };
        let bytes = drain.owned.iter().map(|piece| piece.len()).sum();
        now += (bytes / rate) as u64;
        (bench.port).sent(drain, bytes, now, &bench.memory, &bench.receive);
        bytes
    };
    // 64 kbit/s.
    drain(&mut bench, 8);
    let limit = bench.port.take_unsent_limit();
    assert_eq!(limit, Some(Some(UNSENT_MIN)));
    for _ in 0..5 {
        let bytes = drain(&mut bench, 8);
        assert!(bytes <= DRAIN_MIN + 1300, "{bytes}");
    }
    assert_eq!(bench.port.take_unsent_limit(), None);
    // A gigabit.
    let most = (0..12).map(|_| drain(&mut bench, 125_000)).max();
    assert!(most >= Some(DRAIN_MAX), "{most:?}");
    assert_eq!(bench.port.take_unsent_limit(), Some(None));
}

/// The keepalive reaches the peer even if the path swallows long packets.
#[test]
fn the_first_long_send_after_silence_goes_behind_a_keepalive() {
    let mut bench = Bench::new(|_| {});
    bench.push(0, 3000);
    assert!(
        !bench.port.needs_keepalive_first(QUIET_MS - 1)
            && bench.port.needs_keepalive_first(QUIET_MS)
    );
    // The socket takes a part of it. The rest is sent before all else.
    bench.port.keepalive_sent_first(4, QUIET_MS);
    assert!(!bench.port.needs_keepalive_first(QUIET_MS));
    let stream = bench.send(usize::MAX).unwrap();
    assert_eq!(stream[..6], KEEPALIVE[4..]);
    assert_eq!(Bench::numbers(&stream[6..]), [0]);
    let counters = bench.port.counters.snapshot();
    assert_eq!(
        (counters.tx_protocol_frames, counters.tx_traffic_frames),
        (1, 1)
    );
    // A short send needs none.
    bench.push(1, 100);
    assert!(!bench.port.needs_keepalive_first(60_000));
}

/// An announcement is not sent again, so the newest must not be dropped, and others only for the newest.
#[test]
fn too_many_protocol_frames_leave_announcements() {
    let mut bench = Bench::new(|options| options.port_protocol_bytes = 1000);
    let protocol = |kind: u8, n: u32| {
        let mut bytes = frame(n, 100);
        bytes[5] = kind;
        bytes.into_boxed_slice()
    };
    bench.port.push_protocol(protocol(1, 1));
    bench.port.push_protocol(protocol(1, 2));
    for n in 10..40 {
        bench.port.push_protocol(protocol(2, n));
    }
    let sent = |bench: &mut Bench| -> Vec<u32> {
        let bytes = bench.send(2000).unwrap();
        bytes.chunks(100).map(number).collect()
    };
    assert_eq!(sent(&mut bench), [1, 2, 32, 33, 34, 35, 36, 37, 38, 39]);
    for n in 1..20 {
        bench.port.push_protocol(protocol(1, n));
        bench.port.push_protocol(protocol(2, 100 + n));
    }
    assert!(sent(&mut bench).into_iter().eq(10..20));
    // Once they have been sent, all other frames are equal.
    for n in 50..70 {
        bench.port.push_protocol(protocol(2, n));
    }
    assert!(sent(&mut bench).into_iter().eq(60..70));
}
