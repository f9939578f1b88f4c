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

use super::error::{Refusal, TlsError};
use super::node_key;
use super::options::{Application, TlsTarget};
use super::roots::Roots;

/// The proven identity of the other end of a TLS connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsPeer {
    /// A client, of which TLS proves nothing: this crate asks for no client certificate, as the peering proof, bound to
    /// the channel, proves the client's key.
    Client,
    /// A server that has the secret half of this node key. The peering handshake must show the same key, see
    /// [`check_handshake`](Self::check_handshake).
    NodeKey(PublicKey),
    /// A server with a certificate of a trusted authority for the name that was dialled.
    Name(ServerName<'static>),
}

impl TlsPeer {
    /// Checks the key of the peering handshake, which has to be the proven one if TLS proved a node key.
    ///
    /// # Errors
    /// The keys differ. Close the stream.
    pub fn check_handshake(&self, handshake: PublicKey) -> Result<(), TlsError> {
        match *self {
            Self::NodeKey(certificate) if certificate != handshake => Err(TlsError::OtherKey {
                certificate,
                handshake,
            }),
            _ => Ok(()),
        }
    }
}

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
