//! Streams that are cut, stall, or carry something else than TLS.

use tokio::io::AsyncWrite;

use super::*;
use Application::Pinecone;

/// Writes `bytes` as a whole, and leaves the stream open.
async fn send_all(mut stream: impl AsyncWrite + Unpin, bytes: Vec<u8>) -> impl Sized {
    // The reader may close before it has read all.
    let _ = stream.write_all(&bytes).await;
    stream
}

#[tokio::test]
async fn what_is_not_tls_is_refused() {
    let tls = node(1, TlsOptions::default());
    let mut record_too_long = vec![22, 3, 1, 0xff, 0xff];
    record_too_long.resize(1 << 17, 0);
    // A handshake message of 16 MiB, in records of 16 KiB.
    let mut hello_too_long = vec![];
    for n in 0..1024 {
        hello_too_long.extend([22, 3, 3, 0x40, 0]);
        let start = hello_too_long.len();
        hello_too_long.resize(start + 0x4000, 0);
        if n == 0 {
            hello_too_long[start..start + 4].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
        }
    }
    let plain_handshake = pinecone_wire::handshake::encode(&key(3)).to_vec();
    let http = b"GET / HTTP/1.1\r\nHost: node.test\r\n\r\n".to_vec();
    for garbage in [
        record_too_long,
        hello_too_long,
        plain_handshake,
        http,
        vec![0; 8192],
    ] {
        let first = garbage[0];
        for is_client in [false, true] {
            let (near, far) = duplex(4096);
            let target = target(Pinecone, "node.test");
            let garbage = garbage.clone();
            let outcome = async {
                if is_client {
                    let (outcome, _) =
                        tokio::join!(tls.connect(&target, near), send_all(far, garbage));
                    outcome
                } else {
                    let (outcome, _) =
                        tokio::join!(tls.accept(Pinecone, near), send_all(far, garbage));
                    outcome
                }
            };
            let outcome = tokio::time::timeout(DEADLINE, outcome).await.unwrap();
            let error = outcome.unwrap_err();
            assert!(matches!(error, TlsError::NotTls), "{first}: {error}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_closes_during_the_handshake_is_told_from_one_that_fails() {
    let tls = node(1, TlsOptions::default());
    for sent in [&b""[..], &[22, 3, 1], &[22, 3, 1, 0x10, 0, 1]] {
        let (near, mut far) = duplex(4096);
        far.write_all(sent).await.unwrap();
        drop(far);
        let outcome = tls.accept(Pinecone, near).await;
        assert!(matches!(outcome, Err(TlsError::Eof)));
        let (near, far) = duplex(4096);
        drop(far);
        let outcome = tls.connect(&target(Pinecone, "node.test"), near).await;
        assert!(matches!(outcome, Err(TlsError::Eof)));
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_a_bounded_amount() {
    let (client, server) = (
        node(2, TlsOptions::default()),
        node(1, TlsOptions::default()),
    );
    let target = target(Pinecone, "node.test");
    let (near, far) = handshake(&client, &target, &server, Pinecone).await;
    let (mut near, _far) = (near.unwrap(), far.unwrap());
    let mut written = 0;
    std::future::poll_fn(|cx| {
        while let std::task::Poll::Ready(count) =
            std::pin::Pin::new(&mut near).poll_write(cx, &[0; 10_000])
        {
            written += count.unwrap();
            assert!(written < 100_000);
        }
        std::task::Poll::Ready(())
    })
    .await;
    assert!(written > 0);
}

#[tokio::test]
async fn a_cut_stream_is_told_from_a_closed_one() {
    let (client, server) = (
        node(2, TlsOptions::default()),
        node(1, TlsOptions::default()),
    );
    let target = target(Pinecone, "node.test");
    let (near, far) = handshake(&client, &target, &server, Pinecone).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    near.shutdown().await.unwrap();
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
    let (near, far) = handshake(&client, &target, &server, Pinecone).await;
    drop(near);
    let error = far.unwrap().read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}
