//! Tests of encrypted links: the vectors, transport of bytes, and everything that an attacker may do to the stream.

#![allow(clippy::unwrap_used)]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pinecone_wire::SecretKey;
use pinecone_wire::handshake::{self, Extensions, HANDSHAKE_LEN};
use pinecone_wire::proof::Binding;
use proptest::prelude::*;
use serde_json::Value;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};

use super::handshake::{FIRST_LEN, SECOND_LEN, encrypt_link, exchange_keys};
use super::records::{HEADER_LEN, LONGEST_RECORD, MOST_SENT, TAG_LEN};
use super::{EncryptedStream, LinkFailed};

type Link = EncryptedStream<DuplexStream>;

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, future).await.unwrap()
    })
}

fn shake(n: u8) -> [u8; HANDSHAKE_LEN] {
    handshake::encode_offering(&SecretKey::from_seed(&[n; 32]), Extensions::PEERING_PROOF)
}

/// Connects two ends over a stream that buffers `len` bytes.
async fn connected(len: usize) -> (Link, Link) {
    let (a, b) = duplex(len);
    let (one, two) = (shake(1), shake(2));
    let both = tokio::join!(encrypt_link(a, &one, &two), encrypt_link(b, &two, &one));
    (both.0.unwrap(), both.1.unwrap())
}

/// A link whose other end writes to the stream as an attacker may: whatever it wants, with or without the keys.
struct Attacked {
    link: Link,
    attacker: DuplexStream,
    /// Holds the keys of the honest peer, and a stream that leads nowhere.
    peer: Link,
}

async fn attacked() -> Attacked {
    let (ours, mut attacker) = duplex(1 << 20);
    let (theirs, mut at_peer) = duplex(1 << 20);
    let (one, two) = (shake(1), shake(2));
    let relay = async {
        let mut messages = ([0; FIRST_LEN], [0; SECOND_LEN]);
        let first_is_ours = one[8..40] < two[8..40];
        let (from, to) = if first_is_ours {
            (&mut attacker, &mut at_peer)
        } else {
            (&mut at_peer, &mut attacker)
        };
        from.read_exact(&mut messages.0).await.unwrap();
        to.write_all(&messages.0).await.unwrap();
        to.read_exact(&mut messages.1).await.unwrap();
        from.write_all(&messages.1).await.unwrap();
    };
    let (link, peer, ()) = tokio::join!(
        encrypt_link(ours, &one, &two),
        encrypt_link(theirs, &two, &one),
        relay
    );
    Attacked {
        link: link.unwrap(),
        attacker,
        peer: peer.unwrap(),
    }
}

impl Attacked {
    /// Returns a record that the honest peer has sealed.
    fn sealed(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; payload.len() + HEADER_LEN + TAG_LEN];
        let len = self.peer.records().seal(payload, &mut out).unwrap();
        out.truncate(len);
        out
    }

    /// Sends bytes and ends the connection. Returns what the link delivers, and how it ends.
    async fn deliver(mut self, bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
        self.attacker.write_all(bytes).await.unwrap();
        drop(self.attacker);
        let mut got = Vec::new();
        let ended = self.link.read_to_end(&mut got).await;
        (got, ended.map(drop))
    }
}

fn is(ended: &io::Result<()>, kind: io::ErrorKind) -> bool {
    ended.as_ref().is_err_and(|error| error.kind() == kind)
}

#[test]
fn the_vectors() {
    let file: Value =
        serde_json::from_str(include_str!("../../../wire/vectors/encrypted_link.json")).unwrap();
    let decode = |text: &Value| hex::decode(text.as_str().unwrap()).unwrap();
    for case in file["cases"].as_array().unwrap() {
        run(async {
            let side = |name: &str| {
                let shake: [u8; HANDSHAKE_LEN] =
                    decode(&case[name]["handshake"]).try_into().unwrap();
                let secret: [u8; 32] = decode(&case[name]["secret"]).try_into().unwrap();
                (shake, secret, decode(&case[name]["message"]))
            };
            let (initiator, first_secret, first) = side("initiator");
            let (responder, second_secret, second) = side("responder");
            // Each side alone against the recorded message of the other.
            let (near, mut far) = duplex(1 << 10);
            far.write_all(&second).await.unwrap();
            let link = exchange_keys(near, &initiator, &responder, Some(&first_secret));
            let at_initiator = link.await.unwrap();
            let mut sent = [0; FIRST_LEN];
            far.read_exact(&mut sent).await.unwrap();
            assert_eq!(sent[..], first);
            let (near, mut far) = duplex(1 << 10);
            far.write_all(&first).await.unwrap();
            let link = exchange_keys(near, &responder, &initiator, Some(&second_secret));
            let at_responder = link.await.unwrap();
            let mut sent = [0; SECOND_LEN];
            far.read_exact(&mut sent).await.unwrap();
            assert_eq!(sent[..], second);

            let hash = Binding::Noise(decode(&case["hash"]).try_into().unwrap());
            assert_eq!(
                (at_initiator.binding(), at_responder.binding()),
                (hash, hash)
            );
            let mut ends = [at_initiator, at_responder];
            for name in ["initiator", "responder"] {
                let [sender, receiver] = &mut ends;
                let mut next = 0;
                for record in case[name]["records"].as_array().unwrap() {
                    while next < record["n"].as_u64().unwrap() {
                        pass(sender, receiver, b"filler");
                        next += 1;
                    }
                    let sealed = pass(sender, receiver, &decode(&record["payload"]));
                    assert_eq!(sealed, decode(&record["record"]), "{name}, record {next}");
                    next += 1;
                }
                ends.reverse();
            }
        });
    }
}

/// Seals a record at one end and opens it at the other. Returns the record.
fn pass(sender: &mut Link, receiver: &mut Link, payload: &[u8]) -> Vec<u8> {
    let mut sealed = vec![0; payload.len() + HEADER_LEN + TAG_LEN];
    let len = sender.records().seal(payload, &mut sealed).unwrap();
    let mut opened = vec![0; len];
    let part = &sealed[HEADER_LEN..len];
    let got = receiver.records().open(part, &mut opened).unwrap();
    assert_eq!(opened[..got], *payload);
    sealed
}

fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let step = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    std::iter::repeat_with(step).take(len).collect()
}

#[test]
fn both_directions_carry_megabytes_intact_whatever_the_stream_buffers() {
    for (buffered, len) in [(1, 70_000), (97, 300_000), (1 << 20, 3 << 20)] {
        run(async {
            let (a, b) = connected(buffered).await;
            let (up, down) = (noise(len, 1), noise(len, 2));
            let talk = |link: Link, sent: Vec<u8>| async move {
                let (mut read, mut write) = tokio::io::split(link);
                let mut got = Vec::new();
                let (ended, ()) = tokio::join!(read.read_to_end(&mut got), async {
                    write.write_all(&sent).await.unwrap();
                    write.shutdown().await.unwrap();
                });
                ended.unwrap();
                got
            };
            let (at_a, at_b) = tokio::join!(talk(a, up.clone()), talk(b, down.clone()));
            assert!(at_b == up && at_a == down, "buffer of {buffered}");
        });
    }
}

#[test]
fn what_is_on_the_stream_is_not_the_payload() {
    run(async {
        let mut attacked = attacked().await;
        attacked.link.write_all(&[7; 1000]).await.unwrap();
        attacked.link.flush().await.unwrap();
        let mut seen = vec![0; 1000 + HEADER_LEN + TAG_LEN];
        attacked.attacker.read_exact(&mut seen).await.unwrap();
        assert!(seen.windows(4).all(|window| window != [7; 4]));
    });
}

#[test]
fn a_stream_that_is_cut_at_any_byte_fails() {
    run(async {
        let whole = {
            let mut attacked = attacked().await;
            [&b"first"[..], b"second, longer", b""].map(|p| attacked.sealed(p).len())
        };
        let total: usize = whole.iter().sum();
        for cut in 0..=total {
            let mut attacked = attacked().await;
            let records = [&b"first"[..], b"second, longer", b""].map(|p| attacked.sealed(p));
            let (got, ended) = attacked.deliver(&records.concat()[..cut]).await;
            let expected: &[u8] = match cut {
                _ if cut < whole[0] => b"",
                _ if cut < whole[0] + whole[1] => b"first",
                _ => b"firstsecond, longer",
            };
            assert_eq!(got, expected, "cut at {cut}");
            if cut == total {
                ended.unwrap();
            } else {
                assert!(is(&ended, io::ErrorKind::UnexpectedEof), "{cut}: {ended:?}");
            }
        }
    });
}

#[test]
fn a_change_of_any_bit_fails_and_delivers_nothing_false() {
    run(async {
        let len = b"payload".len() + HEADER_LEN + TAG_LEN;
        for bit in 0..len * 8 {
            let mut attacked = attacked().await;
            let mut record = attacked.sealed(b"payload");
            record[bit / 8] ^= 1 << (bit % 8);
            // A longer length takes in what follows.
            record.resize(LONGEST_RECORD, 0);
            let (got, ended) = attacked.deliver(&record).await;
            assert_eq!(got, b"", "bit {bit}");
            assert!(
                is(&ended, io::ErrorKind::InvalidData),
                "bit {bit}: {ended:?}"
            );
        }
    });
}

#[test]
fn records_are_accepted_once_and_in_order() {
    run(async {
        for (order, delivered) in [
            (&[0, 1, 2][..], &b"onetwothree"[..]),
            (&[0, 0], b"one"),
            (&[1, 0], b""),
            (&[0, 2], b"one"),
            (&[0, 1, 0], b"onetwo"),
        ] {
            let mut attacked = attacked().await;
            let records = [&b"one"[..], b"two", b"three"].map(|p| attacked.sealed(p));
            let sent: Vec<_> = order.iter().flat_map(|i| records[*i].clone()).collect();
            let (got, ended) = attacked.deliver(&sent).await;
            assert_eq!(got, delivered, "{order:?}");
            let kind = match order {
                [0, 1, 2] => io::ErrorKind::UnexpectedEof,
                _ => io::ErrorKind::InvalidData,
            };
            assert!(is(&ended, kind), "{order:?}: {ended:?}");
        }
    });
}

#[test]
fn a_node_s_own_records_are_not_accepted_by_itself() {
    run(async {
        let mut attacked = attacked().await;
        attacked.link.write_all(b"own").await.unwrap();
        attacked.link.flush().await.unwrap();
        let mut own = vec![0; 3 + HEADER_LEN + TAG_LEN];
        attacked.attacker.read_exact(&mut own).await.unwrap();
        let (got, ended) = attacked.deliver(&own).await;
        assert!(got.is_empty() && is(&ended, io::ErrorKind::InvalidData));
    });
}

#[test]
fn what_follows_a_failure_or_the_end_is_not_read() {
    run(async {
        let mut attack = attacked().await;
        let good = attack.sealed(b"good");
        attack.attacker.write_all(&[0, 3, 1, 2, 3]).await.unwrap();
        attack.attacker.write_all(&good).await.unwrap();
        for _ in 0..2 {
            let error = attack.link.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let mut attack = attacked().await;
        let records = [&b"good"[..], b"", b"late"].map(|p| attack.sealed(p));
        let (got, ended) = attack.deliver(&records.concat()).await;
        ended.unwrap();
        assert_eq!(got, b"good");
    });
}

#[test]
fn writing_after_the_end_fails() {
    run(async {
        let (mut a, mut b) = connected(4096).await;
        a.write_all(b"last").await.unwrap();
        a.shutdown().await.unwrap();
        a.shutdown().await.unwrap();
        let error = a.write(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        let mut got = Vec::new();
        b.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last");
        // The other direction stays open.
        b.write_all(b"still").await.unwrap();
        b.flush().await.unwrap();
        let mut got = [0; 5];
        a.read_exact(&mut got).await.unwrap();
        assert_eq!(got, *b"still");
    });
}

#[test]
fn a_dropped_end_is_no_end_of_the_stream() {
    run(async {
        let (mut a, mut b) = connected(4096).await;
        a.write_all(b"all").await.unwrap();
        a.flush().await.unwrap();
        drop(a);
        let mut got = Vec::new();
        let error = b.read_to_end(&mut got).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(got, b"all");
    });
}

#[test]
fn the_peer_may_send_records_up_to_the_longest() {
    run(async {
        let mut attacked = attacked().await;
        let payload = noise(LONGEST_RECORD - HEADER_LEN - TAG_LEN, 3);
        let records = [attacked.sealed(&payload), attacked.sealed(b"")].concat();
        let (got, ended) = attacked.deliver(&records).await;
        ended.unwrap();
        assert!(got == payload);
    });
}

#[test]
fn peers_that_saw_other_handshakes_do_not_connect() {
    run(async {
        for bit in [8, 31, 40 * 8, 103 * 8 + 7] {
            let (a, b) = duplex(1 << 10);
            let (one, two) = (shake(1), shake(2));
            let mut seen = two;
            seen[bit / 8] ^= 1 << (bit % 8);
            let (at_a, at_b) =
                tokio::join!(encrypt_link(a, &one, &seen), encrypt_link(b, &two, &one));
            // The responder learns it with the first record.
            let initiator = if one[8..40] < two[8..40] {
                at_a.err()
            } else {
                at_b.err()
            };
            assert!(
                matches!(initiator, Some(LinkFailed::Refused)),
                "bit {bit}: {initiator:?}"
            );
        }
    });
}

#[test]
fn a_key_of_small_order_is_refused() {
    run(async {
        let (one, two) = (shake(1), shake(2));
        let (initiator, responder) = if one[8..40] < two[8..40] {
            (one, two)
        } else {
            (two, one)
        };
        let (near, mut far) = duplex(1 << 10);
        far.write_all(&[0; FIRST_LEN]).await.unwrap();
        let failed = encrypt_link(near, &responder, &initiator).await.err();
        assert!(matches!(failed, Some(LinkFailed::Refused)), "{failed:?}");
        let (near, mut far) = duplex(1 << 10);
        far.write_all(&[0; SECOND_LEN]).await.unwrap();
        let failed = encrypt_link(near, &initiator, &responder).await.err();
        assert!(matches!(failed, Some(LinkFailed::Refused)), "{failed:?}");
    });
}

#[test]
fn a_handshake_that_is_cut_at_any_byte_fails() {
    run(async {
        for (ours, theirs, len) in [
            (shake(1), shake(2), FIRST_LEN),
            (shake(2), shake(1), FIRST_LEN),
        ] {
            let responds = ours[8..40] > theirs[8..40];
            let len = if responds { len } else { SECOND_LEN };
            for cut in 0..len {
                let (near, mut far) = duplex(1 << 10);
                far.write_all(&noise(cut, 5)).await.unwrap();
                far.shutdown().await.unwrap();
                let failed = encrypt_link(near, &ours, &theirs).await.err();
                assert!(matches!(failed, Some(LinkFailed::Eof)), "{cut}: {failed:?}");
            }
        }
    });
}

#[test]
fn both_sides_change_their_keys_at_the_same_record() {
    run(async {
        let (mut a, mut b) = connected(1 << 16).await;
        a.records().rekey_after(3);
        b.records().rekey_after(3);
        for n in 0..20u8 {
            pass(&mut a, &mut b, &[n; 5]);
            if n % 2 == 0 {
                pass(&mut b, &mut a, &[n; 7]);
            }
        }
        // The old key is of no use.
        let (mut a, mut b) = connected(1 << 16).await;
        a.records().rekey_after(3);
        for _ in 0..3 {
            pass(&mut a, &mut b, b"old key");
        }
        let mut sealed = [0; 64];
        let len = a.records().seal(b"new key", &mut sealed).unwrap();
        let opened = b.records().open(&sealed[HEADER_LEN..len], &mut [0; 64]);
        assert_eq!(opened, Err(snow::Error::Decrypt));
    });
}

#[test]
fn a_peer_that_does_not_read_makes_writing_wait_and_holds_little_memory() {
    run(async {
        let (mut a, _b) = connected(100).await;
        let mut cx = Context::from_waker(Waker::noop());
        let payload = vec![0; 1 << 20];
        let mut taken = 0;
        while let Poll::Ready(written) = Pin::new(&mut a).poll_write(&mut cx, &payload) {
            taken += written.unwrap();
            assert!(taken <= 4 * MOST_SENT, "no end");
        }
        assert!(a.buffered() <= 2 * (MOST_SENT + HEADER_LEN + TAG_LEN));
    });
}

#[test]
fn a_peer_that_announces_a_long_record_holds_no_more_than_one() {
    run(async {
        let mut attacked = attacked().await;
        let record = vec![0xff; LONGEST_RECORD - 1];
        attacked.attacker.write_all(&record).await.unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut out = [0; 10];
        let mut out = ReadBuf::new(&mut out);
        assert!(
            Pin::new(&mut attacked.link)
                .poll_read(&mut cx, &mut out)
                .is_pending()
        );
        assert!(attacked.link.buffered() <= LONGEST_RECORD);
    });
}

#[test]
fn a_quiet_link_holds_little_memory_after_a_busy_time() {
    run(async {
        let (mut a, mut b) = connected(1 << 20).await;
        let mut got = vec![0; 500_000];
        let sent = noise(500_000, 4);
        tokio::join!(
            async {
                a.write_all(&sent).await.unwrap();
                a.flush().await.unwrap();
            },
            async { b.read_exact(&mut got).await.unwrap() }
        );
        assert!(got == sent && b.buffered() > 1 << 15);
        for _ in 0..40 {
            a.write_all(b"keepalive").await.unwrap();
            a.flush().await.unwrap();
            let mut got = [0; 9];
            b.read_exact(&mut got).await.unwrap();
            assert_eq!(got, *b"keepalive");
        }
        assert!(a.buffered() <= 2048, "{}", a.buffered());
        assert!(b.buffered() <= 2048, "{}", b.buffered());
    });
}

#[test]
fn a_reader_s_buffer_that_holds_bytes_already_is_filled_up() {
    run(async {
        let (mut a, mut b) = connected(1 << 16).await;
        a.write_all(&[1; 100]).await.unwrap();
        a.flush().await.unwrap();
        let mut memory = [9; 60];
        let mut out = ReadBuf::new(&mut memory);
        out.advance(10);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut b).poll_read(&mut cx, &mut out).is_ready());
        assert_eq!(out.filled(), [&[9; 10][..], &[1; 50]].concat());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_writes_and_reads_carry_the_same_bytes(
        buffered in 1usize..5000,
        writes in proptest::collection::vec((0usize..70_000, any::<bool>()), 1..8),
        reads in proptest::collection::vec(1usize..70_000, 1..8),
    ) {
        let sent: Vec<_> = writes.iter().enumerate().map(|(n, (len, _))| noise(*len, n as u64 + 1)).collect();
        let got = run(async {
            let (mut a, mut b) = connected(buffered).await;
            let write = async {
                for (part, (_, flush)) in sent.iter().zip(&writes) {
                    a.write_all(part).await.unwrap();
                    if *flush {
                        a.flush().await.unwrap();
                    }
                }
                a.shutdown().await.unwrap();
            };
            let read = async {
                let mut got = Vec::new();
                for len in reads.iter().cycle() {
                    let mut part = vec![0; *len];
                    match b.read(&mut part).await.unwrap() {
                        0 => break,
                        n => got.extend_from_slice(&part[..n]),
                    }
                }
                got
            };
            tokio::join!(write, read).1
        });
        prop_assert!(got == sent.concat());
    }

    #[test]
    fn arbitrary_bytes_deliver_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let (got, ended) = run(async { attacked().await.deliver(&bytes).await });
        prop_assert!(got.is_empty() && ended.is_err());
    }
}
