//! Announcements, bootstraps and broadcasts that are forged or excessive: each is handled and counted, and
//! no other peer is harmed.

use std::io::Write;
use std::time::{Duration, SystemTime};

use pinecone_wire::frame::{push_bootstrap, push_broadcast};
use pinecone_wire::{PublicKey, SecretKey, SignedBody, Watermark};

use crate::daemon::{key, wait_until};
use crate::raw_peer::{RawPeer, chain};
use crate::watched::{Watched, frame, seeds_by_key};

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_millis() as u64
}

#[test]
fn announcements_with_too_many_signatures_are_ignored() {
    let watched = Watched::start();
    let mut keys: Vec<SecretKey> = (0..675u16)
        .map(|i| {
            let mut seed = [0xa5; 32];
            seed[..2].copy_from_slice(&i.to_be_bytes());
            SecretKey::from_seed(&seed)
        })
        .collect();
    // The key of the root is above all others.
    keys.sort_by_key(SecretKey::public_key);
    keys.reverse();
    let root = keys[0].public_key().to_string();
    let announced = |len: usize| {
        let signers: Vec<_> = keys[..len].iter().collect();
        let mut peer = RawPeer::connect(watched.address(), signers[len - 1].clone());
        peer.send(&chain(&signers, 1));
        let public = peer.key.public_key();
        wait_until("the announcement to arrive", || {
            let known = watched.daemon.peer(&public);
            known
                .filter(|peer| peer["root"].is_string())
                .ok_or("not yet")
        });
        peer
    };
    for (n, len) in (1..).zip([501, 601, 675]) {
        let mut peer = announced(len);
        assert!(!peer.idle(Duration::from_secs(2)), "{len} signatures");
        watched.wait_for_counter("announcements_too_long", n);
        assert_ne!(watched.daemon.status()["root"]["key"], root.as_str());
    }
    // The longest announcement that is accepted ends no peering, neither here nor one hop further.
    let mut peer = announced(500);
    assert!(!peer.idle(Duration::from_secs(2)));
    assert_eq!(watched.daemon.status()["root"]["key"], root.as_str());
    watched.assert_unharmed();
}

#[test]
fn malformed_announcements_end_the_peering() {
    let watched = Watched::start();
    let (a, b) = (key(1), key(2));
    let looped = chain(&[&b, &a, &b], 1);
    for (bytes, reason) in [
        (frame(1, &[0, 3, 1, 2, 3]), "announcement is malformed"),
        (
            frame(1, &[&[0, 33][..], &[9; 33]].concat()),
            "has no signature",
        ),
        (looped, "signed twice"),
        (chain(&[&b], 0), "root sequence 0"),
    ] {
        let mut peer = watched.peer(b.clone());
        peer.send(&bytes);
        watched.assert_closed(&mut peer, reason);
    }
    watched.wait_for_counter("announcements_refused", 3);
    watched.wait_for_counter("announcements_replayed", 1);
    watched.assert_unharmed();
}

#[test]
fn bad_bootstraps_are_dropped_and_counted() {
    let watched = Watched::start();
    let mut peer = watched.peer(key(1));
    let status = watched.daemon.status();
    let root: PublicKey = status["root"]["key"].as_str().unwrap().parse().unwrap();
    let root_sequence = status["root"]["sequence"].as_u64().unwrap();
    let bootstrap = |key: &SecretKey, body: &[u8]| {
        let mut frame = Vec::new();
        push_bootstrap(
            &mut frame,
            (0, 0),
            &key.public_key(),
            &Watermark::START,
            body,
        )
        .unwrap();
        frame
    };
    let now = unix_ms();
    let sign = |sequence, root_sequence| SignedBody::sign(&key(1), sequence, root, root_sequence);
    let good = sign(now, root_sequence).encode();
    peer.send(&bootstrap(&key(1), &good));
    wait_until("the route", || {
        let routes = watched.daemon.status()["routes"].clone();
        if routes.as_u64() >= Some(1) {
            Ok(())
        } else {
            Err(routes)
        }
    });
    for (body, of, counter) in [
        (good.clone(), key(1), "bootstraps_stale"),
        (
            sign(now - 1, root_sequence).encode(),
            key(1),
            "bootstraps_stale",
        ),
        (
            sign(now + 1, root_sequence).encode(),
            key(2),
            "bootstraps_bad_signature",
        ),
        (
            sign(now + 2, root_sequence + 1).encode(),
            key(1),
            "bootstraps_other_root",
        ),
        (
            sign(now + 2 * 86_400_000, root_sequence).encode(),
            key(1),
            "bootstraps_future",
        ),
        (vec![1; 50], key(1), "bootstraps_malformed"),
    ] {
        let before = watched.daemon.counter(counter);
        peer.send(&bootstrap(&of, &body));
        watched.wait_for_counter(counter, before + 1);
    }
    assert!(watched.daemon.peer(&key(1).public_key()).is_some());
    watched.assert_unharmed();
}

#[test]
fn badly_signed_broadcasts_close_the_peering_only_when_they_go_on() {
    let watched = Watched::start();
    let mut peer = watched.peer(key(1));
    let status = watched.daemon.status();
    let root: PublicKey = status["root"]["key"].as_str().unwrap().parse().unwrap();
    let body = SignedBody::sign(&key(1), unix_ms(), root, 1).encode();
    // Signed by another key than it names.
    let mut bytes = Vec::new();
    push_broadcast(&mut bytes, (0, 5), &key(2).public_key(), &body).unwrap();
    peer.send(&bytes);
    watched.wait_for_counter("broadcasts_bad_signature", 1);
    assert!(
        watched.daemon.peer(&key(1).public_key()).is_some(),
        "once is forgiven"
    );
    for _ in 0..20 {
        // Fails once the daemon has closed the peering.
        let _ = peer.stream.write_all(&bytes);
    }
    watched.assert_closed(&mut peer, "badly signed broadcasts");
    watched.assert_unharmed();
}

#[test]
fn a_root_that_climbs_again_and_again_is_damped() {
    // Many keys in ascending order: each is above all before it.
    let seeds = seeds_by_key();
    let [daemon, witness, peer, ..] = seeds;
    let watched = Watched::of_seeds(daemon, witness);
    let mut peer = RawPeer::connect(watched.address(), key(peer));
    let roots = &seeds[seeds.len() - 80..];
    for root in roots {
        let frame = chain(&[&key(*root), &peer.key], 1);
        peer.send(&frame);
    }
    watched.wait_for_counter("root_changes_damped", 40);
    // The other peer learns of only a few roots, and later of the last one.
    let heard = watched.witness.counter("root_changes");
    assert!(heard <= 40, "{heard} of {}", roots.len());
    watched.assert_unharmed();
}
