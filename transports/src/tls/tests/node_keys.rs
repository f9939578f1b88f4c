//! Certificates of node keys: who presents and who accepts them.

use pinecone_wire::PublicKey;
use rcgen::{KeyPair, PKCS_ED25519};
use tokio_rustls::rustls::CertificateError;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::super::application::PEERING_VERSIONS;
use super::certificates::{Authority, Files, expired, not_yet_valid, params};
use super::foreign::{Foreign, foreign_client};
use super::*;
use Application::{Http, Pinecone};

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
