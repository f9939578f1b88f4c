//! Events of a node, from its very first one.

use std::error::Error;

use pinecone::{Event, Node};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let peer = Node::builder().listen("127.0.0.1:0").start().await?;
    // The node dials as soon as it starts. A subscription by `Node::events` may miss that.
    let builder = Node::builder().connect(peer.local_addrs()[0].to_string());
    let mut events = builder.events();
    let node = builder.start().await?;
    let stop = tokio::spawn(async move {
        node.joined().await?;
        node.close().await;
        Ok::<_, pinecone::Closed>(())
    });
    // `Events` is a `Stream`, too. It ends when the node has closed.
    while let Some(event) = events.next().await {
        match event {
            Event::PeerAdded { port, remote, .. } => println!("port {port}: peering with {remote}"),
            Event::PeerRemoved { port, reason, .. } => println!("port {port}: {reason}"),
            Event::Missed { events } => println!("too slow: {events} events are lost"),
            Event::Failed { error } => eprintln!("the node cannot go on: {error}"),
            other => println!("{other:?}"),
        }
    }
    stop.await??;
    peer.close().await;
    Ok(())
}
