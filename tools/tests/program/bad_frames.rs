//! Malformed and unusual frames, as real bytes on a real socket: each is handled and counted, and no other
//! peer is harmed.

use std::io::Write;
use std::time::Duration;

use pinecone_wire::frame::KEEPALIVE;
use pinecone_wire::{Coordinates, MAX_FRAME_LEN, SecretKey, TrafficLayout};
use serde_json::json;

use crate::daemon::{PATIENCE, key, wait_at_most, wait_until};
use crate::raw_peer::{RawPeer, chain_of};
use crate::traffic::{traffic, traffic_with};
use crate::watched::{Watched, frame, header, seeds_by_key};

#[test]
fn malformed_frames_end_their_own_peering_only() {
    let watched = Watched::start();
    let key_bytes = [7; 32];
    let bad: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "no frame at all",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            "bad magic",
        ),
        ("length 0", header(3, 0), "frame length 0"),
        ("length 9", header(0, 9), "frame length 9"),
        ("traffic without a body", header(3, 10), "does not fit"),
        (
            "payload beyond the frame",
            frame(1, &[0xff, 0xff, 1, 2, 3]),
            "does not fit",
        ),
        (
            "broadcast payload beyond the frame",
            frame(4, &[&[0x10, 0][..], &key_bytes, &[0; 99]].concat()),
            "does not fit",
        ),
        (
            "bootstrap payload beyond the frame",
            frame(2, &[&[0x10, 0][..], &[7; 64], &[1], &[0; 99]].concat()),
            "does not fit",
        ),
        (
            "traffic payload beyond the frame",
            frame(
                3,
                &[&[0x10, 0, 0, 0, 0, 0][..], &[7; 96], &[1, 2, 3]].concat(),
            ),
            "does not fit",
        ),
        (
            "bytes after the payload of traffic",
            frame(3, &[&[0, 1, 0, 0, 0, 0][..], &[7; 96], &[1, 2, 3]].concat()),
            "left over",
        ),
        (
            "coordinates beyond the frame",
            frame(3, &[&[0, 0, 0xff, 0xff][..], &[1; 120]].concat()),
            "does not fit",
        ),
        (
            "a number that is longer than needed",
            frame(3, &[&[0, 0, 0, 2, 0x80, 1, 0, 0][..], &[7; 64]].concat()),
            "malformed number",
        ),
        (
            "a number that never ends",
            frame(2, &[&[0, 0][..], &[7; 64], &[0xff; 20]].concat()),
            "malformed number",
        ),
    ];
    for (count, (name, bytes, reason)) in (1..).zip(bad) {
        println!("{name}");
        let mut peer = watched.peer(key(19 + count));
        peer.send(&bytes);
        watched.assert_closed(&mut peer, reason);
        watched.wait_for_counter("peerings_bad_frame", count.into());
    }
    watched.assert_unharmed();
}

/// Frames that deployed nodes refuse, misinterpret, or crash on.
#[test]
fn recorded_bad_frames_end_their_own_peering_only() {
    // Accepted or ignored (protocol section 3). The first two are incomplete frames.
    let harmless = [
        "version-1",
        "unknown-type-5",
        "unknown-type-255",
        "keepalive-with-trailing-bytes",
        "bootstrap-payload-len-too-small",
    ];
    let beginnings = ["empty", "nine-bytes"];
    let watched = Watched::start();
    let vectors = include_str!("../../../wire/vectors/frames_negative.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 29);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        if beginnings.contains(&name) {
            continue;
        }
        println!("{name}");
        let mut peer = watched.peer(key(1));
        peer.send(&hex::decode(case["hex"].as_str().unwrap()).unwrap());
        if harmless.contains(&name) {
            assert!(!peer.idle(Duration::from_millis(300)), "{name}");
            drop(peer);
        } else {
            peer.wait_closed();
        }
        wait_until("the peering to end", || {
            watched
                .daemon
                .peer(&key(1).public_key())
                .map_or(Ok(()), Err)
        });
    }
    watched.assert_unharmed();
}

#[test]
fn half_a_frame_and_gone() {
    let watched = Watched::start();
    let whole = traffic(key(1).public_key(), watched.witness.key, &[1; 30000]);
    for cut in [1, 9, 10, 11, 100, whole.len() - 1] {
        let mut peer = watched.peer(key(1));
        peer.send(&whole[..cut]);
        drop(peer);
        wait_until("the peering to end", || {
            watched
                .daemon
                .peer(&key(1).public_key())
                .map_or(Ok(()), Err)
        });
    }
    watched.assert_unharmed();
}

#[test]
fn unknown_types_and_trailing_bytes_are_passed_over() {
    let watched = Watched::start();
    let mut peer = watched.peer(key(1));
    peer.send(&frame(77, &[1; 500]));
    peer.send(&frame(0, b"after a keepalive"));
    peer.send(&frame(255, &[]));
    peer.send(&KEEPALIVE);
    // The peering still works, and later frames are parsed.
    let question = traffic(peer.key.public_key(), watched.daemon.key, b"?");
    peer.send(&question);
    wait_until("the frames to be counted", || {
        let now = watched.daemon.peer(&key(1).public_key()).ok_or("closed")?;
        match (&now["drops"]["unknown_type"], &now["rx_traffic_frames"]) {
            (unknown, traffic) if *unknown == 2 && *traffic == 1 => Ok(()),
            _ => Err("not yet"),
        }
    });
    watched.assert_unharmed();
}

#[test]
fn a_frame_that_would_outgrow_its_length_is_dropped() {
    // The daemon is the root, so none of its peers is nearer to coordinates that do not exist.
    let [low, other, .., high] = seeds_by_key();
    let watched = Watched::of_seeds(high, low);
    let mut peer = watched.peer(key(other));
    let public = peer.key.public_key();
    // Coordinates that lead nowhere are replaced by a watermark, which is longer.
    let (none, nowhere) = (Coordinates::default(), Coordinates::from(vec![99]));
    let to_nowhere =
        |payload: &[u8]| traffic_with(&none, public, &nowhere, watched.witness.key, payload);
    let empty = to_nowhere(&[]).len();
    let long = to_nowhere(&vec![5; MAX_FRAME_LEN - empty]);
    assert_eq!(long.len(), MAX_FRAME_LEN);
    peer.send(&long);
    wait_until("the drop to be counted", || {
        let now = watched.daemon.peer(&public).ok_or("closed".to_owned())?;
        let witness = watched.daemon.peer(&watched.witness.key).ok_or("closed")?;
        let drops = [&now["drops"]["too_long"], &witness["drops"]["too_long"]];
        if drops.iter().any(|drops| **drops == 1) {
            Ok(())
        } else {
            Err(now.to_string())
        }
    });
    watched.assert_unharmed();
}

#[test]
fn forged_coordinates_lead_astray_for_seconds_only() {
    // The daemon is the root and the parent of all others.
    let [witness, liar, .., daemon] = seeds_by_key();
    let watched = Watched::of_seeds(daemon, witness);
    let mut liar = watched.peer(key(liar));
    liar.follow();
    let public = liar.key.public_key();
    let port = wait_until("the liar to be in the tree", || {
        let known = watched.daemon.peer(&public).ok_or("gone".to_owned())?;
        match known["root"] == watched.daemon.key.to_string() {
            true => Ok(known["port"].as_u64().unwrap()),
            false => Err(known.to_string()),
        }
    });
    let forge = |coordinates: Vec<u64>| {
        let none = Coordinates::default();
        let (from, to) = (watched.witness.key, watched.daemon.key);
        traffic_with(&coordinates.into(), from, &none, to, b"I am the witness")
    };
    // Coordinates that do not exist.
    liar.send(&forge(vec![9999]));
    watched
        .daemon
        .ping(&watched.witness.key, PATIENCE)
        .expect("the snake leads there");
    // The attacker's own coordinates: it receives the frames for the witness and keeps them.
    wait_until("a frame to be led astray", || {
        liar.send(&forge(vec![port]));
        let lost = watched.daemon.ping(&watched.witness.key, PATIENCE / 100);
        lost.err().map_or(Err("it arrived"), |_| Ok(()))
    });
    let stolen = liar.next_traffic();
    let layout = TrafficLayout::parse(&stolen).unwrap();
    assert_eq!(layout.destination_key(&stolen), watched.witness.key);
    // It does not last, and the answer corrects the coordinates.
    watched.daemon.wait_for_ping(&watched.witness.key);
    watched
        .daemon
        .ping(&watched.witness.key, PATIENCE)
        .expect("found again");
    watched.assert_unharmed();
}

#[test]
fn coordinates_too_deep_for_any_tree_are_not_kept() {
    let watched = Watched::start();
    let mut peer = watched.peer(key(1));
    let public = peer.key.public_key();
    let deepest = Coordinates::from(vec![1; 65_000]);
    let before = watched.daemon.memory();
    // If these were stored, each would take half a megabyte.
    const FRAMES: u64 = 500;
    for number in 0..FRAMES {
        let mut source_key = watched.witness.key;
        source_key.0[..8].copy_from_slice(&number.to_be_bytes());
        let none = Coordinates::default();
        let frame = traffic_with(&deepest, source_key, &none, watched.daemon.key, &[]);
        peer.send(&frame);
    }
    wait_until("all to arrive", || {
        let known = watched.daemon.peer(&public).ok_or("gone".to_owned())?;
        match known["rx_traffic_frames"].as_u64() {
            Some(FRAMES) => Ok(()),
            _ => Err(known.to_string()),
        }
    });
    let grown = watched.daemon.memory().peak - before.rss;
    assert!(grown < 100 << 20, "{grown} bytes");
    watched.assert_unharmed();
}

#[test]
fn a_frame_that_cannot_be_built_is_an_error_to_its_sender() {
    // The path from the root to the daemon has a hundred nodes with the highest port numbers.
    let [daemon, witness, signers @ ..] = seeds_by_key();
    let watched = Watched::of_seeds(daemon, witness);
    let signers: Vec<_> = signers[154..].iter().rev().map(|s| key(*s)).collect();
    let chained: Vec<_> = signers.iter().collect();
    let mut peer = RawPeer::connect(watched.address(), signers[signers.len() - 1].clone());
    peer.send(&chain_of(&chained, 1, u64::MAX));
    wait_until("the daemon to follow", || {
        let status = watched.daemon.status();
        match status["coordinates"].as_array().unwrap().len() {
            100 => Ok(()),
            _ => Err(status),
        }
    });
    // Its own coordinates take a thousand bytes. 64 KiB of payload would fit only without them.
    let ping = |size: usize| {
        watched.daemon.try_ask(&json!({
            "request": "ping", "key": watched.witness.key.to_string(), "count": 1, "size": size,
            "interval_ms": 1000, "timeout_ms": PATIENCE.as_millis() as u64,
        }))
    };
    for size in [65_460, 65_000, 64_500] {
        let reply = ping(size).unwrap();
        let error = reply["error"].as_str().unwrap();
        assert!(error.contains("too long"), "{error}");
    }
    wait_until("what fits to get there", || {
        let reply = ping(60_000).unwrap();
        reply.get("rtt_ms").map(|_| ()).ok_or(reply)
    });
    watched.assert_unharmed();
}

#[test]
fn more_peerings_than_a_byte_can_count() {
    let watched = Watched::start();
    let peers: Vec<_> = (0..300u16)
        .map(|i| {
            let mut seed = [0x5a; 32];
            seed[..2].copy_from_slice(&i.to_be_bytes());
            RawPeer::announced(watched.address(), SecretKey::from_seed(&seed))
        })
        .collect();
    wait_at_most(Duration::from_secs(4), "301 peerings at once", || {
        let status = watched.daemon.status();
        let up = status["peers"].as_array().unwrap().len();
        if up == 301 { Ok(()) } else { Err(up) }
    });
    // A peer with a high port number is served like any other.
    let last = watched.daemon.peer(&peers[299].key.public_key()).unwrap();
    assert!(last["port"].as_u64().unwrap() > 253, "{last}");
    drop(peers);
    wait_until("the peerings to end", || {
        let up = watched.daemon.status()["peers"].as_array().unwrap().len();
        if up == 1 { Ok(()) } else { Err(up) }
    });
    watched.assert_unharmed();
}

#[test]
fn a_peer_that_stops_reading_is_let_go() {
    let watched = Watched::start();
    let mut deaf = watched.peer(key(1));
    let mut loud = watched.peer(key(2));
    let bytes = traffic(key(2).public_key(), key(1).public_key(), &[9; 32000]);
    let down = || {
        let log = watched.daemon.log();
        let key = key(1).public_key().to_string();
        log.lines()
            .any(|l| l.contains("peering down") && l.contains(&key))
    };
    wait_until("the deaf peer's end", || {
        for _ in 0..20 {
            loud.send(&bytes);
        }
        // The peer sends, but does not read.
        let _ = deaf.stream.write_all(&KEEPALIVE);
        if down() { Ok(()) } else { Err("still up") }
    });
    watched
        .daemon
        .wait_for_log("the peer took no bytes for 5 s");
    watched.assert_unharmed();
}
