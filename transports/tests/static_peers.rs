//! Whom the static peer list dials, and when.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Server, key, on_each_backend, refused_address, until};
use pinecone_transports::{
    DialSchedule, Limits, PeerAddress, StaticPeerId, StaticPeerState, StaticPeers, Transports,
};
use proptest::prelude::*;
use tokio::sync::mpsc;

const S: Duration = Duration::from_secs(1);

fn addresses(n: u16) -> Vec<PeerAddress> {
    (1..=n).map(|p| format!("a:{p}").parse().unwrap()).collect()
}

#[test]
fn waits_double_up_to_an_hour() {
    let schedule = DialSchedule::default();
    let waits: Vec<_> = (1..=13).map(|n| schedule.wait(n).as_secs()).collect();
    let expected = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600];
    assert_eq!(waits, expected);
    assert_eq!(schedule.wait(u32::MAX), 3600 * S);
}

#[test]
fn a_lasting_peering_is_dialled_again_at_the_next_look_and_clears_the_failures() {
    let mut peers = StaticPeers::new(DialSchedule::default(), addresses(1));
    let mut id = peers.look(Duration::ZERO)[0].0;
    assert_eq!(peers.failed(5 * S, id), 2 * S);
    assert_eq!(peers.look(5 * S), []);
    id = peers.look(10 * S)[0].0;
    assert_eq!(peers.failed(11 * S, id), 4 * S);
    id = peers.look(15 * S)[0].0;
    peers.connected(15 * S, id);
    assert_eq!(peers.status()[0].failures, 2);
    assert_eq!(peers.look(100 * S), []);
    peers.ended(103 * S, id);
    assert_eq!(peers.status()[0].failures, 0);
    assert_eq!(peers.look(104 * S), [], "between looks");
    assert_eq!(peers.look(105 * S).len(), 1);
}

#[test]
fn a_peering_that_ends_at_once_is_a_failure_more() {
    let mut peers = StaticPeers::new(DialSchedule::default(), addresses(1));
    for failures in 1..=4 {
        let (now, id) = loop {
            let now = peers.next_look();
            if let Some((id, _)) = peers.look(now).pop() {
                break (now, id);
            }
        };
        peers.connected(now, id);
        peers.ended(now + S, id);
        let until = now + S + S * 2u32.pow(failures);
        assert_eq!(peers.status()[0].state, StaticPeerState::Waiting { until });
        assert_eq!(peers.status()[0].failures, failures);
    }
}

/// What a peer may be at, kept as plainly as can be.
#[derive(Clone, Default)]
struct Model {
    dialling: bool,
    connected_since: Option<Duration>,
    ourselves: bool,
    failures: u32,
    not_before: Duration,
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Connected(usize),
    Failed(usize),
    Ourselves(usize),
    Ended(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0..5usize;
    prop_oneof![
        4 => (0..9_000u64).prop_map(Step::Pass),
        1 => (0..10_000_000u64).prop_map(Step::Pass),
        3 => peer.clone().prop_map(Step::Connected),
        4 => peer.clone().prop_map(Step::Failed),
        1 => peer.clone().prop_map(Step::Ourselves),
        3 => peer.prop_map(Step::Ended),
    ]
}

proptest! {
    /// Any order of calls, wrong ones included: the same peers are dialled at the same looks as by
    /// a model that keeps what it knows in plain fields.
    #[test]
    fn dials_when_the_model_does(steps in prop::collection::vec(step(), 1..200)) {
        let mut peers = StaticPeers::new(DialSchedule::default(), addresses(5));
        let mut model = vec![Model::default(); 5];
        let mut ids: Vec<StaticPeerId> = Vec::new();
        let (mut now, mut looked) = (Duration::ZERO, None::<Duration>);
        for step in std::iter::once(Step::Pass(0)).chain(steps) {
            match step {
                Step::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    let dialled = peers.look(now);
                    let mut expected = Vec::new();
                    if looked.is_none_or(|at| now >= at + 5 * S) {
                        looked = Some(now);
                        for (i, peer) in model.iter_mut().enumerate() {
                            if !peer.dialling && !peer.ourselves && peer.connected_since.is_none()
                                && now >= peer.not_before
                            {
                                peer.dialling = true;
                                expected.push(format!("a:{}", i + 1));
                            }
                        }
                    }
                    if ids.is_empty() {
                        ids = dialled.iter().map(|(id, _)| *id).collect();
                    }
                    let dialled: Vec<_> = dialled.iter().map(|(_, a)| a.to_string()).collect();
                    prop_assert_eq!(dialled, expected);
                    prop_assert_eq!(peers.next_look(), looked.unwrap_or_default() + 5 * S);
                }
                Step::Connected(i) => {
                    peers.connected(now, ids[i]);
                    if std::mem::take(&mut model[i].dialling) {
                        model[i].connected_since = Some(now);
                    }
                }
                Step::Failed(i) => {
                    peers.failed(now, ids[i]);
                    if std::mem::take(&mut model[i].dialling) {
                        model[i].failures += 1;
                        model[i].not_before = now + wait(model[i].failures);
                    }
                }
                Step::Ourselves(i) => {
                    peers.ourselves(ids[i]);
                    if std::mem::take(&mut model[i].dialling) {
                        model[i].ourselves = true;
                    }
                }
                Step::Ended(i) => {
                    peers.ended(now, ids[i]);
                    if let Some(since) = model[i].connected_since.take() {
                        if now - since >= 10 * S {
                            model[i].failures = 0;
                            model[i].not_before = now;
                        } else {
                            model[i].failures += 1;
                            model[i].not_before = now + wait(model[i].failures);
                        }
                    }
                }
            }
        }
    }
}

fn wait(failures: u32) -> Duration {
    S * if failures > 11 {
        3600
    } else {
        2u32.pow(failures)
    }
}

/// Looks and waits short enough to see many.
fn fast() -> DialSchedule {
    DialSchedule {
        look_every: Duration::from_millis(5),
        longest_wait: Duration::from_millis(5),
        settled_after: Duration::ZERO,
    }
}

#[test]
fn the_driver_dials_again_what_has_ended_and_nothing_that_is_connected() {
    on_each_backend(|backend| async move {
        let mut server = Server::start(backend, Limits::default());
        let ours = Transports::new(backend, &key(2), Limits::default());
        let (sender, mut established) = mpsc::channel(4);
        // The second never answers, and shows that looks go on.
        let list = vec![server.peer_address(), refused_address()];
        let statics = ours.keep_connected(list, fast(), sender);
        for round in 1..=3 {
            let peer = established.recv().await.unwrap();
            assert_eq!(peer.key, key(1).public_key());
            server.established.recv().await.unwrap();
            let status = statics.status();
            assert!(matches!(status[0].state, StaticPeerState::Connected { .. }));
            let before = status[1].failures;
            until(|| statics.status()[1].failures >= before + 5).await;
            assert_eq!(server.transports.counters().accepted, round);
            statics.ended(peer.static_peer.unwrap());
        }
        established.recv().await.unwrap();
    });
}

#[test]
fn the_driver_never_dials_ourselves_again() {
    on_each_backend(|backend| async move {
        let server = Server::start(backend, Limits::default());
        let (sender, mut established) = mpsc::channel(4);
        let list = vec![server.peer_address(), refused_address()];
        let statics = server.transports.keep_connected(list, fast(), sender);
        until(|| statics.status()[0].state == StaticPeerState::Ourselves).await;
        let before = statics.status()[1].failures;
        until(|| statics.status()[1].failures >= before + 5).await;
        assert_eq!(server.transports.counters().accepted, 1);
        assert!(established.try_recv().is_err());
    });
}

#[test]
fn a_static_peer_that_comes_up_late_is_found() {
    on_each_backend(|backend| async move {
        let address = refused_address();
        let ours = Transports::new(backend, &key(2), Limits::default());
        let (sender, mut established) = mpsc::channel(4);
        let statics = ours.keep_connected(vec![address.clone()], fast(), sender);
        until(|| statics.status()[0].failures >= 2).await;
        let theirs = Transports::new(backend, &key(1), Limits::default());
        let _server = Server::listen(theirs, &address.to_string());
        let peer = established.recv().await.unwrap();
        assert_eq!(peer.key, key(1).public_key());
        assert_eq!(peer.remote, address.to_string());
    });
}
