//! Tests of how messages are written.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::raw::{FINAL, Script, read_frames};
use crate::websocket::{MAX_SENT_MESSAGE, Role, WebSocketStream};

fn stream(role: Role, is_vectored: bool, room: usize) -> WebSocketStream<Script> {
    let io = Script {
        room,
        is_vectored,
        ..Script::default()
    };
    WebSocketStream::new(io, role, Vec::new())
}

const KINDS: [(Role, bool); 4] = [
    (Role::Client, true),
    (Role::Client, false),
    (Role::Server, true),
    (Role::Server, false),
];

#[tokio::test]
async fn a_batch_is_one_write_of_messages_that_go_nodes_take() {
    for (role, is_vectored) in KINDS {
        let mut stream = stream(role, is_vectored, usize::MAX);
        let bytes: Vec<u8> = (0..65_536_u32).map(|i| (i / 256) as u8).collect();
        assert_eq!(stream.write(&bytes).await.unwrap(), bytes.len());
        stream.flush().await.unwrap();
        let io = stream.get_ref();
        assert_eq!(io.writes.len(), 1, "{role:?} {is_vectored}");
        let frames = read_frames(&mut &io.written()[..]).await;
        let lengths: Vec<_> = frames.iter().map(|frame| frame.payload.len()).collect();
        assert_eq!(lengths, [MAX_SENT_MESSAGE; 2]);
        for frame in &frames {
            assert_eq!(
                (frame.first, frame.is_masked),
                (FINAL | 2, role == Role::Client)
            );
        }
        let payloads: Vec<_> = frames.into_iter().flat_map(|f| f.payload).collect();
        assert!(payloads == bytes);
    }
}

#[tokio::test]
async fn several_slices_are_one_write_too() {
    for (role, is_vectored) in KINDS {
        let mut stream = stream(role, is_vectored, usize::MAX);
        let slices = [&b"one"[..], b"", b"two", &[3; 40_000]];
        let slices = slices.map(IoSlice::new);
        assert_eq!(stream.write_vectored(&slices).await.unwrap(), 40_006);
        let io = stream.get_ref();
        assert_eq!(io.writes.len(), 1);
        let frames = read_frames(&mut &io.written()[..]).await;
        let lengths: Vec<_> = frames.iter().map(|frame| frame.payload.len()).collect();
        assert_eq!(lengths, [3, 3, 32_768, 7_232]);
    }
}

#[tokio::test]
async fn many_short_slices_are_taken_up_to_a_limit() {
    let mut stream = stream(Role::Server, true, usize::MAX);
    let slices = [IoSlice::new(b"ab"); 100];
    let n = stream.write_vectored(&slices).await.unwrap();
    assert!((2..200).contains(&n) && n % 2 == 0, "{n}");
    let frames = read_frames(&mut &stream.get_ref().written()[..]).await;
    assert_eq!(frames.len(), n / 2);
}

proptest! {
    #[test]
    fn a_write_that_is_cut_anywhere_continues(
        first in 0..70_000_usize,
        room in 1..4000_usize,
        kind in 0..KINDS.len(),
    ) {
        let (role, is_vectored) = KINDS[kind];
        let mut stream = stream(role, is_vectored, first);
        let bytes: Vec<u8> = (0..70_000_u32).map(|i| (i / 256) as u8).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let (mut sent, mut most) = (0, 0);
        loop {
            let poll = match sent < bytes.len() {
                true => {
                    let poll = Pin::new(&mut stream).poll_write(&mut cx, &bytes[sent..]);
                    poll.map_ok(|n| sent += n)
                }
                false => Pin::new(&mut stream).poll_flush(&mut cx),
            };
            most = most.max(stream.held());
            match poll {
                Poll::Ready(result) => {
                    result.unwrap();
                    if sent == bytes.len() && stream.held() == 0 {
                        break;
                    }
                }
                Poll::Pending => stream.get_mut().room = room,
            }
        }
        // At most one message is kept.
        prop_assert!(most <= MAX_SENT_MESSAGE + 14, "{}", most);
        let written = stream.get_ref().written();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let frames = runtime.block_on(async { read_frames(&mut &written[..]).await });
        let payloads: Vec<_> = frames.into_iter().flat_map(|f| f.payload).collect();
        prop_assert!(payloads == bytes);
    }
}

#[tokio::test]
async fn an_idle_stream_owns_no_memory() {
    for (role, is_vectored) in KINDS {
        let mut stream = stream(role, is_vectored, 10);
        let mut cx = Context::from_waker(Waker::noop());
        let poll = Pin::new(&mut stream).poll_write(&mut cx, &[1; 20_000]);
        assert!(matches!(poll, Poll::Ready(Ok(20_000))));
        assert!(stream.held() > 19_990);
        stream.get_mut().room = usize::MAX;
        stream.flush().await.unwrap();
        assert_eq!(stream.held(), 0);
    }
    assert!(size_of::<WebSocketStream<()>>() <= 512);
}
