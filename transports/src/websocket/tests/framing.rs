//! Tests that any messages, in any pieces, are one stream of bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::raw::{
    BINARY, CONTINUATION, FINAL, Frame, MASK, PING, PONG, frame, read_frame, read_frames,
};
use crate::websocket::{Decoded, Decoder, Role, WebSocketStream};

/// A message: its fragments, and a control frame between them.
type Message = (Vec<Vec<u8>>, bool);

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let sizes = prop_oneof![4 => 0..200_usize, 1 => 120..130_usize, 1 => 65_530..65_537_usize];
    let fragment = (sizes, any::<u8>()).prop_map(|(len, seed)| {
        let bytes = (0..len).map(|i| (i as u8).wrapping_mul(seed | 1));
        bytes.collect::<Vec<u8>>()
    });
    // A message has at most 131,072 bytes.
    let fragments = prop_oneof![4 => vec(fragment.clone(), 1..2), 1 => vec(fragment, 1..3)];
    vec((fragments, any::<bool>()), 0..8)
}

/// Returns the frames of the messages, and their bytes.
fn encode(messages: &[Message], mask: Option<[u8; 4]>) -> (Vec<u8>, Vec<u8>) {
    let (mut wire, mut payload) = (Vec::new(), Vec::new());
    for (fragments, has_control) in messages {
        for (i, fragment) in fragments.iter().enumerate() {
            let opcode = if i == 0 { BINARY } else { CONTINUATION };
            let last = if i + 1 == fragments.len() { FINAL } else { 0 };
            wire.extend(frame(opcode | last, mask, fragment));
            payload.extend_from_slice(fragment);
            if *has_control {
                let opcode = if i == 0 { PING } else { PONG };
                wire.extend(frame(FINAL | opcode, mask, b"control"));
            }
        }
    }
    (wire, payload)
}

fn cut(bytes: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(rest.len().min(*size));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces
}

proptest! {
    #[test]
    fn any_pieces_of_any_messages_are_the_same_bytes(
        messages in messages(),
        sizes in vec(prop_oneof![1..20_usize, 1..100_000_usize], 1..6),
        is_server in any::<bool>(),
    ) {
        let (role, mask) = if is_server { (Role::Server, Some(MASK)) } else { (Role::Client, None) };
        let (wire, expected) = encode(&messages, mask);
        let mut decoder = Decoder::new(role);
        let mut received = Vec::new();
        for mut piece in cut(&wire, &sizes) {
            let Decoded { payload, end } = decoder.decode(&mut piece);
            prop_assert_eq!(end, None);
            received.extend_from_slice(&piece[..payload]);
        }
        prop_assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
        prop_assert!(!decoder.is_mid_message());
    }

    #[test]
    fn any_writes_and_reads_in_both_directions_are_the_same_bytes(
        writes in vec(prop_oneof![4 => 1..3_000_usize, 1 => 1..100_000_usize], 1..12),
        read in prop_oneof![1..300_usize, 1..100_000_usize],
        room in prop_oneof![1..300_usize, 1..100_000_usize],
    ) {
        let total: usize = writes.iter().sum();
        let bytes: Vec<u8> = (0..total).map(|i| (i / 3) as u8).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let echoed = runtime.block_on(async {
            let (one, other) = duplex(room);
            let client = WebSocketStream::new(one, Role::Client, Vec::new());
            let mut server = WebSocketStream::new(other, Role::Server, Vec::new());
            let echo = async {
                let mut buffer = vec![0; read];
                loop {
                    match server.read(&mut buffer).await.unwrap() {
                        0 => break server.shutdown().await.unwrap(),
                        n => server.write_all(&buffer[..n]).await.unwrap(),
                    }
                    server.flush().await.unwrap();
                }
            };
            let exchange = async {
                let (mut receiver, mut sender) = tokio::io::split(client);
                let send = async {
                    for piece in cut(&bytes, &writes) {
                        sender.write_all(&piece).await.unwrap();
                    }
                    sender.flush().await.unwrap();
                };
                let mut echoed = vec![0; total];
                let receive = async {
                    receiver.read_exact(&mut echoed).await.unwrap();
                };
                tokio::join!(receive, send);
                let mut client = receiver.unsplit(sender);
                client.shutdown().await.unwrap();
                assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
                echoed
            };
            tokio::join!(exchange, echo).0
        });
        prop_assert!(echoed == bytes);
    }
}

/// Decodes bytes that the test gives in hexadecimal digits.
fn decoded(role: Role, text: &str) -> Vec<u8> {
    let mut bytes = hex::decode(text.replace(' ', "")).unwrap();
    let decoded = Decoder::new(role).decode(&mut bytes);
    assert_eq!(decoded.end, None);
    bytes.truncate(decoded.payload);
    bytes
}

/// RFC 6455, section 5.7, with binary messages in place of text.
#[test]
fn examples_of_the_rfc() {
    assert_eq!(decoded(Role::Client, "82 05 48 65 6c 6c 6f"), b"Hello");
    let masked = "82 85 37 fa 21 3d 7f 9f 4d 51 58";
    assert_eq!(decoded(Role::Server, masked), b"Hello");
    let fragmented = "02 03 48 65 6c 80 02 6c 6f";
    assert_eq!(decoded(Role::Client, fragmented), b"Hello");
    let pinged = "02 03 48 65 6c 89 05 48 65 6c 6c 6f 80 02 6c 6f";
    assert_eq!(decoded(Role::Client, pinged), b"Hello");
    let short = format!("82 7e 01 00 {}", "ab".repeat(256));
    assert_eq!(decoded(Role::Client, &short), [0xab; 256]);
    let long = format!("82 7f 00 00 00 00 00 01 00 00 {}", "ab".repeat(65_536));
    assert_eq!(decoded(Role::Client, &long), [0xab; 65_536]);
}

#[tokio::test]
async fn writes_have_the_bytes_of_the_rfc() {
    let (io, mut peer) = duplex(1 << 20);
    let mut server = WebSocketStream::new(io, Role::Server, Vec::new());
    server.write_all(b"Hello").await.unwrap();
    server.write_all(&[0xab; 256]).await.unwrap();
    server.flush().await.unwrap();
    let mut head = [0; 11];
    peer.read_exact(&mut head).await.unwrap();
    assert_eq!(hex::encode(head), "820548656c6c6f827e0100");
}

#[tokio::test]
async fn a_client_masks_each_frame_with_a_new_key() {
    let (io, mut peer) = duplex(1 << 20);
    let mut client = WebSocketStream::new(io, Role::Client, Vec::new());
    let mut keys = std::collections::BTreeSet::new();
    for _ in 0..8 {
        client.write_all(&[0; 8]).await.unwrap();
        let mut bytes = [0; 14];
        peer.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes[..2], [0x82, 0x88]);
        // The payload is zero.
        assert_eq!(bytes[2..6], bytes[6..10]);
        keys.insert(bytes[2..6].to_vec());
    }
    // 8 random keys of 32 bits: two are equal once in 2^27 runs, and three hardly ever.
    assert!(keys.len() > 6);
}

#[tokio::test]
async fn early_frames_come_first_and_an_empty_read_takes_none() {
    let (io, mut peer) = duplex(1 << 20);
    let mut early = frame(FINAL | BINARY, None, b"first");
    let later = early.split_off(4);
    let mut client = WebSocketStream::new(io, Role::Client, early);
    peer.write_all(&later).await.unwrap();
    peer.write_all(&frame(FINAL | BINARY, None, b"second"))
        .await
        .unwrap();
    assert_eq!(client.read(&mut []).await.unwrap(), 0);
    let mut bytes = [0; 11];
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"firstsecond");
}

#[tokio::test]
async fn a_shutdown_sends_a_close_frame_once_and_ends_writing() {
    let (io, mut peer) = duplex(1 << 20);
    let mut server = WebSocketStream::new(io, Role::Server, Vec::new());
    server.write_all(b"last").await.unwrap();
    server.shutdown().await.unwrap();
    server.shutdown().await.unwrap();
    let error = server.write(b"more").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    // The peer's answer is not answered again.
    peer.write_all(&frame(FINAL | 8, Some(MASK), &1000_u16.to_be_bytes()))
        .await
        .unwrap();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    drop(server);
    let frames = read_frames(&mut peer).await;
    let codes: Vec<_> = frames[1..].iter().map(Frame::close_code).collect();
    assert_eq!(frames[0].payload, b"last");
    assert_eq!(codes, [Some(1000)]);
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code() {
    for payload in [&[][..], &1001_u16.to_be_bytes()[..], b"\x0f\xa0reason"] {
        let (io, mut peer) = duplex(1 << 20);
        let mut client = WebSocketStream::new(io, Role::Client, Vec::new());
        let mut bytes = frame(FINAL | BINARY, None, b"last");
        bytes.extend(frame(FINAL | 8, None, payload));
        bytes.extend(frame(FINAL | BINARY, None, b"after the end"));
        peer.write_all(&bytes).await.unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"last");
        let answer = read_frame(&mut peer).await.unwrap();
        assert!(answer.is_masked);
        assert_eq!(answer.payload, payload[..payload.len().min(2)]);
        client.write_all(b"more").await.unwrap_err();
    }
}
