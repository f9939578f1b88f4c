//! A packet filter: a closure that decides about each traffic frame.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use pinecone::{FrameClass, Node, TrafficFrame};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let friend = Node::builder().start().await?;
    let stranger = Node::builder().start().await?;
    let trusted = friend.public_key();
    // Forwards everything, and receives from one key only. Sources are unproven claims.
    let filter = move |frame: &TrafficFrame<'_>| match frame.class() {
        FrameClass::Incoming => frame.source() == trusted && frame.payload().len() <= 1500,
        FrameClass::Outgoing | FrameClass::Transit => true,
    };
    let node = Node::builder()
        .packet_filter(Arc::new(filter))
        .start()
        .await?;
    let key = node.public_key();
    pinecone::pipe(&node, &friend).await?;
    pinecone::pipe(&node, &stranger).await?;

    let reply = friend.reachable(&key, Duration::from_secs(10)).await?;
    println!("the friend gets an answer after {:?}", reply.rtt);
    let error = stranger.reachable(&key, Duration::from_millis(300)).await;
    println!("the stranger: {error:?}");
    stranger.send_to("let me in", &key)?;
    friend.send_to("hello", &key)?;
    let (payload, from) = node.recv_from().await?;
    assert_eq!((&payload[..], from), (&b"hello"[..], trusted));
    let dropped = node
        .peers()
        .await?
        .iter()
        .map(|peer| peer.drops.len())
        .sum::<usize>();
    println!("peers whose frames were dropped: {dropped}");

    for node in [node, friend, stranger] {
        node.close().await;
    }
    Ok(())
}
