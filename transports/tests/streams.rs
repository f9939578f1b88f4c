//! Streams that are not TCP: socket pairs, adopted sockets, relayed asynchronous streams.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use common::{by_each_means, key, offering, transports};
use pinecone_transports::{Direction, HandshakeFailed, Limits, Link, pipe};
use pinecone_wire::{Extensions, handshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LONG: usize = 10 << 20;

fn noise(mut seed: u64) -> Vec<u8> {
    let step = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    std::iter::repeat_with(step).take(LONG).collect()
}

#[test]
fn a_relayed_stream_carries_megabytes_both_ways_intact() {
    by_each_means(|means| async move {
        let ours = transports(means, &key(1), Limits::default());
        let offer = Extensions::BREAK_NOTICES;
        let theirs = offering(means, &key(2), Limits::default(), offer);
        // A buffer that is smaller than a handshake and divides no other size.
        let (near, mut far) = tokio::io::duplex(1000 / 11);
        let (adopted, seen) = tokio::join!(
            ours.adopt_stream(near, "test".into(), Link::Pipe, Direction::Inbound),
            theirs.handshake(&mut far),
        );
        let adopted = adopted.unwrap();
        assert_eq!(adopted.key, key(2).public_key());
        assert_eq!(adopted.extensions, offer);
        let seen = seen.unwrap();
        assert_eq!(seen.public_key, key(1).public_key());
        assert_eq!(seen.extensions, Extensions::NONE);

        let (down, up) = (noise(1), noise(2));
        let mut worker = UnixStream::from(adopted.stream);
        let mut reader = worker.try_clone().unwrap();
        let sent = down.clone();
        let writing = thread::spawn(move || {
            worker.write_all(&sent).unwrap();
            worker.shutdown(Shutdown::Write).unwrap();
        });
        let reading = thread::spawn(move || {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).unwrap();
            got
        });
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let mut got = Vec::new();
        let (read, ()) = tokio::join!(far_read.read_to_end(&mut got), async {
            far_write.write_all(&up).await.unwrap();
            far_write.shutdown().await.unwrap();
        });
        read.unwrap();
        // The relay runs in this thread, so joining must wait until it has finished.
        common::until(|| writing.is_finished() && reading.is_finished()).await;
        writing.join().unwrap();
        assert!(got == down, "stream to the embedder differs");
        assert!(
            reading.join().unwrap() == up,
            "stream to the worker differs"
        );
    });
}

#[test]
fn an_adopted_stream_that_ends_ends_the_worker_s_side() {
    by_each_means(|means| async move {
        let ours = transports(means, &key(1), Limits::default());
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(&handshake::encode(&key(2))).await.unwrap();
        let adopted = ours
            .adopt_stream(near, "test".into(), Link::Pipe, Direction::Inbound)
            .await
            .unwrap();
        drop(far);
        let reading = thread::spawn(move || UnixStream::from(adopted.stream).read(&mut [0; 1]));
        common::until(|| reading.is_finished()).await;
        assert_eq!(reading.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn sockets_of_another_family_are_adopted() {
    by_each_means(|means| async move {
        let ours = transports(means, &key(1), Limits::default());
        let theirs = transports(means, &key(2), Limits::default());
        let (a, b) = pipe().unwrap();
        let (a, b) = tokio::join!(
            ours.adopt_socket(a, "a".into(), Link::Pipe, Direction::Outbound),
            theirs.adopt_socket(b, "b".into(), Link::Pipe, Direction::Inbound),
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.key, key(2).public_key());
        assert_eq!(b.key, key(1).public_key());
        for end in [&a.stream, &b.stream] {
            let flags = rustix::fs::fcntl_getfl(end).unwrap();
            assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
        }
    });
}

#[test]
fn a_bad_handshake_over_a_stream_is_refused() {
    by_each_means(|means| async move {
        let ours = transports(means, &key(1), Limits::default());
        let (mut near, mut far) = tokio::io::duplex(4096);
        let mut bytes = handshake::encode(&key(2));
        bytes[50] ^= 1;
        far.write_all(&bytes).await.unwrap();
        let error = ours.handshake(&mut near).await.unwrap_err();
        assert!(matches!(error, HandshakeFailed::Signature), "{error}");
        far.write_all(&bytes[..7]).await.unwrap();
        drop(far);
        let error = ours.handshake(&mut near).await.unwrap_err();
        // Either the own half cannot be written or the peer's ends early, depending on the order of polls.
        assert!(matches!(error, HandshakeFailed::Eof { got: 7 }), "{error}");
        assert_eq!(ours.counters().refused_signature, 1);
    });
}

#[test]
fn pipes_are_blocking_stream_sockets() {
    let (a, b) = pipe().unwrap();
    let (mut a, mut b) = (UnixStream::from(a), UnixStream::from(b));
    a.write_all(b"pi").unwrap();
    a.write_all(b"ne").unwrap();
    drop(a);
    let mut got = Vec::new();
    // In non-blocking mode, this would fail at once; with message boundaries, it would not end.
    b.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"pine");
}
