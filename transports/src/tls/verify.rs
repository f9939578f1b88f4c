//! Verification of a server's certificate.

use std::sync::{Arc, OnceLock};

use pinecone_wire::PublicKey;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};

use super::application::Application;
use super::error::Refusal;
use super::node_key;
use super::options::TlsTarget;
use super::peer::TlsPeer;
use super::roots::Roots;

/// Verifies the certificate of one server.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    application: Application,
    key: Option<PublicKey>,
    roots: Arc<Roots>,
    algorithms: WebPkiSupportedAlgorithms,
    peer: OnceLock<TlsPeer>,
}

impl ServerVerifier {
    pub(super) fn new(target: &TlsTarget, roots: Arc<Roots>, provider: &CryptoProvider) -> Self {
        Self {
            application: target.application,
            key: target.key,
            roots,
            algorithms: provider.signature_verification_algorithms,
            peer: OnceLock::new(),
        }
    }

    /// Returns the identity in the accepted certificate. It is proven only after the whole handshake.
    pub(super) fn peer(&self) -> Option<TlsPeer> {
        self.peer.get().cloned()
    }

    fn accept(&self, peer: TlsPeer) -> ServerCertVerified {
        // A client receives one certificate a connection, so the cell is empty.
        let _ = self.peer.set(peer);
        ServerCertVerified::assertion()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.application == Application::Pinecone
            && intermediates.is_empty()
            && let Some(found) = node_key::of_certificate(end_entity, now, &self.algorithms)
        {
            return match self.key {
                Some(expected) if expected != found => {
                    let refusal = Refusal::WrongKey { expected, found };
                    Err(CertificateError::Other(OtherError(Arc::new(refusal))).into())
                }
                _ => Ok(self.accept(TlsPeer::NodeKey(found))),
            };
        }
        self.roots.verifier()?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        Ok(self.accept(TlsPeer::Name(server_name.to_owned())))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
