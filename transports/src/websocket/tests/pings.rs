//! Tests of control frames while data flows.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, duplex};
use tokio::time::timeout;

use super::raw::{BINARY, DEADLINE, FINAL, MASK, PING, PONG, Script, frame, read_frame};
use crate::websocket::{Role, WebSocketStream};

#[tokio::test]
async fn pings_are_answered_and_pongs_ignored() {
    for payload in [&b""[..], b"Hello", &[9; 125]] {
        let (io, mut peer) = duplex(1 << 20);
        let mut server = WebSocketStream::new(io, Role::Server, Vec::new());
        let mut bytes = frame(FINAL | PONG, Some(MASK), b"unasked");
        bytes.extend(frame(FINAL | PING, Some(MASK), payload));
        bytes.extend(frame(FINAL | BINARY, Some(MASK), b"data"));
        peer.write_all(&bytes).await.unwrap();
        let mut data = [0; 4];
        server.read_exact(&mut data).await.unwrap();
        assert_eq!(&data, b"data");
        let pong = read_frame(&mut peer).await.unwrap();
        assert_eq!((pong.first, pong.is_masked), (FINAL | PONG, false));
        assert_eq!(pong.payload, payload);
    }
}

#[test]
fn pings_of_a_peer_that_does_not_read_cost_one_pong() {
    let mut reads = Vec::new();
    for i in 0..1000_u16 {
        reads.push(frame(FINAL | PING, Some(MASK), &i.to_be_bytes()));
        reads.push(frame(FINAL | BINARY, Some(MASK), b"x"));
    }
    let io = Script {
        reads: reads.into(),
        ..Script::default()
    };
    let mut server = WebSocketStream::new(io, Role::Server, Vec::new());
    let mut cx = Context::from_waker(Waker::noop());
    let mut buffer = [0; 64];
    let mut read = |server: &mut WebSocketStream<Script>| {
        Pin::new(server).poll_read(&mut cx, &mut ReadBuf::new(&mut buffer))
    };
    for _ in 0..1000 {
        assert!(matches!(read(&mut server), Poll::Ready(Ok(()))));
    }
    // The first pong was queued at once. Of the later pings only the last is answered.
    server.get_mut().room = 1000;
    assert!(matches!(read(&mut server), Poll::Pending));
    let expected = [0, 999_u16].map(|i| frame(FINAL | PONG, None, &i.to_be_bytes()));
    assert_eq!(server.get_ref().written(), expected.concat());
}

/// The reading task writes the pong, and must not take the wake-up of the writing task.
#[tokio::test]
async fn a_ping_does_not_displace_a_waiting_writer() {
    let (io, mut peer) = duplex(64);
    let server = WebSocketStream::new(io, Role::Server, Vec::new());
    let (mut reader, mut writer) = tokio::io::split(server);
    let data = vec![5; 1000];
    let sent = data.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.flush().await.unwrap();
    });
    // The writer waits for room.
    tokio::task::yield_now().await;
    let reading = tokio::spawn(async move {
        let mut byte = [0];
        reader.read_exact(&mut byte).await.unwrap();
        // Waits for more, and has no wake-up of its own for writing.
        let _ = reader.read(&mut byte).await;
    });
    peer.write_all(&frame(FINAL | PING, Some(MASK), b"hi"))
        .await
        .unwrap();
    peer.write_all(&frame(FINAL | BINARY, Some(MASK), b"x"))
        .await
        .unwrap();
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    let exchange = async {
        let mut received = Vec::new();
        let mut has_pong = false;
        while received.len() < data.len() || !has_pong {
            let frame = read_frame(&mut peer).await.unwrap();
            match frame.first {
                0x82 => received.extend(frame.payload),
                0x8a => has_pong = frame.payload == b"hi",
                first => panic!("frame {first}"),
            }
        }
        assert_eq!(received, data);
        writing.await.unwrap();
    };
    timeout(DEADLINE, exchange).await.unwrap();
    reading.abort();
}
