//! The choice of signatures to verify, and verification on other threads, which changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::thread;
use std::time::Duration;

use pinecone_controlplane::{
    CloseReason, Config, ControlPlane, Effect, NewPeer, Now, Unverified, Verified,
};
use pinecone_fib::FibWriter;
use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{
    Announcement, AnnouncementError, Frame, PublicKey, SecretKey, Signature, SignedBody, Watermark,
    announcement, frame,
};

const UNIX_MS: u64 = 1_800_000_000_000;

fn now(ms: u64) -> Now {
    Now {
        monotonic: Duration::from_millis(ms),
        unix_ms: UNIX_MS + ms,
    }
}

fn secret(n: u16) -> SecretKey {
    let mut seed = [0x5e; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    SecretKey::from_seed(&seed)
}

/// Returns keys in descending order.
fn secrets(count: u16) -> Vec<SecretKey> {
    let mut secrets: Vec<_> = (0..count).map(secret).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.public_key()));
    secrets
}

fn new_node(secret: &SecretKey) -> ControlPlane {
    let (fib, _) = FibWriter::new(secret.public_key());
    let mut node = ControlPlane::new(Config::default(), secret.clone(), fib);
    node.tick(now(0));
    node
}

fn connect(node: &mut ControlPlane, key: PublicKey) -> PortId {
    let link = LinkType::Remote;
    node.connect(now(0), NewPeer::new(key, link)).unwrap()
}

fn drain(node: &mut ControlPlane) -> Vec<Effect> {
    std::iter::from_fn(|| node.poll_effect()).collect()
}

/// Returns the announcement of the last of `signers` under the first, each with its port number at the next.
fn announced(signers: &[(&SecretKey, u64)], sequence: u64) -> Vec<u8> {
    let mut payload = announcement::root_payload(&signers[0].0.public_key(), sequence);
    let mut out = Vec::new();
    for (secret, port) in signers {
        let signature = announcement::sign(&payload, secret);
        out.clear();
        let key = secret.public_key();
        announcement::push_frame(&mut out, &payload, *port, &key, &signature).unwrap();
        payload = out[12..].to_vec();
    }
    out
}

fn bootstrap(secret: &SecretKey, sequence: u64, root: PublicKey, root_sequence: u64) -> Vec<u8> {
    let body = SignedBody::sign(secret, sequence, root, root_sequence);
    let mut out = Vec::new();
    let key = secret.public_key();
    frame::push_bootstrap(&mut out, (0, 0), &key, &Watermark::START, &body.encode()).unwrap();
    out
}

fn broadcast(secret: &SecretKey, sequence: u64, root: PublicKey, root_sequence: u64) -> Vec<u8> {
    let body = SignedBody::sign(secret, sequence, root, root_sequence);
    let mut out = Vec::new();
    frame::push_broadcast(&mut out, (0, 5), &secret.public_key(), &body.encode()).unwrap();
    out
}

/// Returns the frame with a bad signature.
fn spoilt(mut frame: Vec<u8>) -> Vec<u8> {
    *frame.last_mut().unwrap() ^= 1;
    frame
}

#[test]
fn frames_that_are_dropped_anyway_are_not_verified() {
    let secrets = secrets(5);
    let [root, peer, own, some, other] = &secrets[..] else {
        unreachable!("five were made")
    };
    let root_key = root.public_key();
    let mut node = new_node(own);
    let above = connect(&mut node, root_key);
    let beside = connect(&mut node, peer.public_key());
    node.frame(now(0), above, &announced(&[(root, 1)], 7));
    let checked = |node: &ControlPlane| node.counters().signatures_checked;
    assert_eq!(checked(&node), 1);

    let good = bootstrap(some, UNIX_MS, root_key, 7);
    node.frame(now(0), beside, &good);
    assert_eq!(node.counters().frames_unannounced, 1);
    node.frame(now(0), above, &good);
    node.frame(now(0), above, &broadcast(some, UNIX_MS, root_key, 7));
    assert_eq!(checked(&node), 3);
    assert_eq!(node.counters().bootstraps_ended, 1);

    // All are badly signed, so only the order of the checks keeps their signatures from being verified.
    let lead = 86_460_000;
    for frame in [
        bootstrap(some, UNIX_MS, root_key, 7),
        bootstrap(some, UNIX_MS - 1, root_key, 7),
        bootstrap(other, UNIX_MS, root_key, 6),
        bootstrap(other, UNIX_MS, peer.public_key(), 7),
        bootstrap(other, UNIX_MS + lead, root_key, 7),
        bootstrap(own, UNIX_MS, root_key, 7),
        broadcast(some, UNIX_MS, root_key, 7),
        broadcast(some, UNIX_MS + 29_999, root_key, 7),
        broadcast(other, UNIX_MS, root_key, 8),
        broadcast(other, UNIX_MS + lead, root_key, 7),
        broadcast(own, UNIX_MS, root_key, 7),
    ] {
        node.frame(now(0), above, &spoilt(frame));
    }
    let counters = node.counters();
    assert_eq!(counters.signatures_checked, 3, "{counters}");
    assert_eq!(counters.bootstraps_stale, 2);
    assert_eq!(counters.bootstraps_other_root, 2);
    assert_eq!(counters.bootstraps_future, 1);
    assert_eq!(counters.bootstraps_own, 1);
    assert_eq!(counters.broadcasts_repeated, 2);
    assert_eq!(counters.broadcasts_other_root, 1);
    assert_eq!(counters.broadcasts_future, 1);
    assert_eq!(counters.broadcasts_own, 1);
    assert_eq!(counters.peers_closed, 0);

    // So is an announcement that is refused for its content.
    node.frame(now(0), above, &spoilt(announced(&[(root, 1)], 6)));
    let counters = node.counters();
    assert_eq!(counters.announcements_replayed, 1);
    assert_eq!(counters.signatures_checked, 3);
}

#[test]
fn announcements_down_one_branch_cost_one_verification_each() {
    let secrets = secrets(103);
    let [root, middle, own, children @ ..] = &secrets[..] else {
        unreachable!("more were made")
    };
    let mut node = new_node(own);
    let above = connect(&mut node, middle.public_key());
    node.frame(now(0), above, &announced(&[(root, 3), (middle, 4)], 9));
    assert_eq!(node.counters().signatures_checked, 2);
    for child in children {
        let port = connect(&mut node, child.public_key());
        let down = [(root, 3), (middle, 4), (own, u64::from(port.0)), (child, 1)];
        node.frame(now(0), port, &announced(&down, 9));
    }
    let counters = node.counters();
    assert_eq!(
        node.peers().iter().filter(|p| p.root.is_some()).count(),
        101
    );
    // One of them is the node's own signature.
    assert_eq!(counters.signatures_checked, 2 + 1 + 100, "{counters}");
    assert_eq!(counters.signatures_known, 2 + 99 * 3);
    assert_eq!(counters.peers_closed, 0);
}

#[test]
fn differences_from_a_known_branch_are_verified() {
    let secrets = secrets(5);
    let [root, middle, own, peer, _] = &secrets[..] else {
        unreachable!("five were made")
    };
    let signers = [(root, 3), (middle, 4), (peer, 5)];
    let good = announced(&signers, 9);
    let payload_of = |frame: &[u8]| match Frame::parse(frame).unwrap().1 {
        Frame::Announcement { payload } => payload.to_vec(),
        _ => unreachable!("it is an announcement"),
    };
    let decoded = Announcement::decode(&payload_of(&good)).unwrap();
    // The offsets of the port, the key and the signature of each entry. A port takes one byte here.
    let entry = |n: usize| 12 + 33 + n * 97;
    assert_eq!(decoded.payload().len(), 33 + 3 * 97);
    for (at, first_bad) in [
        (entry(0), 1),
        (entry(0) + 33, 0),
        (entry(1), 2),
        (entry(1) + 33 + 40, 1),
        (entry(2) + 33, 2),
    ] {
        let mut node = new_node(own);
        let known = connect(&mut node, middle.public_key());
        node.frame(now(0), known, &announced(&signers[..2], 9));
        let port = connect(&mut node, peer.public_key());
        drain(&mut node);
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        node.frame(now(0), port, &bad);
        let closed: Vec<_> = drain(&mut node)
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Close { port, reason } => Some((port, reason)),
                _ => None,
            })
            .collect();
        let error = AnnouncementError::Signature { index: first_bad };
        assert_eq!(closed, [(port, CloseReason::Announcement(error))], "{at}");
    }
}

#[test]
fn a_verdict_for_an_ended_peering_is_ignored() {
    let secrets = secrets(4);
    let [root, peer, own, some] = &secrets[..] else {
        unreachable!("four were made")
    };
    let mut node = new_node(own);
    let above = connect(&mut node, root.public_key());
    let port = connect(&mut node, peer.public_key());
    node.frame(now(0), above, &announced(&[(root, 1)], 7));
    let announcement = announced(&[(root, 2), (peer, 1)], 7);
    node.frame(now(0), port, &announcement);
    let frame = bootstrap(some, UNIX_MS, root.public_key(), 7);
    let pending = node.admit(now(0), port, &frame).unwrap();
    let again = node.admit(now(0), port, &announcement).unwrap();
    assert!(again.holds_up() && !pending.holds_up());
    node.closed(now(0), port);
    // Its port number is reused.
    assert_eq!(connect(&mut node, some.public_key()), port);
    node.apply(now(0), pending.verify());
    node.apply(now(0), again.verify());
    assert_eq!(node.status().routes, 0);
    assert!(
        node.peers()
            .iter()
            .all(|p| p.port != port || p.root.is_none())
    );
}

#[test]
fn one_of_two_copies_in_flight_is_accepted() {
    let secrets = secrets(4);
    let [root, own, some, other] = &secrets[..] else {
        unreachable!("four were made")
    };
    let root_key = root.public_key();
    let mut node = new_node(own);
    let above = connect(&mut node, root_key);
    node.frame(now(0), above, &announced(&[(root, 1)], 7));
    let frames = [
        bootstrap(some, UNIX_MS, root_key, 7),
        bootstrap(some, UNIX_MS, root_key, 7),
        broadcast(other, UNIX_MS, root_key, 7),
        broadcast(other, UNIX_MS, root_key, 7),
    ];
    let pending: Vec<_> = frames
        .iter()
        .filter_map(|f| node.admit(now(0), above, f))
        .collect();
    assert_eq!(pending.len(), 4);
    for unverified in pending {
        node.apply(now(0), unverified.verify());
    }
    let counters = node.counters();
    assert_eq!((counters.bootstraps, counters.bootstraps_stale), (2, 1));
    assert_eq!((counters.broadcasts, counters.broadcasts_repeated), (2, 1));
    assert_eq!(node.status().routes, 1);

    // A frame under a root that has been replaced by the time of the verdict is not accepted.
    let late = node
        .admit(now(1), above, &bootstrap(some, UNIX_MS + 1, root_key, 7))
        .unwrap();
    node.frame(now(1), above, &announced(&[(root, 1)], 8));
    node.apply(now(1), late.verify());
    assert_eq!(node.counters().bootstraps_other_root, 1);
}

/// Good and bad frames have the same effects with and without verification on other threads.
#[test]
fn verifying_on_other_threads_changes_nothing() {
    let secrets = secrets(44);
    let [root, peer, own, others @ ..] = &secrets[..] else {
        unreachable!("more were made")
    };
    let root_key = root.public_key();
    let mut frames = Vec::new();
    for (n, some) in others.iter().enumerate() {
        for round in 0..3 {
            let sequence = UNIX_MS + round;
            let frame = match n % 3 {
                0 => broadcast(some, sequence, root_key, 7),
                _ => bootstrap(some, sequence, root_key, 7),
            };
            let bad = (n as u64 + round).is_multiple_of(4);
            frames.push(if bad && n % 3 != 0 {
                spoilt(frame)
            } else {
                frame
            });
        }
    }
    let below = || {
        let mut node = new_node(own);
        let above = connect(&mut node, root_key);
        let port = connect(&mut node, peer.public_key());
        node.frame(now(0), above, &announced(&[(root, 1)], 7));
        node.frame(now(0), port, &announced(&[(root, 2), (peer, 1)], 7));
        drain(&mut node);
        (node, port)
    };
    let (mut at_once, port) = below();
    for frame in &frames {
        at_once.frame(now(5), port, frame);
    }
    let (mut elsewhere, port) = below();
    for some in frames.chunks(16) {
        let admitted = some.iter().filter_map(|f| elsewhere.admit(now(5), port, f));
        let threads: Vec<_> = admitted
            .map(|unverified: Unverified| thread::spawn(move || unverified.verify()))
            .collect();
        let verified: Vec<Verified> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        for verified in verified {
            assert_eq!(verified.port(), port);
            elsewhere.apply(now(5), verified);
        }
    }
    assert_eq!(drain(&mut at_once), drain(&mut elsewhere));
    assert_eq!(at_once.status(), elsewhere.status());
    assert!(at_once.counters().bootstraps_bad_signature > 10);
    assert!(at_once.status().routes > 20);
    let mut counters = elsewhere.counters();
    // Copies that are in flight at the same time are all verified.
    counters.signatures_checked = at_once.counters().signatures_checked;
    assert_eq!(at_once.counters(), counters);
}

/// Shows why signatures are not verified in batches: see the documentation of `verify`.
#[test]
fn a_batch_would_accept_what_deployed_nodes_refuse() {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use curve25519_dalek::{EdwardsPoint, Scalar};
    use sha2::{Digest, Sha512};

    let key = ed25519_dalek::SigningKey::from_bytes(&[0x77; 32]);
    let public = key.verifying_key();
    let of_order_two = EIGHT_TORSION[4];
    let taken = (0..64_u64).filter(|n| {
        let message = n.to_be_bytes();
        let nonce = Scalar::from(n + 12345);
        let point = (EdwardsPoint::mul_base(&nonce) + of_order_two).compress();
        let hash = Sha512::new()
            .chain_update(point.as_bytes())
            .chain_update(public.as_bytes())
            .chain_update(message);
        let challenge = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(point.as_bytes());
        signature[32..].copy_from_slice((nonce + challenge * key.to_scalar()).as_bytes());
        let ours = PublicKey(public.to_bytes());
        assert!(
            !ours.verify(&message, &Signature(signature)),
            "singly it is refused"
        );
        let theirs = ed25519_dalek::Signature::from_bytes(&signature);
        ed25519_dalek::verify_batch(&[&message], &[theirs], &[public]).is_ok()
    });
    let taken = taken.count();
    assert!((8..=56).contains(&taken), "about half of 64: {taken}");
}
