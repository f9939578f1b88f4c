//! Many nodes in one process.

use std::time::Duration;

use pinecone::pipe;

use crate::harness::{assert_sorted_ports, node, reaches, until};

#[tokio::test]
async fn ten_in_a_ring_all_reach_each_other() {
    let mut nodes = Vec::new();
    for n in 1..=10 {
        nodes.push(node(n).await);
    }
    for (i, a) in nodes.iter().enumerate() {
        pipe(a, &nodes[(i + 1) % nodes.len()]).await.unwrap();
    }
    let root = nodes.iter().map(pinecone::Node::public_key).max().unwrap();
    for a in &nodes {
        for b in &nodes {
            if a.public_key() != b.public_key() {
                assert!(reaches(a, b).await <= 9);
            }
        }
        let status = a.status().await.unwrap();
        assert_eq!(status.root, root);
        assert_eq!(status.peers.len(), 2);
        assert_sorted_ports(&status.peers);
    }
    // When one is lost, the others reach each other along the rest of the ring.
    let lost = nodes.remove(4);
    lost.close().await;
    for a in &nodes {
        for b in &nodes {
            if a.public_key() != b.public_key() {
                reaches(a, b).await;
            }
        }
    }
    for node in nodes {
        node.close().await;
    }
}

#[tokio::test]
async fn either_of_two_links_to_one_node_may_be_lost() {
    let (a, b) = (node(8).await, node(15).await);
    let first = pipe(&a, &b).await.unwrap();
    let second = pipe(&a, &b).await.unwrap();
    assert_ne!(first, second);
    reaches(&a, &b).await;
    a.disconnect(first.0).await.unwrap();
    until("traffic takes the other link", || async {
        let key = b.public_key();
        let reply = a.ping(&key, 0, Duration::from_millis(500)).await;
        reply.ok()
    })
    .await;
    assert_eq!(a.peers().await.unwrap().len(), 1);
}
