//! The publication of changes to readers, and large tables.

use std::collections::BTreeMap;

use pinecone_fib::{FibWriter, NextHop, PortId, Snapshot};
use pinecone_testing::Random;
use pinecone_wire::{Coordinates, PublicKey, Watermark};

use crate::tree;

/// Readers of a published snapshot see a refresh without publication, but not a new source.
#[test]
fn a_refresh_needs_no_publication() {
    let mut random = Random::new(1);
    let (own, key) = (PublicKey::MIN, PublicKey(random.bytes()));
    let (mut writer, fib) = FibWriter::new(own);
    writer.set_route(key, PortId(3), 10);
    writer.publish();
    let mut reader = fib.reader();
    let look = |snapshot: &Snapshot| {
        let hop = snapshot.snek(&key, &Watermark::START);
        (hop.next, hop.watermark.sequence)
    };
    let before: *const Snapshot = reader.load();
    writer.set_route(key, PortId(3), 11);
    assert_eq!(look(reader.load()), (NextHop::Port(PortId(3)), 11));
    writer.publish();
    assert!(std::ptr::eq(before, reader.load()), "published for nothing");
    writer.set_route(key, PortId(4), 12);
    assert_eq!(look(reader.load()), (NextHop::Port(PortId(3)), 11));
    assert_eq!(look(writer.snapshot()), (NextHop::Port(PortId(4)), 12));
    writer.publish();
    assert_eq!(look(reader.load()), (NextHop::Port(PortId(4)), 12));
    assert_eq!(writer.snapshot().route_count(), 1);
}

/// A change that changes nothing is not published.
#[test]
fn changes_without_effect_are_not_published() {
    let (mut writer, fib) = FibWriter::new(PublicKey::MIN);
    let (key, port) = (PublicKey([9; 32]), PortId(3));
    let set_all = |writer: &mut FibWriter| {
        writer.set_coordinates(vec![1, 2].into());
        writer.set_up(Some((PublicKey::MAX, port)));
        writer.set_own_key_port(Some(port));
        writer.set_near(key, Some(port));
        writer.set_peer_coordinates(port, vec![1].into(), 5);
        writer.remove_peer_coordinates(PortId(4));
        writer.publish();
    };
    set_all(&mut writer);
    let mut reader = fib.reader();
    let before: *const Snapshot = reader.load();
    set_all(&mut writer);
    assert!(std::ptr::eq(before, reader.load()));
    writer.clear_peer_coordinates();
    writer.publish();
    assert!(!std::ptr::eq(before, reader.load()));
}

/// Each of ten thousand children of one node is found by tree and by SNEK, while they come and go and
/// while the root's sequence changes.
#[test]
fn ten_thousand_peers_under_one_node() {
    const PEERS: u32 = if cfg!(miri) { 100 } else { 10_000 };
    let mut random = Random::new(5);
    let (mut writer, fib) = FibWriter::new(PublicKey(random.bytes()));
    let mut reader = fib.reader();
    let own_ports = [4, 1, 2, 3, 4, 5, 6, 7, 8];
    let keys: BTreeMap<_, _> = (1..=PEERS)
        .map(|port| (port, PublicKey(random.bytes())))
        .collect();
    let below = |more: &[u64]| Coordinates::from([&own_ports, more].concat());
    writer.set_coordinates(below(&[]));
    for order in [0, 1] {
        writer.clear_peer_coordinates();
        let above = Coordinates::from(own_ports[..4].to_vec());
        let hop = tree(writer.snapshot(), PortId::LOCAL, &above);
        assert_eq!(hop, NextHop::None);
        for (&port, key) in &keys {
            writer.set_near(*key, Some(PortId(port)));
            let preference = u64::from(order * PEERS + port);
            writer.set_peer_coordinates(PortId(port), below(&[port.into()]), preference);
        }
        writer.publish();
        let snapshot = reader.load();
        for (&port, key) in &keys {
            let to = below(&[port.into(), 77]);
            let hop = NextHop::Port(PortId(port));
            assert_eq!(tree(snapshot, PortId::LOCAL, &to), hop);
            assert_eq!(tree(snapshot, PortId(port), &to), NextHop::None);
            let found = snapshot.snek(key, &Watermark::START);
            assert_eq!((found.next, found.watermark.key), (hop, *key));
        }
    }
    for (&port, key) in keys.iter().filter(|(port, _)| *port % 100 != 0) {
        writer.remove_peer_coordinates(PortId(port));
        writer.set_near(*key, None);
    }
    writer.publish();
    for (&port, key) in &keys {
        let hop = tree(reader.load(), PortId::LOCAL, &below(&[port.into()]));
        let found = reader.load().snek(key, &Watermark::START);
        if port % 100 == 0 {
            assert_eq!(hop, NextHop::Port(PortId(port)));
            assert_eq!(found.next, hop);
        } else {
            assert_eq!(hop, NextHop::None);
            assert_ne!(found.watermark.key, *key);
        }
    }
}
