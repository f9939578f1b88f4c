//! The dials of static peers and their times.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{
    BlackHoles, Server, by_each_means, closed, key, limits, refused_address, transports, until,
};
use pinecone_transports::{
    DialSchedule, Limits, PeerUri, StaticPeerId, StaticPeerState, StaticPeers,
};
use proptest::prelude::*;
use tokio::sync::mpsc;

const S: Duration = Duration::from_secs(1);

fn addresses(n: u16) -> Vec<PeerUri> {
    (1..=n).map(|p| format!("a:{p}").parse().unwrap()).collect()
}

/// Returns a list of this length.
fn list(n: u16) -> StaticPeers {
    StaticPeers::new(DialSchedule::default(), addresses(n), 7)
}

/// Looks up and dials all peers that are due, in order.
fn dial(peers: &mut StaticPeers, now: Duration) -> Vec<StaticPeerId> {
    for (id, _) in peers.due(now) {
        peers.resolved(id, Vec::new());
    }
    std::iter::from_fn(|| peers.next_dial())
        .map(|dial| dial.id)
        .collect()
}

fn dial_one(peers: &mut StaticPeers) -> (Duration, StaticPeerId) {
    let now = peers.next_due().unwrap();
    let [id] = dial(peers, now)[..] else {
        panic!("one is due")
    };
    (now, id)
}

#[test]
fn waits_double_up_to_five_minutes() {
    let schedule = DialSchedule::default();
    let waits: Vec<_> = (1..=10).map(|n| schedule.wait(n).as_secs()).collect();
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(schedule.wait(u32::MAX), 300 * S);
}

#[test]
fn a_good_peering_that_is_lost_is_dialled_again_at_once_and_not_in_step() {
    let mut peers = list(60);
    for id in dial(&mut peers, Duration::ZERO) {
        peers.failed(S, id, "first".to_owned());
    }
    for id in dial(&mut peers, 10 * S) {
        peers.connected(10 * S, id);
    }
    let status = &peers.status(69 * S)[0];
    assert_eq!(
        (status.failures, status.last_error.as_deref()),
        (1, Some("first"))
    );
    // A peering that lasts a minute resets the count.
    let status = &peers.status(70 * S)[0];
    assert_eq!((status.failures, &status.last_error), (0, &None));
    assert_eq!(peers.next_due(), None);
    for id in dial_ids(60) {
        peers.ended(70 * S, id, "lost".to_owned());
    }
    let mut seen: Vec<_> = (peers.status(70 * S).into_iter())
        .map(|peer| match peer.state {
            StaticPeerState::Waiting { until } if peer.failures == 0 => until,
            other => panic!("{other:?}"),
        })
        .collect();
    seen.sort();
    assert!(seen[0] >= 70 * S && seen[59] <= 71 * S, "{seen:?}");
    assert!(seen[59] - seen[0] > S / 2, "spread: {seen:?}");
    assert_eq!(peers.status(70 * S)[3].last_error.as_deref(), Some("lost"));
}

fn dial_ids(n: u16) -> Vec<StaticPeerId> {
    list(n)
        .due(Duration::ZERO)
        .into_iter()
        .map(|(id, _)| id)
        .collect()
}

#[test]
fn a_peer_may_have_a_longest_wait_of_its_own() {
    let uris = ["a:1?maxbackoff=3s", "b:1?maxbackoff=1h", "c:1"];
    let uris = uris.map(|uri| uri.parse().unwrap());
    let mut peers = StaticPeers::new(DialSchedule::default(), uris.to_vec(), 7);
    let mut now = Duration::ZERO;
    for _ in 0..10 {
        now += 3600 * S;
        for id in dial(&mut peers, now) {
            peers.failed(now, id, "no".to_owned());
        }
    }
    for (peer, longest) in peers.status(now).iter().zip([3 * S, 1024 * S, 300 * S]) {
        let StaticPeerState::Waiting { until } = peer.state else {
            panic!("{peer:?}")
        };
        let wait = until - now;
        assert!(longest * 3 / 4 <= wait && wait <= longest, "{wait:?}");
    }
}

#[test]
fn a_peering_that_ends_at_once_is_a_failure_more_and_a_short_one_is_none() {
    let mut peers = list(1);
    for failures in 1..=4 {
        let (now, id) = dial_one(&mut peers);
        peers.connected(now, id);
        peers.ended(now + 9 * S, id, "thrown out".to_owned());
        let wait = peers.next_due().unwrap() - (now + 9 * S);
        let longest = S * 2u32.pow(failures);
        assert!(longest * 3 / 4 <= wait && wait <= longest, "{wait:?}");
        assert_eq!(peers.status(now)[0].failures, failures);
    }
    let (now, id) = dial_one(&mut peers);
    peers.connected(now, id);
    peers.ended(now + 59 * S, id, "lost".to_owned());
    let wait = peers.next_due().unwrap() - (now + 59 * S);
    assert!(12 * S <= wait && wait <= 16 * S, "{wait:?}");
    assert_eq!(peers.status(now)[0].failures, 4);
}

#[test]
fn peers_that_have_not_failed_are_dialled_first_and_none_starves() {
    let mut peers = list(101);
    let ids = dial_ids(101);
    let healthy = ids[100];
    assert_eq!(
        dial(&mut peers, Duration::ZERO),
        ids,
        "in order at the start"
    );
    for id in &ids[..100] {
        peers.failed(S, *id, "no answer".to_owned());
    }
    peers.connected(S, healthy);
    peers.ended(100 * S, healthy, "lost".to_owned());
    // All are due. The peer that was good is dialled before the hundred.
    for (id, _) in peers.due(200 * S) {
        peers.resolved(id, Vec::new());
    }
    let first = peers.next_dial().unwrap();
    assert_eq!(first.id, healthy);
    assert!(first.short, "others queue behind it");
    // Then those that have waited the longest, so a peer with more failures does not starve.
    let second = peers.next_dial().unwrap();
    assert!(!second.short);
    peers.failed(200 * S, second.id, "no answer".to_owned());
    let rest: Vec<_> = std::iter::from_fn(|| peers.next_dial()).collect();
    assert_eq!(rest.len(), 99);
    assert!(rest.iter().all(|dial| !dial.short));
}

#[test]
fn peers_are_added_at_the_end_and_removed_in_any_state() {
    let mut peers = list(3);
    let [a, b, c, d] = &addresses(4)[..] else {
        unreachable!()
    };
    assert_eq!(peers.add(S, b.clone()), None, "it is in the list");
    assert_eq!(peers.remove(d), None, "it is not in the list");
    let ids = dial(&mut peers, Duration::ZERO);
    peers.connected(S, ids[0]);
    peers.failed(S, ids[1], "no answer".to_owned());
    for (address, id) in [(a, ids[0]), (b, ids[1]), (c, ids[2])] {
        assert!(peers.contains(id));
        assert_eq!(peers.remove(address), Some(id));
        assert!(!peers.contains(id));
        // None of these brings it back.
        peers.resolved(id, Vec::new());
        peers.connected(2 * S, id);
        peers.ended(2 * S, id, "lost".to_owned());
        peers.failed(2 * S, id, "no answer".to_owned());
        peers.postpone(2 * S, id, "no room".to_owned());
    }
    assert_eq!(peers.next_due(), None);
    assert!(!peers.any_queued());
    let again = peers.add(3 * S, a.clone()).unwrap();
    let new = peers.add(3 * S, d.clone()).unwrap();
    assert!(!ids.contains(&again), "an id is not used again");
    let listed: Vec<_> = (peers.status(3 * S).into_iter())
        .map(|peer| peer.address)
        .collect();
    assert_eq!(listed, [a.clone(), d.clone()]);
    assert_eq!(peers.next_due(), Some(3 * S));
    assert_eq!(dial(&mut peers, 3 * S), [again, new]);
}

/// The state of a peer in the model.
#[derive(Clone, Debug, Default, PartialEq)]
enum At {
    #[default]
    Waiting,
    Resolving,
    Queued,
    Dialling,
    Connected(Duration),
}

#[derive(Clone, Default)]
struct Model {
    at: At,
    failures: u32,
    /// The earliest and the latest time of the next dial.
    due: (Duration, Duration),
}

impl Model {
    fn back_off(&mut self, now: Duration) {
        let longest = S * 2u32.pow(self.failures.min(9)).min(300);
        self.due = (now + longest * 3 / 4, now + longest);
        self.at = At::Waiting;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Resolved(usize),
    Next,
    Connected(usize),
    Failed(usize),
    Ended(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0..5usize;
    prop_oneof![
        4 => (0..9_000u64).prop_map(Step::Pass),
        2 => (0..400_000u64).prop_map(Step::Pass),
        5 => peer.clone().prop_map(Step::Resolved),
        5 => Just(Step::Next),
        3 => peer.clone().prop_map(Step::Connected),
        4 => peer.clone().prop_map(Step::Failed),
        3 => peer.prop_map(Step::Ended),
    ]
}

proptest! {
    /// Any order of calls, including wrong ones, dials the peers of a simple model, within the range of the random
    /// waits.
    #[test]
    fn dials_when_the_model_does(steps in prop::collection::vec(step(), 1..200)) {
        let mut peers = list(5);
        let mut model = vec![Model::default(); 5];
        let ids = dial_ids(5);
        let mut now = Duration::ZERO;
        for step in std::iter::once(Step::Pass(0)).chain(steps) {
            match step {
                Step::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    let due = peers.due(now);
                    let due: Vec<_> = due.into_iter().map(|(id, _)| id).collect();
                    for (peer, id) in model.iter_mut().zip(&ids) {
                        let taken = due.contains(id);
                        match peer.at {
                            At::Waiting if now >= peer.due.1 => prop_assert!(taken),
                            At::Waiting if now >= peer.due.0 => {}
                            _ => prop_assert!(!taken),
                        }
                        if taken {
                            peer.at = At::Resolving;
                        }
                    }
                }
                Step::Resolved(i) => {
                    peers.resolved(ids[i], Vec::new());
                    if model[i].at == At::Resolving {
                        model[i].at = At::Queued;
                    }
                }
                Step::Next => {
                    let queued: Vec<_> = (0..5).filter(|i| model[*i].at == At::Queued).collect();
                    match peers.next_dial() {
                        None => prop_assert!(queued.is_empty()),
                        Some(dial) => {
                            let i = ids.iter().position(|id| *id == dial.id).unwrap();
                            prop_assert!(queued.contains(&i));
                            let unfailed = queued.iter().any(|i| model[*i].failures == 0);
                            prop_assert_eq!(unfailed, model[i].failures == 0);
                            prop_assert_eq!(dial.short, unfailed && queued.len() > 1);
                            model[i].at = At::Dialling;
                        }
                    }
                }
                Step::Connected(i) => {
                    peers.connected(now, ids[i]);
                    if model[i].at == At::Dialling {
                        model[i].at = At::Connected(now);
                    }
                }
                Step::Failed(i) => {
                    peers.failed(now, ids[i], "failed".to_owned());
                    if matches!(model[i].at, At::Dialling | At::Resolving) {
                        model[i].failures += 1;
                        model[i].back_off(now);
                    }
                }
                Step::Ended(i) => {
                    peers.ended(now, ids[i], "ended".to_owned());
                    if let At::Connected(since) = model[i].at {
                        if now - since >= 60 * S {
                            model[i] = Model { due: (now, now + S), ..Model::default() };
                        } else {
                            model[i].failures += u32::from(now - since < 10 * S);
                            model[i].back_off(now);
                        }
                    }
                }
            }
            let any_queued = model.iter().any(|peer| peer.at == At::Queued);
            prop_assert_eq!(peers.any_queued(), any_queued);
        }
    }
}

/// Returns a schedule with short waits.
fn fast() -> DialSchedule {
    DialSchedule {
        longest_wait: Duration::from_millis(5),
        good_after: Duration::ZERO,
        spread: Duration::from_millis(5),
        ..DialSchedule::default()
    }
}

#[test]
fn the_driver_dials_again_what_has_ended_and_nothing_that_is_connected() {
    by_each_means(|means| async move {
        let mut server = Server::start(means, Limits::default());
        let ours = transports(means, &key(2), Limits::default());
        let (sender, mut established) = mpsc::channel(4);
        // The second never answers, which shows that dials continue.
        let list = vec![server.peer_uri(), refused_address()];
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
            statics.ended(peer.static_peer.unwrap(), "closed".to_owned());
        }
        established.recv().await.unwrap();
    });
}

#[test]
fn a_peer_behind_many_that_swallow_packets_is_dialled_soon() {
    by_each_means(|means| async move {
        let holes = BlackHoles::new(40);
        let mut server = Server::start(means, Limits::default());
        let limits = Limits {
            max_dials: 4,
            ..Limits::default()
        };
        let ours = transports(means, &key(2), limits);
        let mut list = holes.addresses();
        list.push(server.peer_uri());
        let (sender, mut established) = mpsc::channel(4);
        let statics = ours.keep_connected(list, DialSchedule::default(), sender);
        let queued = |s: &StaticPeerState| matches!(s, StaticPeerState::Queued);
        until(|| statics.status().iter().any(|peer| queued(&peer.state))).await;
        let dialling = |s: &StaticPeerState| matches!(s, StaticPeerState::Dialling);
        // With timeouts of five seconds, it would take fifty.
        let most = async {
            loop {
                let status = statics.status();
                let at_once = status.iter().filter(|peer| dialling(&peer.state)).count();
                assert!(at_once <= 4, "{at_once} dials at a time");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let first = tokio::select! {
            first = established.recv() => first.unwrap(),
            () = most => unreachable!(),
            () = tokio::time::sleep(Duration::from_secs(30)) => panic!("starved"),
        };
        assert_eq!(first.key, key(1).public_key());
        server.established.recv().await.unwrap();
        // The peer is lost after it was good, so it is dialled before all that wait.
        drop(holes);
    });
}

#[test]
fn errors_and_the_next_try_are_told() {
    by_each_means(|means| async move {
        let ours = transports(means, &key(2), Limits::default());
        let (sender, _established) = mpsc::channel(4);
        let schedule = DialSchedule::default();
        let statics = ours.keep_connected(vec![refused_address()], schedule, sender);
        until(|| statics.status()[0].failures == 1).await;
        let status = statics.status().remove(0);
        assert!(status.last_error.unwrap().contains("Connection refused"));
        let StaticPeerState::Waiting { until } = status.state else {
            panic!("{:?}", status.state)
        };
        let rest = until.saturating_sub(statics.now());
        assert!(rest <= 2 * S, "{rest:?}");
    });
}

#[test]
fn the_driver_dials_what_is_added_and_ends_what_is_removed() {
    by_each_means(|means| async move {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to_silent: PeerUri = silent.local_addr().unwrap().to_string().parse().unwrap();
        let mut server = Server::start(means, limits());
        let limits = Limits {
            max_dials: 1,
            ..limits()
        };
        let ours = transports(means, &key(2), limits);
        let (sender, mut established) = mpsc::channel(4);
        let statics = ours.keep_connected(Vec::new(), fast(), sender);
        // The driver begins to wait, with nothing to do.
        tokio::task::yield_now().await;
        let id = statics.add(to_silent.clone()).unwrap();
        let (far, _) = silent.accept().await.unwrap();
        assert_eq!(statics.add(to_silent.clone()), None);
        let second = statics.add(server.peer_uri()).unwrap();
        until(|| statics.status()[1].state == StaticPeerState::Queued).await;
        // It gives its permit to the next one.
        assert_eq!(statics.remove(&to_silent), Some(id));
        assert_eq!(statics.remove(&to_silent), None);
        closed(far).await;
        let peer = established.recv().await.unwrap();
        assert_eq!(peer.static_peer, Some(second));
        server.established.recv().await.unwrap();
        assert_eq!(statics.remove(&server.peer_uri()), Some(second));
        drop(peer);
        statics.ended(second, "closed".to_owned());
        assert!(statics.status().is_empty());
        // The driver goes on, and the removed peers are not dialled again.
        statics.add(refused_address()).unwrap();
        until(|| statics.status()[0].failures >= 5).await;
        assert_eq!(server.transports.counters().accepted, 1);
        let silent = silent.into_std().unwrap();
        assert_eq!(
            silent.accept().unwrap_err().kind(),
            std::io::ErrorKind::WouldBlock
        );
    });
}

#[test]
fn a_static_peer_that_comes_up_late_is_found() {
    by_each_means(|means| async move {
        let address = refused_address();
        let ours = transports(means, &key(2), Limits::default());
        let (sender, mut established) = mpsc::channel(4);
        let statics = ours.keep_connected(vec![address.clone()], fast(), sender);
        until(|| statics.status()[0].failures >= 2).await;
        let theirs = transports(means, &key(1), Limits::default());
        let _server = Server::listen(theirs, &address.to_string());
        let peer = established.recv().await.unwrap();
        assert_eq!(peer.key, key(1).public_key());
        assert_eq!(peer.remote, address.to_string());
    });
}
