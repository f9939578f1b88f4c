//! Several peerings with one key that have different priorities.

use pinecone_controlplane::{Config, Event, PeerStatus};
use pinecone_fib::{NextHop, PortId};
use pinecone_wire::{PublicKey, Watermark};

use crate::bench::{
    Bench, PEER_A, PEER_B, ROOT, UNIX_MS, bootstrap, child_announcement, made_up,
    root_announcement, three_peers, unsigned_body,
};

/// The types of frames.
const ANNOUNCEMENT: u8 = 1;
const BROADCAST: u8 = 4;

fn peer(bench: &Bench, port: PortId) -> PeerStatus {
    let peers = bench.node.peers();
    peers.into_iter().find(|peer| peer.port == port).unwrap()
}

/// Returns the first port of the way to a key.
fn way(bench: &mut Bench, to: PublicKey) -> NextHop {
    bench.node.publish();
    let mut fib = bench.fib.reader();
    fib.load().snek(&to, &Watermark::START).next
}

#[test]
fn the_peering_with_the_highest_priority_is_used() {
    let (mut bench, [low, a, _]) = three_peers(Config::default());
    let body = unsigned_body(UNIX_MS, ROOT, 1);
    bench.frame(low, &bootstrap(made_up(1), &body));
    assert_eq!(peer(&bench, low).routes, 1);
    let high = bench.connect_with(ROOT, 5);
    // Until it has announced itself, the other one is used.
    assert!(peer(&bench, low).parent && !peer(&bench, low).standby);
    bench.events.clear();
    bench.frame(high, &root_announcement(ROOT, None, 1));
    let (lower, higher) = (peer(&bench, low), peer(&bench, high));
    assert!(higher.parent && !higher.standby && lower.standby);
    assert_eq!((lower.routes, higher.routes), (0, 1));
    assert_eq!(bench.node.status().parent, Some((high, ROOT)));
    assert_eq!(way(&mut bench, ROOT), NextHop::Port(high));
    assert_eq!(way(&mut bench, made_up(1)), NextHop::Port(high));
    // Bootstraps that the peer sends over the other peering lead back over this one.
    bench.frame(low, &bootstrap(made_up(2), &body));
    assert_eq!(way(&mut bench, made_up(2)), NextHop::Port(high));
    assert_eq!(peer(&bench, high).routes, 2);
    // The root is the same, and so is the parent.
    let is_of_tree = |event: &Event| {
        matches!(
            event,
            Event::RootChanged { .. } | Event::ParentChanged { .. }
        )
    };
    assert!(!bench.events.iter().any(is_of_tree), "{:?}", bench.events);

    // A later announcement on standby changes nothing now, and counts when it is used again.
    bench.frame(low, &root_announcement(ROOT, None, 2));
    assert_eq!(bench.node.status().root_sequence, 1);
    bench.frame(high, &root_announcement(ROOT, None, 2));
    assert_eq!(bench.node.status().root_sequence, 2);
    bench.events.clear();
    bench.node.closed(bench.now, high);
    bench.drain();
    assert_eq!(bench.node.status().root_sequence, 2);
    let lower = peer(&bench, low);
    assert!(!lower.standby && lower.root == Some((ROOT, 2)));
    assert_eq!(lower.routes, 2);
    assert_eq!(way(&mut bench, ROOT), NextHop::Port(low));
    let lost = |event: &Event| matches!(event, Event::RouteRemoved { .. });
    assert!(!bench.events.iter().any(lost), "{:?}", bench.events);
    assert_ne!(way(&mut bench, made_up(1)), NextHop::Port(a));
}

#[test]
fn a_peering_on_standby_may_end_and_equals_are_used_together() {
    let (mut bench, [_, a, _]) = three_peers(Config::default());
    let [first, second] = [7, 7].map(|priority| bench.connect_with(PEER_A, priority));
    bench.frame(first, &child_announcement(ROOT, 1, PEER_A));
    bench.frame(second, &child_announcement(ROOT, 1, PEER_A));
    let standby = |bench: &Bench| [a, first, second].map(|port| peer(bench, port).standby);
    assert_eq!(standby(&bench), [true, false, false]);
    // One of several that are used may end.
    bench.node.closed(bench.now, first);
    bench.drain();
    assert!(peer(&bench, a).standby);
    assert_eq!(way(&mut bench, PEER_A), NextHop::Port(second));
    bench.node.closed(bench.now, a);
    bench.drain();
    assert_eq!(way(&mut bench, PEER_A), NextHop::Port(second));
    // Its port number may be that of a peering of another node.
    let b = bench.connect_with(PEER_B, 0);
    assert!(!peer(&bench, b).standby);
    bench.node.closed(bench.now, second);
    bench.drain();
    assert_ne!(way(&mut bench, PEER_A), NextHop::Port(b));
}

#[test]
fn a_replay_is_found_on_standby() {
    let (mut bench, [low, ..]) = three_peers(Config::default());
    let high = bench.connect_with(ROOT, 1);
    bench.frame(high, &root_announcement(ROOT, None, 3));
    bench.frame(low, &root_announcement(ROOT, None, 3));
    assert!(peer(&bench, low).standby);
    bench.frame(low, &root_announcement(ROOT, None, 2));
    assert_eq!(bench.closed.len(), 1);
    assert_eq!(bench.node.counters().announcements_replayed, 1);
    assert_eq!(bench.node.status().parent, Some((high, ROOT)));
}

#[test]
fn the_peer_gets_announcements_on_all_peerings_and_broadcasts_on_the_one_in_use() {
    let (mut bench, [low, ..]) = three_peers(Config::default());
    let high = bench.connect_with(ROOT, 1);
    bench.frame(high, &root_announcement(ROOT, None, 1));
    bench.sent.clear();
    bench.frame(high, &root_announcement(ROOT, None, 2));
    let told: Vec<_> = bench
        .take_sent(ANNOUNCEMENT)
        .into_iter()
        .map(|(port, _)| port)
        .collect();
    assert!(told.contains(&low) && told.contains(&high), "{told:?}");
    bench.wait(std::time::Duration::from_secs(130));
    let ports: Vec<_> = bench
        .take_sent(BROADCAST)
        .into_iter()
        .map(|(port, _)| port)
        .collect();
    assert!(ports.contains(&high) && !ports.contains(&low), "{ports:?}");
}
