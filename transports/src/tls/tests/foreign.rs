//! Clients and servers of plain rustls.

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::ResolvesServerCert;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, sign};

use super::super::application::HTTP_VERSIONS;
use super::certificates::{Authority, Pair};
use super::*;

/// A server of plain rustls.
pub(super) struct Foreign {
    pub(super) certified_key: CertifiedKey,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
}

impl Foreign {
    pub(super) fn new(certified_key: CertifiedKey) -> Self {
        Self {
            certified_key,
            alpn: vec![],
            versions: HTTP_VERSIONS,
        }
    }

    pub(super) fn with_pair(pair: &Pair) -> Self {
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let key = ring::sign::any_supported_type(&key).unwrap();
        Self::new(CertifiedKey::new(chain.map(Result::unwrap).collect(), key))
    }

    /// Returns the outcome of a client's handshake with this server.
    pub(super) async fn accept(&self, client: &Tls, target: &TlsTarget) -> Outcome {
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

/// Returns the server's outcome for a client of plain rustls without ALPN that trusts `authority`.
pub(super) async fn foreign_client(
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
