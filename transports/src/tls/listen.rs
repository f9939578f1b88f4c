//! The server's side of TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use pinecone_wire::SecretKey;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, ServerConfig};

use super::application::Application;
use super::error::TlsConfigError;
use super::options::TlsOptions;
use super::{node_key, pem_file};

/// The certificates of this node's listeners.
#[derive(Debug)]
pub(super) struct Certificates {
    of_node_key: Arc<CertifiedKey>,
    of_files: Option<FileCertificate>,
}

/// A certificate that is read from files, and can be replaced while connections use it.
#[derive(Debug)]
struct FileCertificate {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl Certificates {
    pub(super) fn load(
        key: &SecretKey,
        options: &TlsOptions,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsConfigError> {
        let of_files = match (&options.certificate, &options.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(FileCertificate {
                certificate: certificate.clone(),
                key: key.clone(),
                current: ArcSwap::from_pointee(read(certificate, key, provider)?),
            }),
            (Some(certificate), None) => {
                let certificate = certificate.clone();
                return Err(TlsConfigError::KeyNotNamed { certificate });
            }
            (None, Some(key)) => {
                return Err(TlsConfigError::CertificateNotNamed { key: key.clone() });
            }
        };
        Ok(Self {
            of_node_key: Arc::new(node_key::certified(key)),
            of_files,
        })
    }

    /// Reads the files again. New handshakes get the new certificate; after a failure, the previous one. Returns
    /// whether it has changed.
    pub(super) fn reload(&self, provider: &CryptoProvider) -> Result<bool, TlsConfigError> {
        let Some(files) = &self.of_files else {
            return Ok(false);
        };
        let new = read(&files.certificate, &files.key, provider)?;
        let changed = files.current.load().cert != new.cert;
        if changed {
            files.current.store(Arc::new(new));
        }
        Ok(changed)
    }
}

fn read(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsConfigError> {
    pem_file::certified_key(certificate, key, UnixTime::now(), provider)
}

/// Chooses the certificate for a handshake.
///
/// Nodes that dial `tls://`, recognised by their ALPN, get the certificate of the node key, as it proves what they
/// compare with the peering handshake. All other clients get that of the files, if there are any.
#[derive(Debug)]
struct ChooseCertificate {
    application: Application,
    certificates: Arc<Certificates>,
}

impl ResolvesServerCert for ChooseCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pinecone = Application::Pinecone;
        let is_node = self.application == pinecone
            && hello
                .alpn()
                .is_some_and(|mut offered| offered.any(|name| name == pinecone.alpn()));
        match &self.certificates.of_files {
            Some(files) if !is_node => Some(files.current.load_full()),
            _ => Some(self.certificates.of_node_key.clone()),
        }
    }
}

/// Returns the configuration of the listeners for `application`.
pub(super) fn config(
    application: Application,
    certificates: Arc<Certificates>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(application.versions())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ChooseCertificate {
            application,
            certificates,
        }));
    config.alpn_protocols = vec![application.alpn().to_vec()];
    // Without resumption, every connection proves the certificate, and none stores a session.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // Without it, the exporter of TLS 1.2 does not identify the channel (RFC 9266 section 3).
    config.require_ems = true;
    Ok(Arc::new(config))
}
