//! Memory of idle TLS connections, in a process of its own.
#![allow(clippy::unwrap_used)]

use pinecone_transports::tls::{Application, Tls, TlsOptions, TlsStream, TlsTarget};
use pinecone_wire::SecretKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const CONNECTIONS: usize = 400;
/// The most bytes that an end of a connection may have which has been idle since the handshake: 9 KB were seen.
const LIMIT_IDLE: usize = 16 << 10;
/// The most bytes that a client may take that sends one byte and no more: 8 KB were seen.
const LIMIT_SILENT: usize = 16 << 10;
/// The limit after large records: 28 KB were seen. rustls shrinks its buffers to 4 KiB, but the allocator cannot use what
/// lies between them for other large buffers. An idle WebSocket peering over TLS may have 96 KiB in all.
const LIMIT_USED: usize = 40 << 10;
const BULK: usize = 200_000;

type Pair = (TlsStream<UnixStream>, TlsStream<UnixStream>);

/// Returns the resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

async fn connect(tls: &Tls, target: &TlsTarget) -> Pair {
    let (near, far) = UnixStream::pair().unwrap();
    let (near, far) = tokio::join!(
        tls.connect(target, near),
        tls.accept(Application::Pinecone, far)
    );
    (near.unwrap(), far.unwrap())
}

/// Sends bytes of both directions in large records, and leaves a read pending at both ends, as in a relay.
async fn exchange((near, far): &mut Pair, bulk: usize) {
    let bytes = vec![0x55; bulk];
    for _ in 0..2 {
        let (mut received, mut sent) = (vec![0; bulk], 0);
        let sending = async {
            while sent < bulk {
                sent += near.write(&bytes[sent..]).await.unwrap();
            }
            near.flush().await.unwrap();
        };
        tokio::join!(sending, async {
            far.read_exact(&mut received).await.unwrap()
        });
        std::mem::swap(near, far);
    }
    let mut byte = [0];
    for end in [near, far] {
        let idle = std::future::poll_fn(|cx| {
            let read = std::pin::pin!(end.read(&mut byte));
            assert!(read.poll(cx).is_pending());
            std::task::Poll::Ready(())
        });
        idle.await;
    }
}

#[tokio::test]
async fn idle_connections_are_small() {
    let tls = Tls::new(&SecretKey::from_seed(&[1; 32]), TlsOptions::default()).unwrap();
    let target = TlsTarget::new(Application::Pinecone, "node.test", None, None).unwrap();
    let mut pairs = Vec::with_capacity(CONNECTIONS + 50);
    for _ in 0..50 {
        let mut pair = connect(&tls, &target).await;
        exchange(&mut pair, BULK).await;
        pairs.push(pair);
    }
    let before = resident();
    let mut silent = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(&[22]).await.unwrap();
        let tls = tls.clone();
        let mut accepting =
            Box::pin(async move { tls.accept(Application::Pinecone, far).await.is_ok() });
        tokio::task::yield_now().await;
        let accepting_now = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(accepting.as_mut().poll(cx).is_pending())
        });
        assert!(accepting_now.await);
        silent.push((near, accepting));
    }
    let waiting = resident().saturating_sub(before) / CONNECTIONS;
    let before = resident();
    for _ in 0..CONNECTIONS {
        let mut pair = connect(&tls, &target).await;
        exchange(&mut pair, 104).await;
        pairs.push(pair);
    }
    let idle = resident().saturating_sub(before) / CONNECTIONS / 2;
    for pair in &mut pairs {
        exchange(pair, BULK).await;
    }
    let used = resident().saturating_sub(before) / CONNECTIONS / 2;
    eprintln!(
        "bytes an end of an idle connection: {idle} after the handshake, {used} after {BULK} bytes each way; \
         {waiting} for a silent client; its struct has {}",
        size_of::<TlsStream<UnixStream>>()
    );
    assert!(idle < LIMIT_IDLE, "{idle}");
    assert!(waiting < LIMIT_SILENT, "{waiting}");
    assert!(used < LIMIT_USED, "{used}");
}
