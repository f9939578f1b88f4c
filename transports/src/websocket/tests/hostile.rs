//! Tests against peers that break the protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, duplex};
use tokio::time::timeout;

use super::raw::{
    BINARY, CLOSE, CONTINUATION, DEADLINE, FINAL, MASK, PING, Script, TEXT, frame, read_frames,
};
use crate::websocket::{Role, Violation, WebSocketStream};

/// Sends `good` and then frames that a server must refuse. Expects the payload of the good ones, the violation, and a
/// close frame.
async fn refuses(bad: &[u8], violation: Violation, code: u16) {
    for good in [&b""[..], b"good"] {
        let (io, mut peer) = duplex(1 << 20);
        let mut server = WebSocketStream::new(io, Role::Server, Vec::new());
        let mut bytes = frame(FINAL | BINARY, Some(MASK), good);
        bytes.extend_from_slice(bad);
        peer.write_all(&bytes).await.unwrap();
        let mut received = Vec::new();
        let error = timeout(DEADLINE, server.read_to_end(&mut received))
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let source = error.get_ref().and_then(|e| e.downcast_ref());
        assert_eq!(source, Some(&violation));
        assert!(received.starts_with(good));
        // The stream has ended for good, and nothing else is sent.
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        server.write_all(b"more").await.unwrap_err();
        drop(server);
        let frames = read_frames(&mut peer).await;
        assert_eq!(frames.len(), 1, "{violation:?}");
        assert_eq!(frames[0].close_code(), Some(code), "{violation:?}");
    }
}

/// Returns a masked header with this first byte and these bytes of length.
fn header(first: u8, length: &[u8]) -> Vec<u8> {
    [&[first], length, &MASK].concat()
}

#[tokio::test]
async fn each_violation_closes_with_its_code() {
    let masked = |first, payload: &[u8]| frame(first, Some(MASK), payload);
    let long = [0; 126];
    let cases = [
        (masked(FINAL | TEXT, b"text"), Violation::Text, 1003),
        (masked(FINAL | TEXT, b""), Violation::Text, 1003),
        (masked(FINAL | 3, b""), Violation::Opcode, 1002),
        (masked(FINAL | 11, b""), Violation::Opcode, 1002),
        (
            masked(FINAL | 0x40 | BINARY, b"deflated"),
            Violation::ReservedBit,
            1002,
        ),
        (
            masked(FINAL | 0x20 | BINARY, b""),
            Violation::ReservedBit,
            1002,
        ),
        (
            masked(FINAL | 0x10 | PING, b""),
            Violation::ReservedBit,
            1002,
        ),
        (
            frame(FINAL | BINARY, None, b"plain"),
            Violation::Unmasked,
            1002,
        ),
        (frame(FINAL | PING, None, b""), Violation::Unmasked, 1002),
        (
            header(FINAL | BINARY, &[0xfe, 0, 125]),
            Violation::Length,
            1002,
        ),
        (
            header(FINAL | BINARY, &[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            Violation::Length,
            1002,
        ),
        (
            header(FINAL | BINARY, &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            Violation::Length,
            1002,
        ),
        (masked(PING, b""), Violation::Control, 1002),
        (masked(FINAL | PING, &long), Violation::Control, 1002),
        (masked(CLOSE, b""), Violation::Control, 1002),
        (
            masked(FINAL | CONTINUATION, b"x"),
            Violation::Continuation,
            1002,
        ),
        (
            [masked(BINARY, b"a"), masked(FINAL | BINARY, b"b")].concat(),
            Violation::Interleaved,
            1002,
        ),
        (
            [masked(BINARY, b"a"), masked(FINAL | TEXT, b"b")].concat(),
            Violation::Interleaved,
            1002,
        ),
        (masked(FINAL | CLOSE, b"x"), Violation::CloseCode, 1002),
        (
            masked(FINAL | CLOSE, b"\x03\xe7"),
            Violation::CloseCode,
            1002,
        ),
        (
            masked(FINAL | CLOSE, b"\x03\xed"),
            Violation::CloseCode,
            1002,
        ),
        (
            masked(FINAL | CLOSE, b"\x13\x88"),
            Violation::CloseCode,
            1002,
        ),
        (
            masked(FINAL | CLOSE, b"\x03\xe8\xff"),
            Violation::CloseReason,
            1007,
        ),
    ];
    for (bad, violation, code) in cases {
        refuses(&bad, violation, code).await;
    }
}

#[tokio::test]
async fn a_message_above_128_kib_closes_with_1009() {
    // By its header alone, whatever it claims.
    let claims = [131_073_u64, 1 << 32, (1 << 63) - 1];
    for claim in claims {
        let length = [&[0xff][..], &claim.to_be_bytes()].concat();
        let bad = header(FINAL | BINARY, &length);
        refuses(&bad, Violation::TooLong, 1009).await;
    }
    // By its fragments in all.
    let half = vec![7; 65_536];
    let mut bad = frame(BINARY, Some(MASK), &half);
    bad.extend(frame(CONTINUATION, Some(MASK), &half));
    bad.extend(frame(CONTINUATION, Some(MASK), b""));
    bad.extend(frame(FINAL | CONTINUATION, Some(MASK), b"x"));
    refuses(&bad, Violation::TooLong, 1009).await;
}

#[tokio::test]
async fn a_message_of_128_kib_is_read() {
    let (io, mut peer) = duplex(1 << 20);
    let mut server = WebSocketStream::new(io, Role::Server, Vec::new());
    let message = vec![7; 131_072];
    for _ in 0..2 {
        peer.write_all(&frame(FINAL | BINARY, Some(MASK), &message))
            .await
            .unwrap();
        let mut received = vec![0; message.len()];
        server.read_exact(&mut received).await.unwrap();
        assert!(received == message);
    }
}

#[tokio::test]
async fn a_client_refuses_masked_frames() {
    let (io, mut peer) = duplex(1 << 20);
    let mut client = WebSocketStream::new(io, Role::Client, Vec::new());
    peer.write_all(&frame(FINAL | BINARY, Some(MASK), b"masked"))
        .await
        .unwrap();
    let error = client.read(&mut [0; 8]).await.unwrap_err();
    let source = error.get_ref().and_then(|e| e.downcast_ref());
    assert_eq!(source, Some(&Violation::Masked));
    drop(client);
    assert_eq!(
        read_frames(&mut peer).await[0].close_code(),
        Some(Violation::Masked.close_code())
    );
}

#[tokio::test]
async fn an_end_within_a_message_is_an_error() {
    let whole = frame(FINAL | BINARY, Some(MASK), b"abcd");
    let fragment = frame(BINARY, Some(MASK), b"");
    let ping = frame(FINAL | PING, Some(MASK), b"ab");
    for bytes in [&whole[..1], &whole[..5], &whole[..8], &fragment, &ping[..7]] {
        let (io, mut peer) = duplex(1 << 20);
        let mut server = WebSocketStream::new(io, Role::Server, Vec::new());
        peer.write_all(bytes).await.unwrap();
        drop(peer);
        let error = server.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
    let (io, mut peer) = duplex(1 << 20);
    let mut server = WebSocketStream::new(io, Role::Server, Vec::new());
    peer.write_all(&whole).await.unwrap();
    drop(peer);
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"abcd");
}

/// A peer whose frames have no payload, without end.
#[test]
fn endless_empty_frames_leave_other_tasks_their_turn() {
    let io = Script {
        reads: vec![frame(FINAL | BINARY, Some(MASK), b""); 1000].into(),
        ..Script::default()
    };
    let mut server = WebSocketStream::new(io, Role::Server, Vec::new());
    let mut buffer = [0; 64];
    let mut cx = Context::from_waker(Waker::noop());
    let poll = Pin::new(&mut server).poll_read(&mut cx, &mut ReadBuf::new(&mut buffer));
    assert!(matches!(poll, Poll::Pending));
    assert!(server.get_ref().reads.len() > 900);
}

/// A peer that sends a text message, more than anyone reads, and never closes.
#[tokio::test(start_paused = true)]
async fn closing_waits_for_the_peer_for_a_limited_time() {
    let (io, mut peer) = duplex(1024);
    let mut server = WebSocketStream::new(io, Role::Server, Vec::new());
    peer.write_all(&frame(FINAL | TEXT, Some(MASK), b"text"))
        .await
        .unwrap();
    server.read(&mut [0; 64]).await.unwrap_err();
    let began = tokio::time::Instant::now();
    let closing = tokio::spawn(server.close(Duration::from_secs(3)));
    // Input is discarded, so that the close frame is not lost.
    peer.write_all(&[0; 4096]).await.unwrap();
    closing.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 3);
    let frames = read_frames(&mut peer).await;
    assert_eq!(frames[0].close_code(), Some(1003));
}
