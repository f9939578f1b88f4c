//! Matching on errors: every type that an error names can be named.

use std::error::Error;
use std::time::Duration;

use pinecone::{
    AddListenerError, AddressError, Builder, ConnectError, DialError, DisconnectError,
    HandshakeFailed, ListenError, Node, NodeOptions, PingError, PortId, Refused, SendError,
    StartError, StaticPeerError, TryRecvError,
};

/// Returns advice for the operator of a node that does not start.
fn advice_on_start(error: &StartError) -> String {
    match error {
        StartError::Option(wrong) => format!("correct the option {}", wrong.option),
        StartError::Listen(ListenError::InUse { address }) => format!("free the address {address}"),
        StartError::Listen(ListenError::Address(AddressError::Port(text))) => {
            format!("give a port: {text}")
        }
        StartError::StaticPeers(AddressError::Scheme { scheme, .. }) => {
            format!("do not use {scheme}")
        }
        StartError::System { source, .. } => format!("ask the system: {source}"),
        other => other.to_string(),
    }
}

/// Reports whether it makes sense to connect again later.
fn may_succeed_later(error: &ConnectError) -> bool {
    match error {
        ConnectError::Dial { source, .. } => match source {
            DialError::Handshake { source, .. } => may_shake_hands_later(source),
            DialError::Resolve(_) | DialError::LookupTimeout(_) => true,
            DialError::Connect { .. } | DialError::Timeout { .. } => true,
            _ => false,
        },
        ConnectError::Handshake(source) => may_shake_hands_later(source),
        ConnectError::Refused(reason) => !matches!(reason, Refused::OwnKey),
        ConnectError::Address(_) | ConnectError::Closed(_) => false,
        _ => false,
    }
}

fn may_shake_hands_later(error: &HandshakeFailed) -> bool {
    matches!(
        error,
        HandshakeFailed::Timeout(_) | HandshakeFailed::Eof { .. }
    )
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = NodeOptions {
        bandwidth_interval: Duration::ZERO,
        ..NodeOptions::default()
    };
    if let Err(error) = Builder::from(options).start().await {
        println!("{error}: {}", advice_on_start(&error));
    }
    let node = Node::builder().listen("127.0.0.1:0").start().await?;
    let address = node.local_addrs()[0].to_string();
    if let Err(error) = Node::builder().listen(&address).start().await {
        println!("{error}: {}", advice_on_start(&error));
    }
    // The node dials itself.
    if let Err(error) = node.connect(&address).await {
        println!("{error}: try again later: {}", may_succeed_later(&error));
    }

    match node.listen(&address).await {
        Err(AddListenerError::Listen(error)) => println!("{error}"),
        Err(AddListenerError::Closed(closed)) => println!("{closed}"),
        other => println!("{other:?}"),
    }
    for _ in 0..2 {
        match node.add_static_peer("192.0.2.1:65432").await {
            Err(StaticPeerError::Exists(address)) => println!("{address} was added before"),
            other => other?,
        }
    }
    node.remove_static_peer("192.0.2.1:65432").await?;

    let nobody = Node::builder().start().await?.public_key();
    match node.ping(&nobody, 0, Duration::from_millis(50)).await {
        Err(PingError::Timeout) => println!("nobody answers"),
        Err(PingError::Send(SendError::Closed(closed))) => println!("{closed}"),
        other => println!("{other:?}"),
    }
    match node.send_to(vec![0; 1 << 16], &nobody) {
        Err(SendError::TooLong { len, max }) => println!("{len} bytes are more than {max}"),
        Err(SendError::Full) => node.send_ready(&nobody).await?,
        other => other?,
    }
    match node.disconnect(PortId(7)).await {
        Err(DisconnectError::NoSuchPeering(port)) => println!("no peering has port {port}"),
        other => other?,
    }
    node.close().await;
    match node.try_recv() {
        Err(TryRecvError::Closed(closed)) => match closed.cause() {
            Some(error) => println!("the node failed: {error}"),
            None => println!("the node was closed"),
        },
        other => println!("{other:?}"),
    }
    Ok(())
}
