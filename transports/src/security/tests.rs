//! Tests of encryption and proofs over real streams and sockets, with an attacker in between.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use pinecone_testing::{Need, skip};
use pinecone_wire::handshake;
use pinecone_wire::proof::{CHALLENGE_LEN, PROOF_LEN, ProofError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy_bidirectional, duplex};

use super::*;
use crate::{Backend, Runtime, pipe};

/// A time limit that is only reached on a failure.
const DEADLINE: Duration = Duration::from_secs(60);

type Shake = [u8; HANDSHAKE_LEN];

/// A node with the handshake that it sends over plain streams.
struct Node {
    security: Security,
    shake: Shake,
}

fn options() -> SecurityOptions {
    SecurityOptions::default()
}

fn with_password(text: &str) -> SecurityOptions {
    SecurityOptions {
        password: Some(Password::new(text.as_bytes()).unwrap()),
        ..options()
    }
}

fn links(encrypt_links: EncryptLinks) -> SecurityOptions {
    SecurityOptions {
        encrypt_links,
        ..options()
    }
}

fn require_proof() -> SecurityOptions {
    SecurityOptions {
        require_proof: true,
        ..options()
    }
}

fn node(n: u8, options: SecurityOptions) -> Node {
    let key = SecretKey::from_seed(&[n; 32]);
    let security = Security::new(key.clone(), options);
    let offers = security.offers(BindingKind::None);
    Node {
        shake: handshake::encode_offering(&key, offers),
        security,
    }
}

/// A node of another program: it offers nothing.
fn other_program(n: u8) -> Shake {
    handshake::encode(&SecretKey::from_seed(&[n; 32]))
}

type Secured = Result<(SecuredStream<DuplexStream>, Option<Proven>), SecurityFailed>;

impl Node {
    fn key(&self) -> pinecone_wire::PublicKey {
        self.security.key.public_key()
    }

    fn with<'a>(&'a self, theirs: &'a Shake) -> Handshakes<'a> {
        let ours = &self.shake;
        Handshakes { ours, theirs }
    }

    async fn secure(&self, stream: DuplexStream, theirs: &Shake) -> Secured {
        self.over(stream, theirs, Channel::PLAIN).await
    }

    async fn over(&self, stream: DuplexStream, theirs: &Shake, channel: Channel) -> Secured {
        let handshakes = self.with(theirs);
        self.security
            .secure_stream(stream, handshakes, channel)
            .await
    }

    fn agrees(&self, theirs: &Shake) -> Result<Agreement, SecurityFailed> {
        self.security.agree(self.with(theirs), BindingKind::None)
    }
}

fn run<F: Future>(future: F) -> F::Output {
    Runtime::new(Backend::Tokio).unwrap().block_on(async {
        tokio::time::timeout(DEADLINE, future)
            .await
            .expect("the test hangs")
    })
}

/// Secures a stream that buffers `len` bytes between two nodes.
async fn both(a: &Node, b: &Node, len: usize) -> [Secured; 2] {
    let (near, far) = duplex(len);
    tokio::join!(a.secure(near, &b.shake), b.secure(far, &a.shake)).into()
}

fn refusal(secured: Secured) -> ProofError {
    match secured {
        Err(SecurityFailed::Proof(ProofFailed::Refused(error))) => error,
        other => panic!("{other:?}"),
    }
}

fn is_encrypted<S>(stream: &SecuredStream<S>) -> bool {
    matches!(stream, SecuredStream::Encrypted(_))
}

#[test]
fn what_two_nodes_agree_on() {
    use EncryptLinks::{Off, Prefer, Require};
    for (ours, theirs, encrypt) in [
        (Off, Off, Some(false)),
        (Off, Prefer, Some(false)),
        (Off, Require, Some(false)),
        (Prefer, Prefer, Some(true)),
        (Prefer, Require, Some(true)),
        (Require, Require, Some(true)),
        (Require, Off, None),
    ] {
        let agreed = node(1, links(ours)).agrees(&node(2, links(theirs)).shake);
        let expected = encrypt.map(|encrypt| Agreement {
            encrypt,
            prove: true,
        });
        assert_eq!(agreed.ok(), expected, "{ours} {theirs}");
    }
    let neither = Agreement {
        encrypt: false,
        prove: false,
    };
    let other = other_program(2);
    assert_eq!(node(1, options()).agrees(&other).unwrap(), neither);
    for demanding in [require_proof(), with_password("password")] {
        let refused = node(1, demanding).agrees(&other);
        assert!(
            matches!(refused, Err(SecurityFailed::Proof(ProofFailed::NotOffered))),
            "{refused:?}"
        );
    }
    let refused = node(1, links(Require)).agrees(&other);
    assert!(
        matches!(refused, Err(SecurityFailed::Link(LinkFailed::NotOffered))),
        "{refused:?}"
    );
    // The offer of encryption counts only with that of the proof.
    let key = SecretKey::from_seed(&[2; 32]);
    let only_link = handshake::encode_offering(&key, Extensions::ENCRYPTED_LINK);
    assert_eq!(node(1, options()).agrees(&only_link).unwrap(), neither);
}

#[test]
fn tls_satisfies_required_encryption_and_is_not_encrypted_twice() {
    let ours = node(1, links(EncryptLinks::Require));
    let offers = ours.security.offers(BindingKind::Tls);
    assert_eq!(offers, Extensions::PEERING_PROOF);
    let over_tls = handshake::encode_offering(&SecretKey::from_seed(&[2; 32]), offers);
    let agreed = ours
        .security
        .agree(ours.with(&over_tls), BindingKind::Tls)
        .unwrap();
    assert!(agreed.prove && !agreed.encrypt);
}

#[test]
fn nodes_prove_their_keys_whatever_the_stream_buffers() {
    run(async {
        for len in [1, 7, 1 << 16] {
            for (a, b, encrypted) in [
                (node(1, options()), node(2, options()), true),
                (node(2, options()), node(1, options()), true),
                (node(1, links(EncryptLinks::Off)), node(2, options()), false),
                (
                    node(1, with_password("password")),
                    node(2, with_password("password")),
                    true,
                ),
            ] {
                let [at_a, at_b] = both(&a, &b, len).await.map(Result::unwrap);
                for ((stream, proven), peer) in [(&at_a, &b), (&at_b, &a)] {
                    assert_eq!(is_encrypted(stream), encrypted);
                    let proven = proven.unwrap();
                    assert_eq!(proven.key, peer.key());
                    assert_eq!(proven.password, a.security.options.password.is_some());
                    let kind = [BindingKind::None, BindingKind::Noise][usize::from(encrypted)];
                    assert_eq!(proven.binding, kind);
                }
                // The stream goes on behind the proof.
                let ((mut at_a, _), (mut at_b, _)) = (at_a, at_b);
                let mut got = [0; 5];
                let sent = async {
                    at_a.write_all(b"frame").await.unwrap();
                    at_a.flush().await.unwrap();
                };
                let received = async { at_b.read_exact(&mut got).await.unwrap() };
                tokio::join!(sent, received);
                assert_eq!(got, *b"frame");
            }
        }
    });
}

#[test]
fn a_peer_that_offers_nothing_gets_a_plain_stream_without_a_proof() {
    run(async {
        let (near, mut far) = duplex(100);
        let (mut stream, proven) = node(1, options())
            .secure(near, &other_program(2))
            .await
            .unwrap();
        assert!(proven.is_none() && !is_encrypted(&stream));
        far.write_all(b"frame").await.unwrap();
        let mut got = [0; 5];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, *b"frame");
    });
}

#[test]
fn another_password_or_none_is_refused() {
    run(async {
        let ours = node(1, with_password("password"));
        let [here, there] = both(&ours, &node(2, with_password("Password")), 1 << 10).await;
        assert_eq!(refusal(here), ProofError::WrongPassword);
        assert_eq!(refusal(there), ProofError::WrongPassword);
        let [here, there] = both(&ours, &node(2, options()), 1 << 10).await;
        assert_eq!(refusal(here), ProofError::PeerHasNoPassword);
        assert_eq!(refusal(there), ProofError::PasswordNeeded);
    });
}

/// Reads a message of `len` bytes and passes its start on.
async fn pass(from: &mut DuplexStream, to: &mut DuplexStream, len: usize, start: usize) -> Vec<u8> {
    let mut message = vec![0; len];
    from.read_exact(&mut message).await.unwrap();
    to.write_all(&message[..start]).await.unwrap();
    message
}

/// Plain nodes with a proof, and what each of them sends.
async fn recorded(a: &Node, b: &Node) -> [Vec<u8>; 2] {
    let (near, mut at_a) = duplex(1 << 10);
    let (far, mut at_b) = duplex(1 << 10);
    let relay = async {
        let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
        for len in [CHALLENGE_LEN, PROOF_LEN] {
            from_a.extend(pass(&mut at_a, &mut at_b, len, len).await);
            from_b.extend(pass(&mut at_b, &mut at_a, len, len).await);
        }
        [from_a, from_b]
    };
    let (at_a, at_b, sent) = tokio::join!(a.secure(near, &b.shake), b.secure(far, &a.shake), relay);
    at_a.unwrap();
    at_b.unwrap();
    sent
}

fn plain(n: u8) -> Node {
    node(n, links(EncryptLinks::Off))
}

/// An attacker sends what B once sent to A: the handshake, and the proof.
#[test]
fn a_replayed_handshake_with_its_proof_is_refused() {
    run(async {
        let (a, b) = (plain(1), plain(2));
        let [_, from_b] = recorded(&a, &b).await;
        let (near, mut far) = duplex(1 << 10);
        far.write_all(&from_b).await.unwrap();
        assert_eq!(
            refusal(a.secure(near, &b.shake).await),
            ProofError::Signature
        );
    });
}

/// An attacker with a handshake of B that offers a proof, and nothing else.
#[test]
fn a_replayed_handshake_alone_is_refused() {
    run(async {
        let (a, b) = (plain(1), plain(2));
        let (near, mut far) = duplex(1 << 10);
        // A frame that the attacker has also recorded.
        far.write_all(&[0x70; 200]).await.unwrap();
        assert!(a.secure(near, &b.shake).await.is_err());
        let (near, mut far) = duplex(1 << 10);
        far.shutdown().await.unwrap();
        let failed = a.secure(near, &b.shake).await;
        assert!(
            matches!(failed, Err(SecurityFailed::Proof(ProofFailed::Eof))),
            "{failed:?}"
        );
    });
}

/// An attacker sends everything back that A sends, with a recorded handshake of B.
#[test]
fn a_reflected_proof_is_refused() {
    run(async {
        let (a, b) = (plain(1), plain(2));
        let (near, far) = duplex(1 << 10);
        let reflect = async {
            let (mut read, mut write) = tokio::io::split(far);
            // Ends when the node gives up.
            let _ = tokio::io::copy(&mut read, &mut write).await;
        };
        let (secured, ()) = tokio::join!(a.secure(near, &b.shake), reflect);
        assert_eq!(refusal(secured), ProofError::Reflected);
        // The initiator of an encrypted link gets its own message back, filled up to the length of the answer.
        let (a, b) = (node(1, options()), node(2, options()));
        let (us, them) = if a.key() < b.key() { (a, b) } else { (b, a) };
        let (near, mut far) = duplex(1 << 10);
        let reflect = async {
            let mut message = [0; 48];
            far.read_exact(&mut message[..32]).await.unwrap();
            far.write_all(&message).await.unwrap();
        };
        let (secured, ()) = tokio::join!(us.secure(near, &them.shake), reflect);
        assert!(
            matches!(secured, Err(SecurityFailed::Link(LinkFailed::Refused))),
            "{secured:?}"
        );
    });
}

/// A man in the middle copies bytes. On plain streams that is all he needs, as the specification says.
#[test]
fn a_man_in_the_middle_relays_the_proof_of_plain_streams() {
    run(async {
        let (a, b) = (plain(1), plain(2));
        recorded(&a, &b).await;
    });
}

/// A man in the middle who wants to read an encrypted link ends it himself, towards each of the nodes, and relays the
/// proof between them.
#[test]
fn a_man_in_the_middle_who_ends_encrypted_links_fails() {
    run(async {
        let (a, b) = (node(1, options()), node(2, options()));
        let (near, at_a) = duplex(1 << 10);
        let (far, at_b) = duplex(1 << 10);
        let middle = async {
            // He knows the handshakes of both, which are no secret.
            let (to_a, to_b) = tokio::join!(
                link::encrypt_link(at_a, &b.shake, &a.shake),
                link::encrypt_link(at_b, &a.shake, &b.shake)
            );
            let (mut to_a, mut to_b) = (to_a.unwrap(), to_b.unwrap());
            // Both nodes send their challenges and proofs, and then give up.
            let copied = copy_bidirectional(&mut to_a, &mut to_b).await;
            assert!(copied.is_err(), "{copied:?}");
        };
        let (at_a, at_b, ()) = tokio::join!(
            async { a.secure(near, &b.shake).await.map(drop) },
            async { b.secure(far, &a.shake).await.map(drop) },
            middle
        );
        for failed in [at_a.unwrap_err(), at_b.unwrap_err()] {
            let SecurityFailed::Proof(ProofFailed::Refused(ProofError::Signature)) = failed else {
                panic!("{failed:?}");
            };
        }
    });
}

/// The exporters of TLS differ at the two ends, too.
#[test]
fn a_man_in_the_middle_who_ends_tls_fails() {
    run(async {
        let (a, b) = (plain(1), plain(2));
        let tls = |n, other| Channel {
            binding: Binding::TlsExporter([n; 32]),
            other,
        };
        for other in [OtherChannel::Refuse, OtherChannel::Unbound] {
            for (at_b, succeeds) in [(1, true), (2, false)] {
                let (near, far) = duplex(1 << 10);
                let (here, there) = tokio::join!(
                    a.over(near, &b.shake, tls(1, other)),
                    b.over(far, &a.shake, tls(at_b, other))
                );
                assert_eq!((here.is_ok(), there.is_ok()), (succeeds, succeeds));
            }
        }
        // TLS that ends at a proxy of B, as a dialler may allow.
        for (other, succeeds) in [(OtherChannel::Refuse, false), (OtherChannel::Unbound, true)] {
            let (near, far) = duplex(1 << 10);
            let (here, there) = tokio::join!(
                a.over(near, &b.shake, tls(1, other)),
                b.secure(far, &a.shake)
            );
            assert_eq!(here.is_ok(), succeeds);
            assert_eq!(there.is_ok(), succeeds);
        }
    });
}

#[test]
fn a_proof_that_is_cut_at_any_byte_fails() {
    run(async {
        let (a, b) = (plain(1), plain(2));
        for cut in 0..CHALLENGE_LEN + PROOF_LEN {
            let (near, mut at_a) = duplex(1 << 10);
            let (far, mut at_b) = duplex(1 << 10);
            let relay = async {
                let (first, second) = (CHALLENGE_LEN, PROOF_LEN);
                pass(&mut at_a, &mut at_b, first, first).await;
                pass(&mut at_b, &mut at_a, first, cut.min(first)).await;
                if cut > first {
                    pass(&mut at_a, &mut at_b, second, second).await;
                    pass(&mut at_b, &mut at_a, second, cut - first).await;
                }
                drop((at_a, at_b));
            };
            let (failed, _, ()) =
                tokio::join!(a.secure(near, &b.shake), b.secure(far, &a.shake), relay);
            assert!(
                matches!(failed, Err(SecurityFailed::Proof(ProofFailed::Eof))),
                "{cut}: {failed:?}"
            );
        }
    });
}

#[test]
fn a_silent_peer_is_left_when_the_caller_gives_up() {
    run(async {
        for options in [options(), links(EncryptLinks::Off)] {
            for (us, them) in [(1, 2), (2, 1)] {
                let (us, them) = (node(us, options.clone()), node(them, options.clone()));
                let (near, mut far) = duplex(1 << 10);
                let secured = us.secure(near, &them.shake);
                let limit = Duration::from_millis(20);
                assert!(tokio::time::timeout(limit, secured).await.is_err());
                // The stream is closed.
                far.read_to_end(&mut Vec::new()).await.unwrap();
            }
        }
    });
}

/// Runs a test with each backend that this machine has.
fn on_each_backend<F: Future>(test: impl Fn(Backend) -> F) {
    for backend in [Backend::Tokio, Backend::TokioUring] {
        if backend == Backend::TokioUring && Backend::detect() != backend {
            skip(Need::IoUring, "tokio-uring is not tried");
            continue;
        }
        Runtime::new(backend).unwrap().block_on(async {
            tokio::time::timeout(DEADLINE, test(backend))
                .await
                .unwrap_or_else(|_| panic!("test hangs with {backend}"));
        });
    }
}

fn tcp() -> (OwnedFd, OwnedFd) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near.into(), listener.accept().unwrap().0.into())
}

#[test]
fn plain_sockets_prove_keys_without_a_relay() {
    on_each_backend(|backend| async move {
        for (near, far) in [tcp(), pipe().unwrap()] {
            let (a, b) = (plain(1), plain(2));
            let shake = |node: Node, socket: OwnedFd| async move {
                let mut socket = SocketExchange::new(backend, socket);
                let theirs = socket.swap(&node.shake).await.unwrap();
                let secured = node.security.secure_socket(&mut socket, node.with(&theirs));
                let proven = secured.await.unwrap().unwrap();
                (StdUnixStream::from(socket.finish().unwrap()), proven.key)
            };
            let keys = [b.key(), a.key()];
            let both = tokio::join!(shake(a, near), shake(b, far));
            let ((mut near, at_a), (mut far, at_b)) = both;
            assert_eq!([at_a, at_b], keys);
            // In blocking mode, and without a byte too many.
            near.write_all(b"frame").unwrap();
            let mut got = [0; 5];
            far.read_exact(&mut got).unwrap();
            assert_eq!(got, *b"frame");
        }
    });
}

/// A peer sends frames right behind its proof, and one byte at a time before.
#[test]
fn what_follows_the_proof_stays_in_the_socket() {
    on_each_backend(|backend| async move {
        let (near, far) = tcp();
        let (a, b) = (plain(1), plain(2));
        let (a_shake, b_shake) = (a.shake, b.shake);
        let peer = std::thread::spawn(move || {
            let mut far = std::net::TcpStream::from(far);
            far.set_nodelay(true).unwrap();
            let runtime = Runtime::new(Backend::Tokio).unwrap();
            // The peer's side of the proof, in memory.
            let (near, mut wire) = duplex(1 << 10);
            let (mut far_again, b) = (far.try_clone().unwrap(), b);
            let secured = async {
                let relay = async {
                    for len in [CHALLENGE_LEN, PROOF_LEN] {
                        let mut message = vec![0; len];
                        wire.read_exact(&mut message).await.unwrap();
                        if len == PROOF_LEN {
                            message.extend(b"frame");
                            far.write_all(&message).unwrap();
                        } else {
                            message
                                .iter()
                                .for_each(|byte| far.write_all(&[*byte]).unwrap());
                        }
                        let mut message = vec![0; len];
                        far_again.read_exact(&mut message).unwrap();
                        wire.write_all(&message).await.unwrap();
                    }
                };
                tokio::join!(b.secure(near, &a_shake), relay).0.unwrap();
            };
            runtime.block_on(secured);
        });
        let mut socket = SocketExchange::new(backend, near);
        let handshakes = a.with(&b_shake);
        let secured = a.security.secure_socket(&mut socket, handshakes).await;
        assert!(secured.unwrap().is_some());
        let mut got = [0; 5];
        let mut socket = std::net::TcpStream::from(socket.finish().unwrap());
        socket.read_exact(&mut got).unwrap();
        assert_eq!(got, *b"frame");
        peer.join().unwrap();
    });
}

#[test]
fn a_socket_is_shut_down_when_the_caller_gives_up() {
    on_each_backend(|backend| async move {
        let (near, far) = tcp();
        let (a, b) = (plain(1), plain(2));
        let mut socket = SocketExchange::new(backend, near);
        let secured = a.security.secure_socket(&mut socket, a.with(&b.shake));
        let limit = Duration::from_millis(20);
        assert!(tokio::time::timeout(limit, secured).await.is_err());
        drop(socket);
        let mut got = Vec::new();
        let mut far = std::net::TcpStream::from(far);
        far.set_read_timeout(Some(DEADLINE)).unwrap();
        far.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), CHALLENGE_LEN);
    });
}

#[test]
fn a_socket_that_is_to_be_encrypted_is_not_secured_as_it_is() {
    run(async {
        let (a, b) = (node(1, options()), node(2, options()));
        let mut socket = SocketExchange::new(Backend::Tokio, tcp().0);
        let failed = a.security.secure_socket(&mut socket, a.with(&b.shake));
        let failed = failed.await;
        assert!(
            matches!(failed, Err(SecurityFailed::Link(LinkFailed::Internal(_)))),
            "{failed:?}"
        );
    });
}

#[test]
fn the_names_of_the_modes_are_read_and_written() {
    for mode in [
        EncryptLinks::Off,
        EncryptLinks::Prefer,
        EncryptLinks::Require,
    ] {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    assert!("on".parse::<EncryptLinks>().unwrap_err().contains("prefer"));
}
