//! A node that sends back what it receives, and another one that asks it: payloads and backpressure.

use std::error::Error;
use std::time::Duration;

use pinecone::{Node, PublicKey, SendError};

/// Sends a payload. If the queue to the first hop is full, waits for room.
async fn send(node: &Node, payload: &[u8], to: &PublicKey) -> Result<(), SendError> {
    loop {
        match node.send_to(payload, to) {
            Err(SendError::Full) => node.send_ready(to).await?,
            result => return result,
        }
    }
}

/// Sends back every payload until the node closes.
async fn echo(node: Node) -> Result<(), SendError> {
    while let Ok((payload, from)) = node.recv_from().await {
        send(&node, &payload, &from).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Node::builder().start().await?;
    let server = Node::builder().start().await?;
    pinecone::pipe(&client, &server).await?;
    let key = server.public_key();
    let serving = tokio::spawn(echo(server.clone()));

    // Routes are ready some milliseconds after the peering. Until then payloads are lost.
    let reply = client.reachable(&key, Duration::from_secs(10)).await?;
    println!("the server is {} hops away", reply.hops);
    for n in 1..=3 {
        send(&client, format!("hello {n}").as_bytes(), &key).await?;
        let (payload, from) = client.recv_from().await?;
        println!("{}: {}", from.short(), String::from_utf8_lossy(&payload));
    }

    client.close().await;
    server.close().await;
    serving.await??;
    Ok(())
}
