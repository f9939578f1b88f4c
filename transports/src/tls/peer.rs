//! The identity of the other end.

use pinecone_wire::PublicKey;
use tokio_rustls::rustls::pki_types::ServerName;

use super::error::TlsError;

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
