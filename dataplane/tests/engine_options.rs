//! The options of engines: what each does, and what comes of it where it cannot be had.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod rig;

use std::io::Write;
use std::time::{Duration, Instant};

use pinecone_dataplane::{EngineChoice, PortId};
use pinecone_wire::frame::KEEPALIVE;
use rig::{Rig, key, payload, read_frame, traffic};

const ENGINES: [EngineChoice; 2] = [EngineChoice::Uring, EngineChoice::Epoll];

fn sleeps(rig: &Rig) -> u64 {
    rig.plane().worker_stats().iter().map(|w| w.sleeps).sum()
}

#[test]
fn who_spins_hears_of_everything_without_sleeping() {
    for engine in ENGINES {
        let mut rig = Rig::with(engine, 2, |options| {
            options.busy_poll = Some(Duration::from_secs(600));
        });
        // Commands, bytes from peers, and frames from the other worker.
        let (mut a, mut b) = (rig.port(1), rig.port(2));
        rig.route(key(0x77), 2, 7);
        for i in 0..20 {
            let frame = traffic(key(0x77), 7, &payload(i, 100 * i));
            a.write_all(&frame).unwrap();
            assert_eq!(read_frame(&mut b), frame);
        }
        let handed_over = rig.plane().worker_stats()[0].handed_over;
        assert!(handed_over > 0, "{handed_over}");
        rig.plane().send(PortId(1), KEEPALIVE.to_vec());
        assert_eq!(read_frame(&mut a), KEEPALIVE);
        // Timers.
        let mut c = rig.port_with(3, true);
        assert_eq!(read_frame(&mut c), KEEPALIVE);
        assert_eq!(sleeps(&rig), 0, "{engine}");
    }
}

#[test]
fn who_spins_sleeps_when_nothing_comes_for_long() {
    for engine in ENGINES {
        let mut rig = Rig::with(engine, 1, |options| {
            options.busy_poll = Some(Duration::from_micros(200));
        });
        let (mut a, mut b) = (rig.port(1), rig.port(2));
        rig.route(key(0x77), 2, 7);
        let deadline = Instant::now() + Duration::from_secs(20);
        while sleeps(&rig) < 3 {
            assert!(Instant::now() < deadline, "{engine} never sleeps");
            let frame = traffic(key(0x77), 7, &payload(1, 100));
            a.write_all(&frame).unwrap();
            assert_eq!(read_frame(&mut b), frame);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
