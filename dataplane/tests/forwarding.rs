//! Real workers on real sockets: what goes in at one port comes out at the right other one, with
//! every engine alike.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod rig;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use pinecone_dataplane::{CloseReason, DropReason, PortId, Report};
use pinecone_wire::frame::{self, KEEPALIVE};
use pinecone_wire::{Coordinates, PublicKey, Watermark};
use proptest::prelude::*;
use rig::{Rig, Setting, key, payload, read_frame, traffic, traffic_to};

const KEY: PublicKey = key(0x77);

/// Makes a test of each function and engine.
macro_rules! with_every_engine {
    ($($test:ident)*) => {
        mod uring {
            $(#[test] fn $test() { super::$test(pinecone_dataplane::EngineChoice::Uring.into()) })*
        }
        mod epoll {
            $(#[test] fn $test() { super::$test(pinecone_dataplane::EngineChoice::Epoll.into()) })*
        }
    };
}

/// Makes a test of each function, with these options.
macro_rules! with_options {
    ($name:ident, $engine:ident, $change:expr, $($test:ident)*) => {
        mod $name {
            const SETTING: crate::rig::Setting = crate::rig::Setting {
                engine: pinecone_dataplane::EngineChoice::$engine,
                change: $change,
            };
            $(#[test] fn $test() { super::$test(SETTING) })*
        }
    };
}

with_every_engine! {
    frames_of_all_sizes_arrive_in_order_and_unchanged
    running_out_of_receive_buffers_loses_nothing
    more_ways_out_than_one_turn_has_memory_for
    a_byte_at_a_time_is_as_good_as_any
    a_watermark_that_changes_length_is_written
    frames_are_dropped_for_the_stated_reasons
    frames_that_would_be_dropped_find_another_way
    what_is_for_us_is_delivered_and_what_we_inject_is_routed
    pings_count_the_nodes_they_pass
    protocol_frames_are_reported_and_sent
    a_flood_of_protocol_frames_loses_its_own
    bad_bytes_close_their_own_port_only
    a_peer_that_vanishes_mid_frame_is_forgotten
    a_peer_that_stops_reading_costs_its_own_frames_and_is_closed
    a_slow_reader_gets_whole_frames_with_the_oldest_missing
    silence_is_answered_with_keepalives_and_ends_the_peering
    a_peer_that_sends_keepalives_lives
    a_peering_that_opens_on_an_idle_worker_has_timers
    a_frame_that_does_not_go_on_ends_the_peering
    a_peer_that_does_not_answer_is_reset
    ports_come_and_go_under_load
    the_filter_sees_frame_and_peer
    a_filter_that_panics_is_taken_out
    shutdown_closes_everything
    any_cut_of_the_stream_gives_the_same_frames
}

with_options! {
    uring_spinning, Uring, |options| options.busy_poll = Some(std::time::Duration::from_micros(100)),
    frames_of_all_sizes_arrive_in_order_and_unchanged
    running_out_of_receive_buffers_loses_nothing
    what_is_for_us_is_delivered_and_what_we_inject_is_routed
    protocol_frames_are_reported_and_sent
    a_slow_reader_gets_whole_frames_with_the_oldest_missing
    ports_come_and_go_under_load
    shutdown_closes_everything
}

with_options! {
    uring_polled_by_the_kernel, Uring, |options| options.sqpoll = Some(crate::rig::usable_core()),
    frames_of_all_sizes_arrive_in_order_and_unchanged
    running_out_of_receive_buffers_loses_nothing
    more_ways_out_than_one_turn_has_memory_for
    a_watermark_that_changes_length_is_written
    what_is_for_us_is_delivered_and_what_we_inject_is_routed
    a_peer_that_vanishes_mid_frame_is_forgotten
    a_slow_reader_gets_whole_frames_with_the_oldest_missing
    ports_come_and_go_under_load
    shutdown_closes_everything
}

// Unix sockets, for which it does not work, and which must do as well.
with_options! {
    uring_without_copies, Uring, |options| options.zero_copy = Some(1),
    a_slow_reader_gets_whole_frames_with_the_oldest_missing
    ports_come_and_go_under_load
}

with_options! {
    epoll_spinning, Epoll, |options| options.busy_poll = Some(std::time::Duration::from_micros(100)),
    frames_of_all_sizes_arrive_in_order_and_unchanged
    what_is_for_us_is_delivered_and_what_we_inject_is_routed
    a_slow_reader_gets_whole_frames_with_the_oldest_missing
    shutdown_closes_everything
}

fn frames_of_all_sizes_arrive_in_order_and_unchanged(engine: Setting) {
    for (workers, baseline) in [(1, false), (1, true), (2, false)] {
        let mut rig = Rig::with(engine, workers, |options| {
            // Room for all of it: nothing need be dropped, however slow the reader is.
            options.port_queue_bytes = 64 << 20;
            options.baseline = baseline;
        });
        let (mut a, mut b) = (rig.port(1), rig.port(2));
        rig.route(KEY, 2, 7);
        let sizes = [
            0, 1, 64, 512, 1200, 2047, 2048, 5000, 8192, 30_000, 60_000, 65_000,
        ];
        // Less than 4 MiB, which wait for a worker that is not run for a while.
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
        rig.settle();
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

fn more_ways_out_than_one_turn_has_memory_for(engine: Setting) {
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
    // Neighbours go different ways, so that each way out gathers its own.
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
        // From the start watermark (one byte of sequence) the frame grows by five.
        a.write_all(&rig::traffic_with(KEY, Watermark::START, &payload(1, size)))
            .unwrap();
        assert_eq!(
            read_frame(&mut b),
            traffic(KEY, 1_795_357_650_878, &payload(1, size))
        );
    }
    // From destination coordinates that lead nowhere it may shrink.
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
    // The way by key may be back where the coordinates came from.
    b.write_all(&lost).unwrap();
    assert_eq!(
        read_frame(&mut b),
        traffic(KEY, 1_795_357_650_878, &payload(1, 100))
    );
    // What would pass 65,535 bytes is dropped.
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
    // Back where it came from.
    a.write_all(&traffic(key(0x66), 7, b"x")).unwrap();
    // A route older than the frame's progress is no way on: nobody is closer than us.
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
    // The lower key lies where the frame comes from, the next one another way. Its sequence is longer.
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
    // Not if that would undo its progress.
    a.write_all(&sent(to(near, 7), 9)).unwrap();
    rig.wait_for(|r| r.counters(1).dropped(DropReason::Backwards) == 1);
    // The route that it follows has just expired.
    let gone = key(0x22);
    rig.route(gone, 2, 7);
    rig.expire(gone);
    let follows =
        |sequence, limit| limited(rig::traffic_with(gone, to(gone, sequence), b"on"), limit);
    a.write_all(&follows(6, 9)).unwrap();
    assert_eq!(read_frame(&mut b), follows(7, 8));
    rig.wait_for(|r| r.counters(1).expired_route_frames == 1);
    // Not back, not if it follows a newer one, and not beyond its hops.
    b.write_all(&follows(6, 9)).unwrap();
    a.write_all(&follows(8, 9)).unwrap();
    a.write_all(&follows(7, 1)).unwrap();
    rig.wait_for(|r| r.total().total_dropped() == 4);
    assert_eq!(rig.counters(1).dropped(DropReason::HopLimit), 1);
    let total = rig.total();
    assert_eq!((total.expired_route_frames, total.detoured_frames), (1, 1));
    assert_eq!(total.tx_traffic_frames, 2);
}

fn what_is_for_us_is_delivered_and_what_we_inject_is_routed(engine: Setting) {
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

fn protocol_frames_are_reported_and_sent(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let mut a = rig.port(1);
    let mut bootstrap = Vec::new();
    frame::push_bootstrap(&mut bootstrap, (0, 0), &KEY, &Watermark::START, &[9; 120]).unwrap();
    a.write_all(&KEEPALIVE).unwrap();
    a.write_all(&bootstrap).unwrap();
    let Report::Frame(reported) = rig.report() else {
        panic!("not a frame")
    };
    assert_eq!(
        (reported.port, reported.bytes()),
        (PortId(1), &bootstrap[..])
    );
    rig.plane().send(PortId(1), bootstrap.clone());
    assert_eq!(read_frame(&mut a), bootstrap);
    rig.wait_for(|r| r.counters(1).tx_protocol_frames == 1);
    assert_eq!(rig.counters(1).rx_protocol_frames, 2);
}

fn a_flood_of_protocol_frames_loses_its_own(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    let mut bootstrap = Vec::new();
    frame::push_bootstrap(&mut bootstrap, (0, 0), &KEY, &Watermark::START, &[9; 120]).unwrap();
    let flood = bootstrap.repeat(10_000);
    a.write_all(&flood).unwrap();
    rig.wait_for(|r| r.counters(1).rx_protocol_frames == 10_000);
    assert!(rig.counters(1).dropped(DropReason::ControlBusy) > 8_000);
    b.write_all(&bootstrap).unwrap();
    rig.wait_for(|r| r.counters(2).rx_protocol_frames == 1);
    assert_eq!(rig.counters(2).dropped(DropReason::ControlBusy), 0);
    // Reports taken make room again.
    let mut seen = Vec::new();
    while let Some(Report::Frame(f)) = rig.try_report() {
        seen.push(f.port);
    }
    assert!(seen.contains(&PortId(2)));
    a.write_all(&bootstrap).unwrap();
    assert!(matches!(rig.report(), Report::Frame(f) if f.port == PortId(1)));
}

fn bad_bytes_close_their_own_port_only(engine: Setting) {
    let good = traffic(KEY, 7, b"fine");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("magic", b"GET / HTTP/1.1\r\n".to_vec()),
        ("short magic", b"pinX".to_vec()),
        ("length 9", b"pine\0\x03\0\0\0\x09".to_vec()),
        ("length 0", b"pine\0\x03\0\0\0\0".to_vec()),
        ("traffic of a header only", b"pine\0\x03\0\0\0\x0a".to_vec()),
        (
            "bootstrap of 12 bytes",
            b"pine\0\x02\0\0\0\x0c\0\0".to_vec(),
        ),
        (
            "announcement that promises more",
            b"pine\0\x01\0\0\0\x0c\xff\xff".to_vec(),
        ),
        ("payload too long", {
            let mut f = good.clone();
            f[11] += 1;
            f
        }),
        ("payload too short", {
            let mut f = good.clone();
            f[11] -= 1;
            f
        }),
    ];
    let mut rig = Rig::new(engine, 1);
    let (mut x, mut b) = (rig.port(100), rig.port(2));
    rig.route(KEY, 2, 7);
    for (i, (name, bytes)) in cases.into_iter().enumerate() {
        let port = 3 + i as u32;
        let mut a = rig.port(port);
        a.write_all(&good).unwrap();
        assert_eq!(read_frame(&mut b), good);
        a.write_all(&bytes).unwrap();
        let Report::Closed {
            port: closed,
            reason,
        } = rig.report()
        else {
            panic!("{name}: not closed")
        };
        assert_eq!(closed, PortId(port), "{name}");
        assert!(matches!(reason, CloseReason::Frame(_)), "{name}: {reason}");
        assert_eq!(a.read(&mut [0; 1]).unwrap_or(0), 0, "{name}");
        x.write_all(&good).unwrap();
        assert_eq!(read_frame(&mut b), good, "{name}");
    }
}

fn a_peer_that_vanishes_mid_frame_is_forgotten(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(KEY, 2, 7);
    let frame = traffic(KEY, 7, &payload(1, 20_000));
    a.write_all(&frame).unwrap();
    a.write_all(&frame[..10_000]).unwrap();
    drop(a);
    assert_eq!(read_frame(&mut b), frame);
    assert!(matches!(
        rig.report(),
        Report::Closed {
            port: PortId(1),
            reason: CloseReason::PeerClosed
        }
    ));
    let mut a = rig.port(1);
    a.write_all(&frame).unwrap();
    assert_eq!(read_frame(&mut b), frame);
}

fn a_peer_that_stops_reading_costs_its_own_frames_and_is_closed(engine: Setting) {
    let mut rig = Rig::with(engine, 1, |options| options.port_queue_bytes = 1 << 20);
    let (mut a, stuck, mut b) = (rig.port(1), rig.port(2), rig.port(3));
    rig.route(KEY, 2, 7);
    rig.route(key(0x78), 3, 7);
    let writer = std::thread::spawn(move || {
        for i in 0..2000 {
            a.write_all(&traffic(KEY, 7, &payload(i, 8000))).unwrap();
            a.write_all(&traffic(key(0x78), 7, &payload(i, 100)))
                .unwrap();
        }
        a
    });
    for i in 0..2000 {
        assert_eq!(
            read_frame(&mut b),
            traffic(key(0x78), 7, &payload(i, 100)),
            "frame {i}"
        );
    }
    let _a = writer.join().unwrap();
    let full = rig.counters(2);
    assert!(
        full.dropped(DropReason::QueueFull) > 0 && full.queued_bytes <= 1 << 20,
        "{full:?}"
    );
    assert_eq!(
        rig.report_within(Duration::from_secs(20)),
        Some((PortId(2), CloseReason::WriteTimeout))
    );
    assert_eq!(rig.counters(1).rx_traffic_frames, 4000);
    let total = rig.total();
    assert_eq!(
        total.rx_traffic_frames,
        total.tx_traffic_frames + total.delivered_frames + total.total_dropped()
    );
    drop(stuck);
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
    rig.settle();
    let to = rig.counters(2);
    assert_eq!((to.tx_traffic_frames, to.queued_frames), (got, 0));
    assert_eq!(to.dropped(DropReason::QueueFull), frames as u64 - got);
    assert!(got < frames as u64);
}

fn silence_is_answered_with_keepalives_and_ends_the_peering(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let mut a = rig.port_with(1, true);
    let started = std::time::Instant::now();
    assert_eq!(read_frame(&mut a), KEEPALIVE);
    assert!(started.elapsed() >= Duration::from_millis(2900));
    assert_eq!(
        rig.report_within(Duration::from_secs(20)),
        Some((PortId(1), CloseReason::Dead))
    );
    assert!(started.elapsed() >= Duration::from_millis(4900));
}

fn a_peering_that_opens_on_an_idle_worker_has_timers(engine: Setting) {
    let idle_for = [500, 3300, 3600, 6500, 9000, 14_000];
    std::thread::scope(|scope| {
        for millis in idle_for {
            scope.spawn(move || {
                let mut rig = Rig::new(engine, 1);
                // The second one stands for an only peer that comes back.
                for port in [1, 2] {
                    std::thread::sleep(Duration::from_millis(millis));
                    let mut peer = rig.port_with(port, true);
                    assert_eq!(read_frame(&mut peer), KEEPALIVE);
                    assert_eq!(
                        rig.report_within(Duration::from_secs(20)),
                        Some((PortId(port), CloseReason::Dead)),
                        "after {millis} ms"
                    );
                }
            });
        }
    });
}

fn a_frame_that_does_not_go_on_ends_the_peering(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let own = rig.own_key();
    let long = traffic(own, 7, &payload(1, 24_000));
    let dribble = |mut peer: UnixStream, bytes: Vec<u8>, chunk: usize, millis: u64| {
        std::thread::spawn(move || {
            let sent = bytes.chunks(chunk).all(|chunk| {
                std::thread::sleep(Duration::from_millis(millis));
                peer.write_all(chunk).is_ok()
            });
            // Held open: its end would end the peering too.
            (sent, peer)
        })
    };
    let start = std::time::Instant::now();
    // 2.5 bytes a second, some 200 bytes a second after a good start, 2 KiB a second.
    let slow = dribble(rig.port_with(1, true), long.clone(), 1, 400);
    let mut fading = rig.port_with(2, true);
    fading.write_all(&long[..8000]).unwrap();
    let fading = dribble(fading, long[8000..].into(), 80, 400);
    let steady = dribble(rig.port_with(3, true), long.clone(), 512, 250);
    // Small frames that are never cut off for long, though never whole at the end of a read.
    let small = [&KEEPALIVE[..5], &KEEPALIVE.repeat(35)[5..]].concat();
    let cut = [&small[..5], &small[5..]].concat();
    let cut = dribble(rig.port_with(4, true), cut, 7, 250);
    for port in [1, 2] {
        assert_eq!(
            rig.report_within(Duration::from_secs(20)),
            Some((PortId(port), CloseReason::SlowFrame))
        );
        assert!(start.elapsed() >= Duration::from_millis(4900 * u64::from(port)));
    }
    assert!(!slow.join().unwrap().0 && !fading.join().unwrap().0);
    let (whole, _open) = steady.join().unwrap();
    let (small, _open) = cut.join().unwrap();
    assert!(whole && small);
    rig.wait_for(|r| !r.delivered().is_empty());
    assert_eq!(rig.delivered()[0].1, long);
    rig.wait_for(|r| r.counters(4).rx_protocol_frames == 35);
}

fn a_peer_that_does_not_answer_is_reset(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let (mut silent, mut slow) = (rig.tcp_port_with(1, true), rig.tcp_port_with(2, true));
    let (mut full, mut source) = (rig.tcp_port(3), rig.port(4));
    slow.write_all(&KEEPALIVE[..5]).unwrap();
    rig.route(KEY, 3, 7);
    // More than its socket and its queue hold.
    let frame = traffic(KEY, 7, &payload(0, 60_000));
    for _ in 0..300 {
        source.write_all(&frame).unwrap();
    }
    let mut slowly = slow.try_clone().unwrap();
    let bytes = std::thread::spawn(move || {
        // Four bytes in all, so that it is not silent and its frame does not end.
        for byte in &KEEPALIVE[5..9] {
            std::thread::sleep(Duration::from_millis(1200));
            if slowly.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    let mut closed: Vec<_> = (0..3)
        .map(|_| rig.report_within(Duration::from_secs(20)).unwrap())
        .collect();
    closed.sort_by_key(|(port, _)| port.0);
    assert_eq!(
        closed,
        [
            (PortId(1), CloseReason::Dead),
            (PortId(2), CloseReason::SlowFrame),
            (PortId(3), CloseReason::WriteTimeout),
        ]
    );
    bytes.join().unwrap();
    for peer in [&mut silent, &mut slow, &mut full] {
        let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

fn a_peer_that_sends_keepalives_lives(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let (mut talks, mut silent) = (rig.port_with(1, true), rig.port_with(2, true));
    // The silent one's end is the clock: by then the talking one would be dead too.
    let beats = std::thread::spawn(move || {
        let mut got = [0; 10];
        while talks.write_all(&KEEPALIVE).is_ok() && talks.read_exact(&mut got).is_ok() {
            assert_eq!(got, KEEPALIVE);
        }
    });
    assert_eq!(
        rig.report_within(Duration::from_secs(20)),
        Some((PortId(2), CloseReason::Dead))
    );
    let mut got = Vec::new();
    silent.read_to_end(&mut got).unwrap();
    assert_eq!(got, KEEPALIVE);
    rig.plane()
        .remove_port(PortId(1), CloseReason::Requested("done".into()));
    assert_eq!(
        rig.report_within(Duration::from_secs(20)),
        Some((PortId(1), CloseReason::Requested("done".into())))
    );
    beats.join().unwrap();
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
        // Nothing comes any more if all has been sent.
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
    rig.settle();
    let total = rig.total();
    assert_eq!(total.rx_traffic_frames, 2 * frames as u64);
    assert_eq!(
        total.rx_traffic_frames,
        total.tx_traffic_frames + total.delivered_frames + total.total_dropped()
    );
}

fn the_filter_sees_frame_and_peer(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let (mut a, mut c, mut b) = (rig.port(1), rig.port(3), rig.port(2));
    rig.route(KEY, 2, 7);
    rig.filter(|port, _| port != PortId(1));
    a.write_all(&traffic(KEY, 7, b"stopped")).unwrap();
    rig.wait_for(|r| r.counters(1).dropped(DropReason::Filter) == 1);
    c.write_all(&traffic(KEY, 7, b"passed")).unwrap();
    assert_eq!(read_frame(&mut b), traffic(KEY, 7, b"passed"));
}

fn a_filter_that_panics_is_taken_out(engine: Setting) {
    let mut rig = Rig::new(engine, 2);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(KEY, 2, 7);
    rig.filter(|_, _| panic!("on purpose"));
    a.write_all(&traffic(KEY, 7, b"dropped")).unwrap();
    rig.wait_for(|r| r.counters(1).dropped(DropReason::Filter) == 1);
    a.write_all(&traffic(KEY, 7, b"passed")).unwrap();
    assert_eq!(read_frame(&mut b), traffic(KEY, 7, b"passed"));
}

fn shutdown_closes_everything(engine: Setting) {
    let mut rig = Rig::new(engine, 2);
    let mut ends: Vec<_> = (1..=20).map(|p| rig.port(p)).collect();
    rig.plane().shutdown();
    let mut closed: Vec<_> = (0..20)
        .map(|_| rig.report())
        .map(|r| matches!(r, Report::Closed { .. }))
        .collect();
    closed.dedup();
    assert_eq!(closed, [true]);
    for end in &mut ends {
        assert_eq!(end.read(&mut [0; 1]).unwrap_or(0), 0);
    }
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
