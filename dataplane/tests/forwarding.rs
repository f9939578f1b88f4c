//! Forwarding by real workers on real sockets, with each engine: frames leave on the right port, unchanged.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[macro_use]
mod rig;

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use pinecone_dataplane::{DropReason, LocalFrame, PortId, Report};
use pinecone_wire::frame::KEEPALIVE;
use pinecone_wire::{Coordinates, PublicKey, TrafficLayout, Watermark};
use proptest::prelude::*;
use rig::{Rig, Setting, key, payload, read_frame, traffic, traffic_to};

const KEY: PublicKey = key(0x77);

with_every_engine! {
    frames_of_all_sizes_arrive_in_order_and_unchanged
    running_out_of_receive_buffers_loses_nothing
    more_egress_ports_than_one_iteration_has_memory_for
    a_byte_at_a_time_is_as_good_as_any
    a_watermark_that_changes_length_is_written
    frames_are_dropped_for_the_stated_reasons
    frames_that_would_be_dropped_find_another_way
    frames_for_this_node_are_delivered_and_injected_ones_are_routed
    payloads_apart_change_no_byte
    filters_see_whole_frames
    pings_count_the_nodes_they_pass
    a_slow_reader_gets_whole_frames_with_the_oldest_missing
    ports_come_and_go_under_load
    any_cut_of_the_stream_gives_the_same_frames
}

with_options! {
    uring_spinning, Uring, |options| options.busy_poll = Some(std::time::Duration::from_micros(100)),
    frames_of_all_sizes_arrive_in_order_and_unchanged
    running_out_of_receive_buffers_loses_nothing
    frames_for_this_node_are_delivered_and_injected_ones_are_routed
    a_slow_reader_gets_whole_frames_with_the_oldest_missing
    ports_come_and_go_under_load
}

with_options! {
    uring_polled_by_the_kernel, Uring, |options| options.sqpoll = Some(crate::rig::usable_core()),
    frames_of_all_sizes_arrive_in_order_and_unchanged
    running_out_of_receive_buffers_loses_nothing
    more_egress_ports_than_one_iteration_has_memory_for
    a_watermark_that_changes_length_is_written
    frames_for_this_node_are_delivered_and_injected_ones_are_routed
    a_slow_reader_gets_whole_frames_with_the_oldest_missing
    ports_come_and_go_under_load
}

// Sends without a copy do not work on Unix sockets, but the port must work nevertheless.
with_options! {
    uring_without_copies, Uring, |options| options.zero_copy = Some(1),
    a_slow_reader_gets_whole_frames_with_the_oldest_missing
    ports_come_and_go_under_load
}

with_options! {
    epoll_spinning, Epoll, |options| options.busy_poll = Some(std::time::Duration::from_micros(100)),
    frames_of_all_sizes_arrive_in_order_and_unchanged
    frames_for_this_node_are_delivered_and_injected_ones_are_routed
    a_slow_reader_gets_whole_frames_with_the_oldest_missing
}

fn frames_of_all_sizes_arrive_in_order_and_unchanged(engine: Setting) {
    for (workers, baseline) in [(1, false), (1, true), (2, false)] {
        let mut rig = Rig::with(engine, workers, |options| {
            // The queue has room for all frames, so that none is dropped, however slow the reader is.
            options.port_queue_bytes = 64 << 20;
            options.baseline = baseline;
        });
        let (mut a, mut b) = (rig.port(1), rig.port(2));
        rig.route(KEY, 2, 7);
        let sizes = [
            0, 1, 64, 512, 1200, 2047, 2048, 5000, 8192, 30_000, 60_000, 65_000,
        ];
        // Less than 4 MiB, as much as may wait for a worker that does not run for a while.
        let frames: Vec<_> = (0..240)
            .map(|i| traffic(KEY, 7, &payload(i, sizes[i % sizes.len()])))
            .collect();
        let sent = frames.concat();
        let writer = std::thread::spawn(move || a.write_all(&sent).map(|()| a));
        for (i, expected) in frames.iter().enumerate() {
            assert_eq!(
                read_frame(&mut b),
                *expected,
                "frame {i} with {workers} workers"
            );
        }
        let _a = writer.join().unwrap().unwrap();
        rig.wait_until_balanced();
        let (from, to) = (rig.counters(1), rig.counters(2));
        assert_eq!((from.rx_traffic_frames, to.tx_traffic_frames), (240, 240));
        assert_eq!(from.rx_traffic_bytes, to.tx_traffic_bytes);
        assert_eq!(from.total_dropped() + to.total_dropped(), 0);
    }
}

fn running_out_of_receive_buffers_loses_nothing(engine: Setting) {
    let mut rig = Rig::with(engine, 1, |options| {
        options.receive_buffers = 2;
        options.port_queue_bytes = 64 << 20;
    });
    let mut inputs: Vec<_> = (10..20).map(|p| rig.port(p)).collect();
    let mut b = rig.port(2);
    rig.route(KEY, 2, 7);
    let writers: Vec<_> = (inputs.drain(..))
        .map(|mut a| {
            std::thread::spawn(move || {
                (0..200).for_each(|i| a.write_all(&traffic(KEY, 7, &payload(i, 9000))).unwrap());
                a
            })
        })
        .collect();
    for _ in 0..2000 {
        let frame = read_frame(&mut b);
        assert_eq!(frame, traffic(KEY, 7, &payload(rig::number(&frame), 9000)));
    }
    let _ends: Vec<_> = writers.into_iter().map(|w| w.join().unwrap()).collect();
    assert!(rig.plane().worker_stats()[0].out_of_buffers > 0);
    assert_eq!(rig.total().total_dropped(), 0);
}

fn more_egress_ports_than_one_iteration_has_memory_for(engine: Setting) {
    const OUTPUTS: usize = 140;
    const FRAMES: usize = 150;
    let mut rig = Rig::with(engine, 1, |options| options.port_queue_bytes = 64 << 20);
    let mut inputs: Vec<_> = (200..204).map(|port| rig.port(port)).collect();
    let outputs: Vec<_> = (1..=OUTPUTS as u32).map(|port| rig.port(port)).collect();
    let to = |input: usize, output: usize| {
        let mut key = key(0x77);
        key.0[30..].copy_from_slice(&[input as u8, output as u8]);
        key
    };
    for (input, output) in (0..4).flat_map(|i| (0..OUTPUTS).map(move |o| (i, o))) {
        rig.route(to(input, output), output as u32 + 1, 7);
    }
    // Adjacent frames have different egress ports, so that each port gathers its own.
    let writers: Vec<_> = (inputs.drain(..).enumerate())
        .map(|(input, mut end)| {
            std::thread::spawn(move || {
                for number in 0..FRAMES {
                    let all =
                        (0..OUTPUTS).map(|o| traffic(to(input, o), 7, &payload(number, 100 + o)));
                    end.write_all(&all.collect::<Vec<_>>().concat()).unwrap();
                }
                end
            })
        })
        .collect();
    let readers: Vec<_> = (outputs.into_iter().enumerate())
        .map(|(output, mut end)| {
            std::thread::spawn(move || {
                let mut next = [0; 4];
                for _ in 0..4 * FRAMES {
                    let frame = read_frame(&mut end);
                    let input = (0..4).find(|&i| {
                        frame == traffic(to(i, output), 7, &payload(next[i], 100 + output))
                    });
                    next[input.expect("the next frame of some input")] += 1;
                }
                end
            })
        })
        .collect();
    let _ends: Vec<_> = (writers.into_iter().chain(readers))
        .map(|t| t.join().unwrap())
        .collect();
    assert_eq!(rig.total().total_dropped(), 0);
}

fn a_byte_at_a_time_is_as_good_as_any(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(KEY, 2, 7);
    for i in 0..5 {
        let frame = traffic(KEY, 7, &payload(i, 300));
        for byte in &frame {
            a.write_all(&[*byte]).unwrap();
        }
        assert_eq!(read_frame(&mut b), frame);
    }
}

fn a_watermark_that_changes_length_is_written(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(KEY, 2, 1_795_357_650_878);
    for size in [0, 10, 3000, 65_330] {
        // From the start watermark (one byte of sequence), the frame grows by five bytes.
        a.write_all(&rig::traffic_with(KEY, Watermark::START, &payload(1, size)))
            .unwrap();
        assert_eq!(
            read_frame(&mut b),
            traffic(KEY, 1_795_357_650_878, &payload(1, size))
        );
    }
    // If its destination coordinates lead nowhere, it may shrink.
    let lost = traffic_to(
        KEY,
        &Coordinates::from(vec![1u64 << 60; 12]),
        &payload(1, 100),
    );
    a.write_all(&lost).unwrap();
    assert_eq!(
        read_frame(&mut b),
        traffic(KEY, 1_795_357_650_878, &payload(1, 100))
    );
    // The next hop by key may be the peer that the coordinates led here from.
    b.write_all(&lost).unwrap();
    assert_eq!(
        read_frame(&mut b),
        traffic(KEY, 1_795_357_650_878, &payload(1, 100))
    );
    // A frame that would exceed 65,535 bytes is dropped.
    let full = rig::traffic_with(
        KEY,
        Watermark::START,
        &payload(1, 65_535 - 10 - 2 - 4 - 64 - 33),
    );
    assert_eq!(full.len(), 65_535);
    a.write_all(&full).unwrap();
    rig.wait_for(|r| r.counters(1).dropped(DropReason::TooLong) == 1);
}

fn frames_are_dropped_for_the_stated_reasons(engine: Setting) {
    let mut rig = Rig::with(engine, 1, |options| options.hop_limiting = true);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(KEY, 2, 7);
    rig.route(key(0x66), 1, 7);
    // The next hop is the ingress port.
    a.write_all(&traffic(key(0x66), 7, b"x")).unwrap();
    // The route is older than the frame's progress, so no key is closer than this node's.
    a.write_all(&rig::traffic_with(
        KEY,
        Watermark {
            key: KEY,
            sequence: 9,
        },
        b"x",
    ))
    .unwrap();
    let mut spent = traffic(KEY, 7, b"x");
    pinecone_wire::traffic::set_hop_limit(&mut spent, 1);
    a.write_all(&spent).unwrap();
    let mut unknown = KEEPALIVE;
    unknown[5] = 9;
    a.write_all(&unknown).unwrap();
    let mut good = traffic(KEY, 7, b"good");
    pinecone_wire::traffic::set_hop_limit(&mut good, 9);
    a.write_all(&good).unwrap();
    pinecone_wire::traffic::set_hop_limit(&mut good, 8);
    assert_eq!(read_frame(&mut b), good);
    let counters = rig.counters(1);
    assert_eq!(counters.dropped(DropReason::Backwards), 1);
    assert_eq!(counters.dropped(DropReason::HopLimit), 1);
    assert_eq!(counters.dropped(DropReason::UnknownType), 1);
    assert_eq!(rig.delivered().len(), 1);
}

fn frames_that_would_be_dropped_find_another_way(engine: Setting) {
    let mut rig = Rig::with(engine, 1, |options| options.hop_limiting = true);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    // The ingress port leads to the lower key, and another port to the next one. Its sequence is longer.
    let (near, far) = (key(0x33), key(0x34));
    rig.route(near, 1, 7);
    rig.route(far, 2, 1_795_357_650_878);
    let limited = |mut frame: Vec<u8>, limit| {
        pinecone_wire::traffic::set_hop_limit(&mut frame, limit);
        frame
    };
    let sent = |watermark, limit| limited(rig::traffic_with(near, watermark, b"round"), limit);
    let to = |key, sequence| Watermark { key, sequence };
    a.write_all(&sent(Watermark::START, 9)).unwrap();
    assert_eq!(read_frame(&mut b), sent(to(far, 1_795_357_650_878), 8));
    rig.wait_for(|r| r.counters(1).detoured_frames == 1);
    // No detour if it would undo the frame's progress.
    a.write_all(&sent(to(near, 7), 9)).unwrap();
    rig.wait_for(|r| r.counters(1).dropped(DropReason::Backwards) == 1);
    // The route that the frame follows has just expired.
    let gone = key(0x22);
    rig.route(gone, 2, 7);
    rig.expire(gone);
    let follows =
        |sequence, limit| limited(rig::traffic_with(gone, to(gone, sequence), b"on"), limit);
    a.write_all(&follows(6, 9)).unwrap();
    assert_eq!(read_frame(&mut b), follows(7, 8));
    rig.wait_for(|r| r.counters(1).expired_route_frames == 1);
    // No rescue backwards, along an older route than the frame follows, or beyond its hop limit.
    b.write_all(&follows(6, 9)).unwrap();
    a.write_all(&follows(8, 9)).unwrap();
    a.write_all(&follows(7, 1)).unwrap();
    rig.wait_for(|r| r.total().total_dropped() == 4);
    assert_eq!(rig.counters(1).dropped(DropReason::HopLimit), 1);
    let total = rig.total();
    assert_eq!((total.expired_route_frames, total.detoured_frames), (1, 1));
    assert_eq!(total.tx_traffic_frames, 2);
}

fn frames_for_this_node_are_delivered_and_injected_ones_are_routed(engine: Setting) {
    let mut rig = Rig::new(engine, 2);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(KEY, 2, 7);
    let ours = traffic(rig.own_key(), 3, b"for us");
    a.write_all(&ours).unwrap();
    rig.wait_for(|r| !r.delivered().is_empty());
    assert_eq!(rig.delivered(), [(PortId(1), ours)]);
    assert!(
        rig.plane()
            .inject(rig::traffic_with(KEY, Watermark::START, b"from us"), None)
    );
    assert_eq!(read_frame(&mut b), traffic(KEY, 7, b"from us"));
    let to_ourselves = traffic(rig.own_key(), 3, b"to ourselves");
    assert!(rig.plane().inject(to_ourselves.clone(), None));
    rig.wait_for(|r| r.delivered().len() == 2);
    assert_eq!(rig.delivered()[1], (PortId::LOCAL, to_ourselves));
    // A payload that lies apart, and one that is not as long as the head says.
    let split = traffic(rig.own_key(), 3, &payload(1, 5000));
    let short = LocalFrame::split(split[..split.len() - 5000].to_vec(), Bytes::new());
    assert!(rig.plane().inject(short, None));
    assert!(rig.plane().inject(apart(&split), None));
    rig.wait_for(|r| r.delivered().len() == 3);
    assert_eq!(rig.delivered()[2], (PortId::LOCAL, split));
}

/// Returns a frame for [`DataPlane::inject`](pinecone_dataplane::DataPlane::inject) whose payload lies apart.
fn apart(frame: &[u8]) -> LocalFrame {
    let layout = TrafficLayout::parse(frame).unwrap();
    let (head, payload) = frame.split_at(layout.payload_range().start);
    LocalFrame::split(head.to_vec(), Bytes::copy_from_slice(payload))
}

/// Frames of local origin leave as the same bytes whether their payloads lie apart or not: sent at once, from the queue
/// of a full socket, in several parts, or handed over to another worker.
fn payloads_apart_change_no_byte(engine: Setting) {
    let config = ProptestConfig {
        cases: 12,
        failure_persistence: None,
        // Each failure waits for bytes that do not arrive.
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    proptest!(config, |(
        frames in prop::collection::vec((0usize..60_000, any::<(bool, bool)>()), 1..120),
        reads in prop::collection::vec(1usize..100_000, 1..20),
        to in any::<u8>(),
        (direct, tcp) in any::<(bool, bool)>(),
    )| {
        let mut rig = Rig::with(engine, 2, |options| options.port_queue_bytes = 64 << 20);
        let mut end: Box<dyn Read + std::marker::Send> = match tcp {
            true => Box::new(rig.tcp_port(1)),
            false => Box::new(rig.port(1)),
        };
        let to = PublicKey([to; 32]);
        rig.route(to, 1, 1_700_000_000_000);
        let expected: Vec<_> = frames.iter().enumerate().flat_map(|(n, (len, _))| {
            traffic(to, 1_700_000_000_000, &payload(n, *len))
        }).collect();
        let total = expected.len();
        let reader = std::thread::spawn(move || {
            let (mut stream, mut reads) = (vec![0; total], reads.into_iter().cycle());
            let mut at = 0;
            while at < total {
                let len = reads.next().unwrap().min(total - at);
                end.read_exact(&mut stream[at..at + len]).unwrap();
                at += len;
            }
            (stream, end)
        });
        for (n, (len, (is_apart, coordinates))) in frames.into_iter().enumerate() {
            // Without a tree, frames with coordinates are routed by key. Their heads become shorter or longer.
            let frame = match coordinates {
                true => traffic_to(to, &Coordinates::from(vec![7; n]), &payload(n, len)),
                false => rig::traffic_with(to, Watermark::START, &payload(n, len)),
            };
            let egress = direct.then_some(PortId(1));
            rig.wait_for(|r| match is_apart {
                true => r.plane().inject(apart(&frame), egress),
                false => r.plane().inject(frame.clone(), egress),
            });
        }
        let (stream, _end) = reader.join().unwrap();
        prop_assert!(stream == expected);
        rig.wait_until_balanced();
        prop_assert_eq!(rig.total().total_dropped(), 0);
    });
}

fn filters_see_whole_frames(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let mut b = rig.port(2);
    rig.route(KEY, 2, 7);
    let [bad, good] = [1, 2].map(|n| rig::traffic_with(KEY, Watermark::START, &payload(n, 5000)));
    let refused = bad.clone();
    rig.filter(move |_, frame| frame.len() > 5000 && frame != refused);
    assert!(rig.plane().inject(apart(&bad), None));
    assert!(rig.plane().inject(apart(&good), None));
    assert_eq!(read_frame(&mut b), traffic(KEY, 7, &payload(2, 5000)));
    rig.wait_until_balanced();
    assert_eq!(rig.total().dropped(DropReason::Filter), 1);
}

fn pings_count_the_nodes_they_pass(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(KEY, 2, 7);
    let mut ping = pinecone_wire::ping::Ping {
        kind: pinecone_wire::ping::PingType::Ping,
        hops: 4,
        origin: key(1),
        destination: KEY,
        data: b"12345678",
    };
    a.write_all(&traffic(KEY, 7, &ping.encode())).unwrap();
    ping.hops = 5;
    assert_eq!(read_frame(&mut b), traffic(KEY, 7, &ping.encode()));
    let pong = traffic(KEY, 7, &ping.pong().encode());
    a.write_all(&pong).unwrap();
    assert_eq!(read_frame(&mut b), pong);
}

fn a_slow_reader_gets_whole_frames_with_the_oldest_missing(engine: Setting) {
    let mut rig = Rig::with(engine, 1, |options| options.port_queue_bytes = 256 << 10);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(KEY, 2, 7);
    let frames = 3000;
    for i in 0..frames {
        a.write_all(&traffic(KEY, 7, &payload(i, 3000))).unwrap();
    }
    rig.wait_for(|r| r.counters(1).rx_traffic_frames == frames as u64);
    let last = traffic(KEY, 7, &payload(frames - 1, 3000));
    let (mut got, mut previous) = (0u64, None);
    loop {
        let frame = read_frame(&mut b);
        let number = rig::number(&frame);
        assert_eq!(frame, traffic(KEY, 7, &payload(number, 3000)));
        assert!(previous.is_none_or(|p| p < number));
        previous = Some(number);
        got += 1;
        if frame == last {
            break;
        }
    }
    rig.wait_until_balanced();
    let to = rig.counters(2);
    assert_eq!((to.tx_traffic_frames, to.queued_frames), (got, 0));
    assert_eq!(to.dropped(DropReason::QueueFull), frames as u64 - got);
    assert!(got < frames as u64);
}

fn ports_come_and_go_under_load(engine: Setting) {
    let mut rig = Rig::with(engine, 2, |options| options.port_queue_bytes = 64 << 20);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(KEY, 2, 7);
    rig.route(key(0x78), 3, 7);
    let frames = 8_000;
    let writer = std::thread::spawn(move || {
        for i in 0..frames {
            a.write_all(&traffic(KEY, 7, &payload(i, 200))).unwrap();
            a.write_all(&traffic(key(0x78), 7, &payload(i, 2000)))
                .unwrap();
        }
        a
    });
    let reader = std::thread::spawn(move || {
        for i in 0..frames {
            assert_eq!(rig::number(&read_frame(&mut b)), i);
        }
        b
    });
    let mut rounds = 0;
    while !reader.is_finished() {
        let mut c = rig.port(3);
        // No frame arrives any more once all have been sent.
        c.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let _ = c.read(&mut [0; 3000]);
        drop(c);
        assert!(matches!(
            rig.report(),
            Report::Closed {
                port: PortId(3),
                ..
            }
        ));
        rounds += 1;
    }
    assert!(rounds > 0);
    let _ends = (writer.join().unwrap(), reader.join().unwrap());
    rig.wait_until_balanced();
    let total = rig.total();
    assert_eq!(total.rx_traffic_frames, 2 * frames as u64);
    assert_eq!(
        total.rx_traffic_frames,
        total.tx_traffic_frames + total.delivered_frames + total.total_dropped()
    );
}

fn any_cut_of_the_stream_gives_the_same_frames(engine: Setting) {
    let config = ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(
        sizes in prop::collection::vec(0usize..9000, 1..60),
        cuts in prop::collection::vec(1usize..20_000, 1..40),
        targets in prop::collection::vec(0usize..3, 60),
        workers in 1usize..3,
    )| {
        let mut rig = Rig::new(engine, workers);
        let mut a = rig.port(1);
        let keys = [key(0x71), key(0x72), key(0x73)];
        let mut ends: Vec<_> = (2..5).map(|p| rig.port(p)).collect();
        keys.iter().zip(2..).for_each(|(k, port)| rig.route(*k, port, 7));
        let mut expected = [Vec::new(), Vec::new(), Vec::new()];
        let mut stream = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            let frame = traffic(keys[targets[i]], 7, &payload(i, *size));
            stream.extend_from_slice(&frame);
            expected[targets[i]].push(frame);
        }
        let readers: Vec<_> = ends.drain(..).zip(expected).map(|(mut end, expected)| {
            std::thread::spawn(move || {
                for frame in expected {
                    assert_eq!(read_frame(&mut end), frame);
                }
                end
            })
        }).collect();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            a.write_all(now).unwrap();
            rest = later;
        }
        for reader in readers {
            prop_assert!(reader.join().is_ok(), "{:?} {:?}", rig.total(), rig.plane().worker_stats());
        }
    });
}
