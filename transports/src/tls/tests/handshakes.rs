//! Handshakes over in-memory streams: who accepts whom.

use std::sync::atomic::{AtomicBool, Ordering};

use pinecone_wire::PublicKey;
use rcgen::{KeyPair, PKCS_ED25519};
use tokio::io::AsyncWrite;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ResolvesServerCert;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{CertificateError, ClientConfig, RootCertStore, sign};

use super::certificates::{Authority, Files, Pair, expired, not_yet_valid, params};
use super::*;
use Application::{Http, Pinecone};

/// A server of plain rustls.
struct Foreign {
    certified_key: CertifiedKey,
    alpn: Vec<Vec<u8>>,
    versions: &'static [&'static SupportedProtocolVersion],
}

impl Foreign {
    fn new(certified_key: CertifiedKey) -> Self {
        Self {
            certified_key,
            alpn: vec![],
            versions: HTTP_VERSIONS,
        }
    }

    fn with_pair(pair: &Pair) -> Self {
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let key = ring::sign::any_supported_type(&key).unwrap();
        Self::new(CertifiedKey::new(chain.map(Result::unwrap).collect(), key))
    }

    /// Returns the outcome of a client's handshake with this server.
    async fn accept(&self, client: &Tls, target: &TlsTarget) -> Outcome {
        let resolver: Arc<dyn ResolvesServerCert> =
            Arc::new(sign::SingleCertAndKey::from(self.certified_key.clone()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = self.alpn.clone();
        let (near, far) = duplex(4096);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let both = async { tokio::join!(client.connect(target, near), acceptor.accept(far)) };
        tokio::time::timeout(DEADLINE, both).await.unwrap().0
    }
}

/// Returns a client that trusts `authority` alone.
fn client_trusting(authority: &Authority) -> Tls {
    node_without_roots(2, Files::new().trusting(authority))
}

#[tokio::test]
async fn nodes_need_no_files() {
    let (client, server) = (
        node(2, TlsOptions::default()),
        node(1, TlsOptions::default()),
    );
    let mut bindings = vec![];
    for host in ["node.test", "192.0.2.1", "[2001:db8::1]"] {
        let (near, far) = handshake(&client, &target(Pinecone, host), &server, Pinecone).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        assert_eq!(near.peer(), &TlsPeer::NodeKey(key(1).public_key()));
        assert_eq!(far.peer(), &TlsPeer::Client);
        assert_eq!(near.alpn(), Some(&b"pinecone"[..]));
        assert_eq!(far.alpn(), near.alpn());
        assert_eq!(near.channel_binding(), far.channel_binding());
        bindings.push(*near.channel_binding());
        exchange(&mut near, &mut far).await;
    }
    bindings.sort_unstable();
    bindings.dedup();
    assert_eq!(bindings.len(), 3, "a binding is of one connection");
}

#[tokio::test]
async fn a_pinned_key_refuses_other_nodes() {
    let (client, server) = (
        node(2, TlsOptions::default()),
        node(1, TlsOptions::default()),
    );
    let [right, wrong] = [1, 3].map(|n| key(n).public_key());
    let pinned = |key| TlsTarget::new(Pinecone, "node.test", None, Some(key)).unwrap();
    let (near, _) = handshake(&client, &pinned(right), &server, Pinecone).await;
    assert_eq!(near.unwrap().peer(), &TlsPeer::NodeKey(right));
    let (near, far) = handshake(&client, &pinned(wrong), &server, Pinecone).await;
    let error = near.unwrap_err();
    assert!(
        matches!(error, TlsError::WrongKey { expected, found } if (expected, found) == (wrong, right)),
        "{error}"
    );
    assert!(matches!(far, Err(TlsError::Refused(_))));
}

#[tokio::test]
async fn the_key_of_the_handshake_must_be_that_of_the_certificate() {
    let [same, other] = [1, 3].map(|n| key(n).public_key());
    let peer = TlsPeer::NodeKey(same);
    assert!(peer.check_handshake(same).is_ok());
    let error = peer.check_handshake(other).unwrap_err();
    assert!(
        matches!(error, TlsError::OtherKey { certificate, handshake } if (certificate, handshake) == (same, other)),
        "{error}"
    );
    assert!(TlsPeer::Client.check_handshake(other).is_ok());
}

#[test]
fn the_certificate_of_a_node_key_is_that_of_the_specification() {
    // As in `docs/tls.md`.
    let expected = concat!(
        "308201443081f7a003020102020101300506032b6570304b3149304706035504030c4038613838653364643734303966",
        "313935666435326462326433636261356437326361363730396266316439343132316266333734383830316234306636",
        "6635633020170d3730303130313030303030305a180f39393939313233313233353935395a304b314930470603550403",
        "0c4038613838653364643734303966313935666435326462326433636261356437326361363730396266316439343132",
        "316266333734383830316234306636663563302a300506032b65700321008a88e3dd7409f195fd52db2d3cba5d72ca67",
        "09bf1d94121bf3748801b40f6f5c300506032b65700341008e747b999f33331e0023c966f764c30f439a57a61b912f1c",
        "10657b009f23dbf9dd6a30dfd4d2afe2a13bef62063f5abf7848f41e6d6440e1bfdf8e653fe4df07",
    );
    assert_eq!(hex::encode(node_key::certificate(&key(1))), expected);
}

#[tokio::test]
async fn a_copied_certificate_of_a_node_key_proves_nothing() {
    let client = node(2, TlsOptions::default());
    let thief = node_key::certified(&key(3));
    let mut server = Foreign::new(CertifiedKey::new(
        vec![node_key::certificate(&key(1))],
        thief.key,
    ));
    server.alpn = vec![b"pinecone".to_vec()];
    let error = server.accept(&client, &target(Pinecone, "node.test")).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, TlsError::Certificate(CertificateError::BadSignature)),
        "{error}"
    );
}

#[tokio::test]
async fn an_ed25519_certificate_that_another_key_signed_is_no_node_key() {
    let client = node_without_roots(2, TlsOptions::default());
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let pair = Authority::new("authority").issue_for(params(&["node.test"]), &ed25519);
    let mut server = Foreign::with_pair(&pair);
    server.alpn = vec![b"pinecone".to_vec()];
    let outcome = server.accept(&client, &target(Pinecone, "node.test")).await;
    assert!(matches!(outcome, Err(TlsError::NoRoots)));
}

#[test]
fn a_certificate_of_a_node_key_is_void_when_a_bit_changes_or_bytes_are_missing() {
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let of = |der: &[u8]| {
        node_key::of_certificate(&CertificateDer::from(der), UnixTime::now(), &algorithms)
    };
    let mut certificate = node_key::certificate(&key(1)).to_vec();
    assert_eq!(of(&certificate), Some(key(1).public_key()));
    for bit in 0..8 * certificate.len() {
        certificate[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(of(&certificate), None, "bit {bit}");
        certificate[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..certificate.len() {
        assert_eq!(of(&certificate[..length]), None, "length {length}");
    }
    certificate.push(0);
    assert_eq!(of(&certificate), None);
}

#[tokio::test]
async fn a_self_signed_certificate_that_expired_is_no_node_key() {
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let of = |params: rcgen::CertificateParams| {
        let certificate = params.self_signed(&ed25519).unwrap();
        node_key::of_certificate(certificate.der(), UnixTime::now(), &algorithms)
    };
    let expected = PublicKey::from_prefix(ed25519.public_key_raw());
    assert_eq!(of(params(&["any.test"])), expected, "names do not matter");
    assert_eq!(of(expired(&["any.test"])), None);
    assert_eq!(of(not_yet_valid(&["any.test"])), None);
}

#[tokio::test]
async fn a_node_key_with_further_certificates_is_no_node_key() {
    let client = node_without_roots(2, TlsOptions::default());
    let mut certified = node_key::certified(&key(1));
    certified.cert.push(node_key::certificate(&key(3)));
    let mut server = Foreign::new(certified);
    server.alpn = vec![b"pinecone".to_vec()];
    let outcome = server.accept(&client, &target(Pinecone, "node.test")).await;
    assert!(matches!(outcome, Err(TlsError::NoRoots)));
}

#[tokio::test]
async fn a_node_key_counts_only_with_the_protocol_of_nodes() {
    let client = node(2, TlsOptions::default());
    let mut server = Foreign::new(node_key::certified(&key(1)));
    let outcome = server.accept(&client, &target(Pinecone, "node.test")).await;
    assert!(matches!(outcome, Err(TlsError::Protocol(Pinecone))));
    server.alpn = vec![b"pinecone".to_vec()];
    let outcome = server.accept(&client, &target(Pinecone, "node.test")).await;
    assert!(outcome.is_ok());
}

#[tokio::test]
async fn wss_does_not_accept_node_keys() {
    let server = node(1, TlsOptions::default());
    let target = TlsTarget::new(Http, "node.test", None, Some(key(1).public_key())).unwrap();
    let client = client_trusting(&Authority::new("authority"));
    let (near, far) = handshake(&client, &target, &server, Http).await;
    assert!(matches!(near, Err(TlsError::UnknownIssuer)));
    assert!(matches!(far, Err(TlsError::Refused(_))));
}

#[tokio::test]
async fn certificates_of_trusted_authorities_count_for_their_names() {
    let authority = Authority::new("authority");
    let pair = authority.issue(&["node.test", "192.0.2.1", "2001:db8::1", "*.wild.test"]);
    let server = node(1, Files::with(&pair).options());
    let client = client_trusting(&authority);
    for name in ["node.test", "192.0.2.1", "[2001:db8::1]", "a.wild.test"] {
        let target = target(Http, name);
        let (near, far) = handshake(&client, &target, &server, Http).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        assert_eq!(near.peer(), &TlsPeer::Name(target.name));
        assert_eq!(near.channel_binding(), far.channel_binding());
        exchange(&mut near, &mut far).await;
    }
    for name in ["other.test", "192.0.2.2", "wild.test"] {
        let (near, _) = handshake(&client, &target(Http, name), &server, Http).await;
        let error = near.unwrap_err();
        assert!(
            matches!(&error, TlsError::WrongName { name: n, presented } if n == name && presented.len() == 4),
            "{error}"
        );
    }
    // `?sni=` replaces the name of the host.
    let overridden = |sni| TlsTarget::new(Http, "node.test", Some(sni), None).unwrap();
    let (near, _) = handshake(&client, &overridden("b.wild.test"), &server, Http).await;
    assert!(near.is_ok());
    let (near, _) = handshake(&client, &overridden("other.test"), &server, Http).await;
    assert!(matches!(near, Err(TlsError::WrongName { .. })));
}

#[tokio::test]
async fn certificates_of_other_authorities_are_refused() {
    let pair = Authority::new("authority").issue(&["node.test"]);
    let server = node(1, Files::with(&pair).options());
    // Of the same name, but with another key.
    let client = client_trusting(&Authority::new("authority"));
    let (near, far) = handshake(&client, &target(Http, "node.test"), &server, Http).await;
    assert!(near.is_err());
    assert!(matches!(far, Err(TlsError::Refused(_))));
    let client = client_trusting(&Authority::new("other"));
    let (near, _) = handshake(&client, &target(Http, "node.test"), &server, Http).await;
    assert!(matches!(near, Err(TlsError::UnknownIssuer)));
}

#[tokio::test]
async fn certificates_out_of_date_are_refused() {
    let authority = Authority::new("authority");
    let client = client_trusting(&authority);
    for application in [Pinecone, Http] {
        let outcome = |params| {
            let server = Foreign::with_pair(&authority.issue_with(params));
            let (client, target) = (client.clone(), target(application, "node.test"));
            async move { server.accept(&client, &target).await.unwrap_err() }
        };
        let error = outcome(expired(&["node.test"])).await;
        assert!(matches!(error, TlsError::Expired(_)), "{error}");
        let error = outcome(not_yet_valid(&["node.test"])).await;
        assert!(matches!(error, TlsError::NotYetValid(_)), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_authority_may_not_serve() {
    let key = KeyPair::generate().unwrap();
    let mut params = params(&["node.test"]);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let pair = Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    };
    let files = Files::with(&pair);
    // A listener may have such a certificate, as browsers take it.
    let server = node(1, files.options());
    let options = certificates::trusting(&files.path("cert.pem"));
    let client = node_without_roots(2, options);
    let (near, _) = handshake(&client, &target(Http, "node.test"), &server, Http).await;
    assert!(matches!(near, Err(TlsError::AuthorityCertificate)));
}

#[tokio::test]
async fn nodes_get_the_node_key_where_others_get_the_files() {
    let authority = Authority::new("authority");
    let pair = authority.issue(&["node.test"]);
    let server = node(1, Files::with(&pair).options());
    let client = node(2, TlsOptions::default());
    let (near, _) = handshake(&client, &target(Pinecone, "node.test"), &server, Pinecone).await;
    let expected = TlsPeer::NodeKey(key(1).public_key());
    assert_eq!(near.unwrap().peer(), &expected);
    // A client without ALPN.
    let outcome = foreign_client(&authority, PEERING_VERSIONS, &server, Pinecone).await;
    assert!(outcome.unwrap().alpn().is_none());
}

#[tokio::test]
async fn a_proxy_that_terminates_tls_is_accepted_by_name() {
    let authority = Authority::new("authority");
    let client = client_trusting(&authority);
    let proxy = Foreign::with_pair(&authority.issue(&["proxy.test"]));
    let pinned = TlsTarget::new(Pinecone, "proxy.test", None, Some(key(1).public_key())).unwrap();
    for target in [target(Pinecone, "proxy.test"), pinned] {
        let near = proxy.accept(&client, &target).await.unwrap();
        assert_eq!(near.peer(), &TlsPeer::Name(target.name));
    }
    let outcome = proxy.accept(&client, &target(Pinecone, "192.0.2.1")).await;
    assert!(matches!(outcome, Err(TlsError::WrongName { .. })));
}

#[tokio::test]
async fn a_machine_without_roots_says_so_only_when_it_needs_them() {
    static HAS_ROOTS: AtomicBool = AtomicBool::new(false);
    static ROOT: std::sync::OnceLock<CertificateDer<'static>> = std::sync::OnceLock::new();
    let authority = Authority::new("authority");
    ROOT.set(authority.der()).unwrap();
    let client = Tls::with_system_roots(&key(2), TlsOptions::default(), || {
        let has_roots = HAS_ROOTS.load(Ordering::Relaxed);
        ROOT.get()
            .filter(|_| has_roots)
            .cloned()
            .into_iter()
            .collect()
    });
    let client = client.unwrap();
    let pair = authority.issue(&["node.test"]);
    let server = node(1, Files::with(&pair).options());
    let (near, _) = handshake(&client, &target(Pinecone, "node.test"), &server, Pinecone).await;
    assert!(near.is_ok());
    let (near, _) = handshake(&client, &target(Http, "node.test"), &server, Http).await;
    let error = near.unwrap_err();
    assert!(matches!(error, TlsError::NoRoots), "{error}");
    assert!(error.to_string().contains("ca-certificates"), "{error}");
    // The roots are installed while the node runs.
    HAS_ROOTS.store(true, Ordering::Relaxed);
    let (near, _) = handshake(&client, &target(Http, "node.test"), &server, Http).await;
    assert!(near.is_ok());
}

#[tokio::test]
async fn roots_are_read_on_another_thread_and_kept() {
    static READ_ON: Mutex<Vec<std::thread::ThreadId>> = Mutex::new(vec![]);
    static ROOT: std::sync::OnceLock<CertificateDer<'static>> = std::sync::OnceLock::new();
    let authority = Authority::new("authority");
    ROOT.set(authority.der()).unwrap();
    let client = Tls::with_system_roots(&key(2), TlsOptions::default(), || {
        let mut read_on = READ_ON.lock().unwrap();
        read_on.push(std::thread::current().id());
        // Later, the roots are gone.
        ROOT.get()
            .filter(|_| read_on.len() == 1)
            .cloned()
            .into_iter()
            .collect()
    });
    let client = client.unwrap();
    let pair = authority.issue(&["node.test"]);
    let server = node(1, Files::with(&pair).options());
    let target = target(Http, "node.test");
    for reads in [1, 2] {
        for _ in 0..2 {
            let (near, _) = handshake(&client, &target, &server, Http).await;
            assert!(near.is_ok());
        }
        assert_eq!(READ_ON.lock().unwrap().len(), reads);
        client.reload().unwrap();
    }
    assert_ne!(READ_ON.lock().unwrap()[0], std::thread::current().id());
}

#[tokio::test]
async fn ends_with_different_protocols_refuse_each_other() {
    let authority = Authority::new("authority");
    let server = node(1, Files::with(&authority.issue(&["node.test"])).options());
    let client = client_trusting(&authority);
    for (asks, has) in [(Pinecone, Http), (Http, Pinecone)] {
        let (near, far) = handshake(&client, &target(asks, "node.test"), &server, has).await;
        let error = near.unwrap_err();
        assert!(
            matches!(error, TlsError::Protocol(a) if a == asks),
            "{error}"
        );
        let error = far.unwrap_err();
        assert!(
            matches!(error, TlsError::Protocol(a) if a == has),
            "{error}"
        );
    }
}

/// Returns the server's outcome for a client of plain rustls without ALPN that trusts `authority`.
async fn foreign_client(
    authority: &Authority,
    versions: &'static [&'static SupportedProtocolVersion],
    server: &Tls,
    application: Application,
) -> Outcome {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (near, far) = duplex(4096);
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("node.test").unwrap();
    let both = async {
        let connecting = async {
            // Kept open until the server is done.
            let near = connector.connect(name, near).await;
            (near.is_ok(), near)
        };
        tokio::join!(connecting, server.accept(application, far))
    };
    let ((connected, _near), far) = tokio::time::timeout(DEADLINE, both).await.unwrap();
    assert_eq!(connected, far.is_ok());
    far
}

#[tokio::test]
async fn tls_1_2_is_for_wss_only() {
    let authority = Authority::new("authority");
    let pair = authority.issue(&["node.test"]);
    let server = node(1, Files::with(&pair).options());
    let versions: &[&SupportedProtocolVersion] = &[&version::TLS12];
    let versions: &'static [_] = Box::leak(versions.to_vec().into_boxed_slice());
    assert!(
        foreign_client(&authority, versions, &server, Http)
            .await
            .is_ok()
    );
    assert!(
        foreign_client(&authority, versions, &server, Pinecone)
            .await
            .is_err()
    );

    let client = client_trusting(&authority);
    let mut server = Foreign::with_pair(&pair);
    server.versions = versions;
    assert!(
        server
            .accept(&client, &target(Http, "node.test"))
            .await
            .is_ok()
    );
    assert!(
        server
            .accept(&client, &target(Pinecone, "node.test"))
            .await
            .is_err()
    );
}

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
