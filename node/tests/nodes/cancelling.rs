//! Cancelled attempts to make a peering, which leave nothing behind.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use pinecone::{Builder, Limits, Node, NodeOptions, StreamOptions, pipe};
use pinecone_wire::{HANDSHAKE_LEN, handshake};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{begin, key, listening, node, poll_once, reaches, removed, until, within};

/// A node that does not give up a handshake while a test runs.
async fn patient(n: u8) -> Node {
    let options = NodeOptions {
        secret_key: Some(key(n)),
        transport_limits: Limits {
            handshake_timeout: Duration::from_secs(3600),
            ..Limits::default()
        },
        ..NodeOptions::default()
    };
    Builder::from(options).start().await.unwrap()
}

/// Reads the node's handshake. The node then waits for the peer's.
async fn reads_handshake(stream: &mut (impl AsyncRead + Unpin)) {
    let mut theirs = [0; HANDSHAKE_LEN];
    within("the node's handshake", stream.read_exact(&mut theirs))
        .await
        .unwrap();
}

async fn ends(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let read = within("the end of the stream", stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok() || read.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
}

async fn has_peers(node: &Node, count: usize) {
    until("peerings come up or go", || async {
        (node.peers().await.unwrap().len() == count).then_some(())
    })
    .await;
}

fn asynchronous(stream: UnixStream) -> tokio::net::UnixStream {
    stream.set_nonblocking(true).unwrap();
    tokio::net::UnixStream::from_std(stream).unwrap()
}

#[tokio::test]
async fn in_the_middle_of_a_handshake_the_stream_is_closed() {
    let a = patient(8).await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut far = {
        let mut dialling = pin!(a.connect(&address));
        begin(dialling.as_mut()).await;
        let (mut far, _) = within("the node dials", listener.accept()).await.unwrap();
        reads_handshake(&mut far).await;
        far
    };
    ends(&mut far).await;

    let (near, far) = UnixStream::pair().unwrap();
    let mut far = asynchronous(far);
    {
        let mut joining = pin!(a.connect_stream(near.into(), StreamOptions::default()));
        begin(joining.as_mut()).await;
        reads_handshake(&mut far).await;
    }
    ends(&mut far).await;

    let (near, mut far) = tokio::io::duplex(64);
    {
        let mut joining = pin!(a.connect_relayed(near, StreamOptions::default()));
        begin(joining.as_mut()).await;
        reads_handshake(&mut far).await;
    }
    ends(&mut far).await;
    assert!(a.peers().await.unwrap().is_empty());
    a.close().await;
}

/// The caller stops waiting when the reply is on its way, or has arrived and not been read.
#[tokio::test]
async fn a_peering_that_its_caller_did_not_take_is_closed() {
    let a = patient(8).await;
    let mut events = a.events();
    let (near, mut far) = UnixStream::pair().unwrap();
    {
        let mut joining = pin!(a.connect_stream(OwnedFd::from(near), StreamOptions::default()));
        begin(joining.as_mut()).await;
        std::io::Write::write_all(&mut far, &handshake::encode(&key(15))).unwrap();
        has_peers(&a, 1).await;
    }
    has_peers(&a, 0).await;
    assert_eq!(removed(&mut events).await.0, key(15).public_key());
    far.read_to_end(&mut Vec::new()).unwrap();

    // The far end does not close by itself. It only sees the end of the dropped stream.
    let (near, mut far) = tokio::io::duplex(1024);
    let near = tokio::io::join(near, tokio::io::sink());
    {
        let mut joining = pin!(a.connect_relayed(near, StreamOptions::default()));
        begin(joining.as_mut()).await;
        far.write_all(&handshake::encode(&key(15))).await.unwrap();
        has_peers(&a, 1).await;
    }
    has_peers(&a, 0).await;
    ends(&mut far).await;
    a.close().await;
}

/// The listener has started, and the reply has not been read.
#[tokio::test]
async fn a_listener_that_its_caller_did_not_take_ends() {
    let a = patient(8).await;
    let mut kept = Vec::new();
    let address = loop {
        // A port that is free: that of an earlier node.
        let (before, address) = listening(15).await;
        before.close().await;
        let text = address.to_string();
        let mut listening = pin!(a.listen(&text));
        // Now and then the answer comes at once.
        match poll_once(listening.as_mut()).await {
            Poll::Ready(listening) => kept.extend(listening.unwrap()),
            Poll::Pending => {
                until("it listens", async || connects(address).await.then_some(())).await;
                break address;
            }
        }
    };
    until("it listens no more", async || {
        (!connects(address).await).then_some(())
    })
    .await;
    assert_eq!(a.local_addrs(), kept);
    assert_eq!(a.listen(&address.to_string()).await.unwrap(), [address]);
    a.close().await;
}

async fn connects(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok()
}

#[tokio::test]
async fn a_pipe_that_its_caller_did_not_take_is_closed_at_both_ends() {
    let (a, b) = (node(8).await, node(15).await);
    {
        let mut joining = pin!(pipe(&a, &b));
        begin(joining.as_mut()).await;
        has_peers(&a, 1).await;
        has_peers(&b, 1).await;
    }
    has_peers(&a, 0).await;
    has_peers(&b, 0).await;
    // A peering that the caller has received stays.
    pipe(&a, &b).await.unwrap();
    reaches(&a, &b).await;
    assert_eq!(
        (
            a.peers().await.unwrap().len(),
            b.peers().await.unwrap().len()
        ),
        (1, 1)
    );
    a.close().await;
    b.close().await;
}
