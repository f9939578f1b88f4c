//! Encrypted links (`docs/peering-proof.md`).

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use pinecone_transports::{EncryptedStream, encrypt_link};
use pinecone_wire::{HANDSHAKE_LEN, SecretKey, handshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// More than any input, so that no write waits.
const BUFFER: usize = 1 << 20;

/// A link delivers what its peer has sealed, and nothing of what an attacker appends to it.
///
/// If the highest bit of the first byte is set, the rest is what an attacker sends instead of the handshake and the
/// records. Otherwise the first byte is a number of good records, and the rest follows them.
pub fn encrypted_link(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let keys = [1, 2].map(|n| SecretKey::from_seed(&[n; 32]));
    let (one, two) = (handshake::encode(&keys[0]), handshake::encode(&keys[1]));
    if first & 0x80 != 0 {
        let (ours, theirs) = if first & 1 == 0 {
            (one, two)
        } else {
            (two, one)
        };
        let got = complete(async {
            let (near, mut far) = duplex(BUFFER);
            far.write_all(rest).await.unwrap();
            far.shutdown().await.unwrap();
            match encrypt_link(near, &ours, &theirs).await {
                Ok(link) => delivered(link).await.0,
                Err(_) => Vec::new(),
            }
        });
        assert!(got.is_empty());
        return;
    }
    complete(async {
        let (mut link, mut peer, mut to_link, mut from_peer) = between(&one, &two).await;
        let mut expected = Vec::new();
        for n in 0..first % 8 {
            let payload = vec![n; usize::from(n) * 100 + 1];
            peer.write_all(&payload).await.unwrap();
            expected.extend(payload);
        }
        peer.flush().await.unwrap();
        drop(peer);
        let mut good = Vec::new();
        from_peer.read_to_end(&mut good).await.unwrap();
        to_link.write_all(&good).await.unwrap();
        to_link.write_all(rest).await.unwrap();
        drop(to_link);
        link.write_all(b"the other direction is open").await.ok();
        let (got, ended_well) = delivered(link).await;
        assert_eq!(got, expected);
        assert!(!ended_well);
    });
}

/// Returns what a link delivers, and whether it ended as the peer announced.
async fn delivered(mut link: EncryptedStream<DuplexStream>) -> (Vec<u8>, bool) {
    let mut got = Vec::new();
    let ended = link.read_to_end(&mut got).await;
    (got, ended.is_ok())
}

/// Connects two links through an attacker, who so far passes everything on.
async fn between(
    one: &[u8; HANDSHAKE_LEN],
    two: &[u8; HANDSHAKE_LEN],
) -> (
    EncryptedStream<DuplexStream>,
    EncryptedStream<DuplexStream>,
    DuplexStream,
    DuplexStream,
) {
    let (near, mut at_near) = duplex(BUFFER);
    let (far, mut at_far) = duplex(BUFFER);
    let relay = async {
        let (initiator, responder) = if one[8..40] < two[8..40] {
            (&mut at_near, &mut at_far)
        } else {
            (&mut at_far, &mut at_near)
        };
        let mut message = [0; 48];
        initiator.read_exact(&mut message[..32]).await.unwrap();
        responder.write_all(&message[..32]).await.unwrap();
        responder.read_exact(&mut message).await.unwrap();
        initiator.write_all(&message).await.unwrap();
    };
    let (near, far, ()) = tokio::join!(
        encrypt_link(near, one, two),
        encrypt_link(far, two, one),
        relay
    );
    (near.unwrap(), far.unwrap(), at_near, at_far)
}

/// Runs a future that waits for nothing but itself.
fn complete<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
    panic!("the future waits for something else");
}
