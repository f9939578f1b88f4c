//! Peerings that a transport thread relays, and the options of URIs.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pinecone::{Builder, Node, NodeOptions, Scheme, StreamOptions};
use pinecone_wire::HANDSHAKE_LEN;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use crate::harness::{key, listening, node, quick, quick_options, reaches, until};

/// A node that relays even plain TCP.
fn relaying(n: u8) -> Builder {
    Builder::from(NodeOptions {
        relay_tcp: true,
        ..quick_options(n)
    })
}

#[tokio::test]
async fn plain_tcp_may_be_relayed() {
    let a = relaying(8).listen("127.0.0.1:0").start().await.unwrap();
    let address = a.local_addrs()[0].to_string();
    // One end relays, and then both.
    for b in [quick(15), relaying(10).transport_threads(2)] {
        let b = b.connect(&address).start().await.unwrap();
        reaches(&a, &b).await;
        reaches(&b, &a).await;
        let peer = b.peers().await.unwrap().remove(0);
        assert_eq!((peer.scheme, peer.priority), (Some(Scheme::Tcp), 0));
        assert_eq!(peer.remote, address);
        b.close().await;
        until("the peering ends", || async {
            a.peers().await.unwrap().is_empty().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_static_peer_with_another_key_is_refused_and_said() {
    for relay_tcp in [false, true] {
        let (b, address) = listening(15).await;
        let wrong = key(9).public_key();
        let options = NodeOptions {
            relay_tcp,
            static_peers: vec![format!("tcp://{address}?key={wrong}&maxbackoff=20ms")],
            ..quick_options(8)
        };
        let a = Builder::from(options).start().await.unwrap();
        until("it is refused again and again", || async {
            let peer = a.static_peers().await.unwrap().remove(0);
            let error = peer.last_error.unwrap_or_default();
            (error.contains("as ?key= demands") && peer.failures >= 3).then_some(())
        })
        .await;
        assert!(a.peers().await.unwrap().is_empty());
        let error = a
            .connect(&format!("{address}?key={wrong}"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(&wrong.to_string()), "{error}");
        let right = format!("{address}?key={}", b.public_key());
        a.connect(&right).await.unwrap();
    }
}

#[tokio::test]
async fn of_several_peerings_the_one_with_the_highest_priority_is_used() {
    let (b, address) = listening(15).await;
    let uris = format!("{address}?priority=1,{address}?priority=2,{address}");
    let a = quick(8).connect(uris).start().await.unwrap();
    let standby = async || {
        let mut peers = a.peers().await.unwrap();
        peers.retain(|peer| peer.root.is_some());
        let mut peers: Vec<_> = peers.iter().map(|p| (p.priority, p.standby)).collect();
        peers.sort_unstable();
        peers
    };
    let all = [(0, true), (1, true), (2, false)];
    until("one is used", || async {
        (standby().await == all).then_some(())
    })
    .await;
    reaches(&a, &b).await;
    a.remove_static_peer(&format!("{address}?priority=2"))
        .await
        .unwrap();
    let rest = [(0, true), (1, false)];
    until("the next one is used", || async {
        (standby().await == rest).then_some(())
    })
    .await;
    reaches(&a, &b).await;
    assert!(
        b.peers()
            .await
            .unwrap()
            .iter()
            .all(|peer| !peer.standby && peer.priority == 0)
    );
}

/// A stream that panics when it is read after the handshake.
struct Broken {
    stream: DuplexStream,
    read: usize,
}

impl AsyncRead for Broken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        assert!(self.read < HANDSHAKE_LEN, "on purpose");
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.read += buffer.filled().len() - before;
        polled
    }
}

impl AsyncWrite for Broken {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

async fn join(
    a: &Node,
    b: &Node,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    far: DuplexStream,
) {
    let options = StreamOptions::default;
    let joined = tokio::join!(
        a.connect_relayed(stream, options()),
        b.connect_relayed(far, options())
    );
    joined.1.unwrap();
    // The peering may have ended before it was claimed.
    let _ = joined.0;
}

#[tokio::test]
async fn a_stream_that_panics_ends_its_peering_only() {
    let (a, b, c) = (node(8).await, node(15).await, node(10).await);
    let (near, far) = duplex(1 << 16);
    join(&a, &c, near, far).await;
    let (stream, far) = duplex(1 << 16);
    join(&a, &b, Broken { stream, read: 0 }, far).await;
    until("the broken peering ends", || async {
        let keys: Vec<_> = a
            .peers()
            .await
            .unwrap()
            .iter()
            .map(|peer| peer.key)
            .collect();
        (keys == [c.public_key()]).then_some(())
    })
    .await;
    reaches(&a, &c).await;
    // Another stream goes to the same thread.
    let (near, far) = duplex(1 << 16);
    join(&a, &b, near, far).await;
    reaches(&a, &b).await;
    assert_eq!(a.peers().await.unwrap()[0].scheme, None);
}
