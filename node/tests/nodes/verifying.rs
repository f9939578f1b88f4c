//! Nodes that check signatures on threads of their own.

use std::time::Duration;

use pinecone::{Node, SecretKey, pipe};
use pinecone_wire::announcement::{push_frame, root_payload, sign};
use pinecone_wire::frame::push_bootstrap;
use pinecone_wire::{SignedBody, Watermark};

use crate::harness::{BarePeer, builder, counter, key, node, reaches, until, within};

/// The seed of the bare peer, which is the root, as its key is the highest of all.
const ROOT: u8 = 9;

fn announcement(sequence: u64) -> Vec<u8> {
    let root = key(ROOT);
    let payload = root_payload(&root.public_key(), sequence);
    let mut frame = Vec::new();
    push_frame(
        &mut frame,
        &payload,
        1,
        &root.public_key(),
        &sign(&payload, &root),
    )
    .unwrap();
    frame
}

fn bootstrap(secret: &SecretKey, sequence: u64, root_sequence: u64) -> Vec<u8> {
    let body = SignedBody::sign(secret, sequence, key(ROOT).public_key(), root_sequence);
    let mut frame = Vec::new();
    let own = secret.public_key();
    push_bootstrap(&mut frame, (0, 0), &own, &Watermark::START, &body.encode()).unwrap();
    frame
}

async fn verifying(threads: usize) -> (Node, BarePeer) {
    let node = (builder(15).verify_threads(threads).listen("127.0.0.1:0"))
        .start()
        .await
        .unwrap();
    let root = BarePeer::connect(node.local_addrs()[0], ROOT);
    (node, root)
}

async fn counted(node: &Node, name: &str, value: u64) {
    let what = format!("{name} reaches {value}");
    until(&what, || async {
        (counter(node, name).await >= value).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_nodes_with_verifiers_converges() {
    let left = builder(8).verify_threads(1).start().await.unwrap();
    let middle = builder(15).verify_threads(3).start().await.unwrap();
    let right = node(2).await;
    pipe(&left, &middle).await.unwrap();
    pipe(&middle, &right).await.unwrap();
    reaches(&left, &right).await;
    reaches(&right, &left).await;
    assert!(counter(&middle, "signatures_checked").await > 0);
    for node in [left, middle, right] {
        assert_eq!(counter(&node, "bootstraps_bad_signature").await, 0);
        within("a node closes", node.close()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_peers_frames_keep_their_order() {
    let (node, mut root) = verifying(3).await;
    let secrets: Vec<_> = (100..120).map(key).collect();
    let mut bytes = Vec::new();
    let mut sent = 0;
    // Roots, and bootstraps under them, are sent without a pause. Each bootstrap replaces the one before.
    for root_sequence in 1..=12 {
        bytes.extend(announcement(root_sequence));
        for n in 0..4 {
            for secret in &secrets {
                bytes.extend(bootstrap(secret, root_sequence * 10 + n, root_sequence));
                sent += 1;
            }
        }
    }
    root.send(&bytes);
    counted(&node, "announcements", 12).await;
    counted(&node, "bootstraps", sent).await;
    counted(&node, "signatures_checked", 12 + sent).await;
    for name in [
        "bootstraps_stale",
        "bootstraps_other_root",
        "bootstraps_bad_signature",
    ] {
        assert_eq!(counter(&node, name).await, 0, "{name}");
    }
    assert_eq!(node.status().await.unwrap().routes, secrets.len());
    within("the node closes", node.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_its_senders_own_trouble_and_closing_does_not_wait_for_it() {
    let (node, mut root) = verifying(2).await;
    root.send(&announcement(1));
    let friend = builder(8).verify_threads(1).start().await.unwrap();
    pipe(&node, &friend).await.unwrap();
    reaches(&friend, &node).await;
    let flood: Vec<u8> = (0..20)
        .flat_map(|n| {
            let mut frame = bootstrap(&key(n), 1, 1);
            // The signatures are bad, so that each of them must be checked.
            *frame.last_mut().unwrap() ^= 1;
            frame
        })
        .collect();
    let flooding = std::thread::spawn(move || {
        let mut stream = root.stream.try_clone().unwrap();
        // Fails when the node closes the connection.
        while std::io::Write::write_all(&mut stream, &flood).is_ok() {}
        drop(root);
    });
    counted(&node, "bootstraps_bad_signature", 5_000).await;
    for _ in 0..5 {
        let reply = friend
            .ping(&node.public_key(), 0, Duration::from_secs(20))
            .await;
        reply.unwrap();
    }
    // A new peer gets its share.
    let other = builder(2).start().await.unwrap();
    pipe(&node, &other).await.unwrap();
    reaches(&other, &node).await;
    within("the node closes", node.close()).await;
    flooding.join().unwrap();
}
