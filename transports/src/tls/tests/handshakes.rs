//! Certificates of authorities, protocols and versions.

use std::sync::atomic::{AtomicBool, Ordering};

use rcgen::KeyPair;
use tokio_rustls::rustls::{SupportedProtocolVersion, version};

use super::certificates::{Authority, Files, Pair, expired, not_yet_valid, params};
use super::foreign::{Foreign, foreign_client};
use super::*;
use Application::{Http, Pinecone};

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
    // This certificate has the same name, but another key.
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
