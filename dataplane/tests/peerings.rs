//! Peerings with each engine: protocol frames, timers, misbehaving peers, filters and the end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[macro_use]
mod rig;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use pinecone_dataplane::{CloseReason, DropReason, PortId, Report};
use pinecone_wire::frame::{self, KEEPALIVE};
use pinecone_wire::{PublicKey, Watermark};
use rig::{Rig, Setting, key, payload, read_frame, traffic};

const KEY: PublicKey = key(0x77);

with_every_engine! {
    protocol_frames_are_reported_and_sent
    a_flood_of_protocol_frames_loses_its_own
    bad_bytes_close_their_own_port_only
    a_peer_that_vanishes_mid_frame_is_forgotten
    a_peer_that_stops_reading_costs_its_own_frames_and_is_closed
    silence_is_answered_with_keepalives_and_ends_the_peering
    a_peer_that_sends_keepalives_lives
    a_peering_that_opens_on_an_idle_worker_has_timers
    a_frame_that_does_not_continue_ends_the_peering
    a_peer_that_does_not_answer_is_reset
    the_filter_sees_frame_and_peer
    a_filter_that_panics_is_removed
    shutdown_closes_everything
}

with_options! {
    uring_spinning, Uring, |options| options.busy_poll = Some(std::time::Duration::from_micros(100)),
    protocol_frames_are_reported_and_sent
    shutdown_closes_everything
}

with_options! {
    uring_polled_by_the_kernel, Uring, |options| options.sqpoll = Some(crate::rig::usable_core()),
    a_peer_that_vanishes_mid_frame_is_forgotten
    shutdown_closes_everything
}

with_options! {
    epoll_spinning, Epoll, |options| options.busy_poll = Some(std::time::Duration::from_micros(100)),
    shutdown_closes_everything
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
    // Taking reports makes room again.
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
                // The second peer tests a worker that has had no port for a while.
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

fn a_frame_that_does_not_continue_ends_the_peering(engine: Setting) {
    let mut rig = Rig::new(engine, 1);
    let own = rig.own_key();
    let long = traffic(own, 7, &payload(1, 24_000));
    let dribble = |mut peer: UnixStream, bytes: Vec<u8>, chunk: usize, millis: u64| {
        std::thread::spawn(move || {
            let sent = bytes.chunks(chunk).all(|chunk| {
                std::thread::sleep(Duration::from_millis(millis));
                peer.write_all(chunk).is_ok()
            });
            // The socket stays open, as its end would end the peering too.
            (sent, peer)
        })
    };
    let start = std::time::Instant::now();
    // 2.5 bytes a second; 200 bytes a second after a good start; 2 KiB a second.
    let slow = dribble(rig.port_with(1, true), long.clone(), 1, 400);
    let mut fading = rig.port_with(2, true);
    fading.write_all(&long[..8000]).unwrap();
    let fading = dribble(fading, long[8000..].into(), 80, 400);
    let steady = dribble(rig.port_with(3, true), long.clone(), 512, 250);
    // Small frames of which each read ends with a part, but never for long.
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
    // More frames than its socket and its queue hold.
    let frame = traffic(KEY, 7, &payload(0, 60_000));
    for _ in 0..300 {
        source.write_all(&frame).unwrap();
    }
    let mut slowly = slow.try_clone().unwrap();
    let bytes = std::thread::spawn(move || {
        // Four bytes in all, so that the peer is not silent and its frame does not end.
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
    // The test ends when the silent peering ends: without keepalives, the other one would have ended by then, too.
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

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

fn a_filter_that_panics_is_removed(engine: Setting) {
    let mut rig = Rig::new(engine, 2);
    let (mut a, mut b) = (rig.port(1), rig.port(2));
    rig.route(KEY, 2, 7);
    let (token, bomb) = (Arc::new(()), PanicsWhenDropped);
    let state = Arc::downgrade(&token);
    rig.filter(move |_, _| {
        let _captured = (&token, &bomb);
        std::panic::panic_any(PanicsWhenDropped)
    });
    a.write_all(&traffic(KEY, 7, b"dropped")).unwrap();
    rig.wait_for(|r| r.counters(1).dropped(DropReason::Filter) == 1);
    a.write_all(&traffic(KEY, 7, b"passed")).unwrap();
    assert_eq!(read_frame(&mut b), traffic(KEY, 7, b"passed"));
    // All workers drop it, those as well that it did not panic on.
    rig.wait_for(|_| state.strong_count() == 0);
    a.write_all(&traffic(KEY, 7, b"still here")).unwrap();
    assert_eq!(read_frame(&mut b), traffic(KEY, 7, b"still here"));
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
