//! The client's side of TLS.

use std::sync::Arc;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::{ClientConfig, Error};

use super::application::Application;
use super::verify::ServerVerifier;

/// Returns the configuration of one connection, whose server `verifier` verifies.
pub(super) fn config(
    application: Application,
    verifier: Arc<ServerVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(application.versions())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![application.alpn().to_vec()];
    // A resumed session skips the verifier.
    config.resumption = Resumption::disabled();
    // Without it, the exporter of TLS 1.2 does not identify the channel (RFC 9266 section 3).
    config.require_ems = true;
    Ok(Arc::new(config))
}
