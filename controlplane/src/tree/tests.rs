//! The recorded parent selections of a deployed node.

use std::collections::BTreeSet;
use std::time::Duration;

use pinecone_fib::FibWriter;
use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{Announcement, Coordinates, Frame, PublicKey, varu64};
use serde_json::Value;

use super::Tree;
use crate::context::Context;
use crate::keys::Signer;
use crate::rib::{Announced, Rib};
use crate::{Config, Effect, NewPeer, Now};

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn pool() -> Vec<PublicKey> {
    list(&vectors(include_str!("../../../wire/vectors/pool.json"))["keys"])
        .iter()
        .map(|key| key.as_str().unwrap().parse().unwrap())
        .collect()
}

fn announcement(root: &PublicKey, sequence: u64, signers: &[(u64, PublicKey)]) -> Announcement {
    let mut payload = root.as_bytes().to_vec();
    varu64::push(&mut payload, sequence);
    for (port, key) in signers {
        varu64::push(&mut payload, *port);
        payload.extend_from_slice(key.as_bytes());
        payload.extend_from_slice(&[0; 64]);
    }
    Announcement::decode(&payload).unwrap()
}

/// Returns a node in the initial state of a vector, and the ports whose peers are not up.
fn set_up(case: &Value, pool: &[PublicKey]) -> (Tree, Context, Vec<PortId>) {
    let own = pool[number(&case["self"]) as usize];
    let (fib, _) = FibWriter::new(own);
    let mut tree = Tree::new(own);
    let rib = Rib::new(own, fib);
    let mut cx = Context::new(Config::default(), Signer::unsigned(own), rib);
    let start = Duration::from_secs(100_000);
    cx.now = Now {
        monotonic: start,
        unix_ms: 0,
    };
    tree.start(start);
    tree.own_sequence = number(&case["selfseq"]);
    let mut down = Vec::new();
    for peer in list(&case["peers"]) {
        let port = PortId(number(&peer[0]) as u32);
        let link = match number(&peer[2]) {
            0 => LinkType::Pipe,
            1 => LinkType::Multicast,
            2 => LinkType::Bonjour,
            3 => LinkType::Remote,
            _ => LinkType::Bluetooth,
        };
        let new = NewPeer::new(pool[number(&peer[1]) as usize], link);
        cx.peers.insert(start, port, new);
        if number(&peer[3]) == 0 {
            down.push(port);
        }
        if number(&peer[4]) == 0 {
            continue;
        }
        let signers: Vec<_> = list(&peer[9])
            .iter()
            .map(|entry| (number(&entry[0]), pool[number(&entry[1]) as usize]))
            .collect();
        let keys: BTreeSet<_> = signers.iter().map(|(_, key)| *key).collect();
        let announcement =
            announcement(&pool[number(&peer[5]) as usize], number(&peer[6]), &signers);
        tree.store(
            &mut cx,
            port,
            Announced {
                peer_coordinates: announcement.peer_coordinates(),
                // An announcement with a repeated signer is refused on arrival, so there is no other mark for it here.
                unfit: keys.contains(&own) || keys.len() < signers.len(),
                announcement,
                received: start - Duration::from_secs(number(&peer[8])),
                order: number(&peer[7]),
            },
        );
    }
    let parent = PortId(number(&case["parent"]) as u32);
    tree.move_to(&mut cx, (parent != PortId::LOCAL).then_some(parent));
    // The recorded node keeps the announcement of a dead peer for a moment. Ours does not, so it stays in the RIB here
    // but is no candidate.
    for port in &down {
        if let Some(announced) = cx.rib.announced(*port) {
            tree.candidates.remove(*port, announced);
        }
    }
    while cx.effects.pop().is_some() {}
    (tree, cx, down)
}

#[test]
fn every_recorded_parent_selection() {
    let pool = pool();
    let file = vectors(include_str!("../../../wire/vectors/parent_selection.json"));
    let cases = list(&file["cases"]);
    assert_eq!(cases.len(), 450);
    for case in cases {
        let id = &case["id"];
        let (mut tree, mut cx, down) = set_up(case, &pool);
        let returned = tree.select_parent(&mut cx);
        assert_eq!(returned, case["returned"].as_bool().unwrap(), "{id}");
        let parent = tree.parent.map_or(0, |port| u64::from(port.0));
        assert_eq!(parent, number(&case["new_parent"]), "{id}");
        assert_eq!(tree.own_sequence, number(&case["new_selfseq"]), "{id}");
        let coordinates: Vec<_> = list(&case["new_coords"]).iter().map(number).collect();
        assert_eq!(
            tree.position.coordinates,
            Coordinates::from(coordinates),
            "{id}"
        );
        let mut sent = Vec::new();
        while let Some(effect) = cx.effects.pop() {
            if let Effect::Send { port, frame } = effect {
                let (_, frame) = Frame::parse(&frame).unwrap();
                assert!(matches!(frame, Frame::Announcement { .. }), "{id}");
                if !down.contains(&port) {
                    sent.push(u64::from(port.0));
                }
            }
        }
        let expected: Vec<_> = list(&case["sent"]).iter().map(number).collect();
        assert_eq!(sent, expected, "{id}");
    }
}
