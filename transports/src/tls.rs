//! TLS over any byte stream.
//!
//! [`Tls`] accepts and connects for two protocols ([`Application`]):
//!
//! - **`tls://`**: peerings, TLS 1.3, ALPN `pinecone`. A node proves its key by a self-signed certificate of that key
//!   (`docs/tls.md`) and needs no files. A client accepts exactly
//!   1. the lone self-signed Ed25519 certificate of a node key, with ALPN `pinecone` agreed on, whose key is that of
//!      `?key=` if there is one. The caller then calls [`TlsPeer::check_handshake`];
//!   2. else a certificate of a trusted authority for the dialled name, as a proxy that terminates TLS has it. It
//!      proves no node key: `?key=` is then for the peering handshake and proof.
//!
//!   Without `?key=`, a client accepts any node key: TLS then encrypts, and the peering proves whose key it is.
//! - **`wss://`**: WebSocket, TLS 1.2 or 1.3, ALPN `http/1.1`. A client accepts exactly a certificate of a trusted
//!   authority for the dialled name.
//!
//! Trusted are the system's roots and those of [`TlsOptions::authorities`]. The system's are read by
//! `rustls-native-certs` and checked by webpki. The crate `rustls-platform-verifier` does the same on Linux, but reads
//! them at the start, so that a machine without roots could not even listen; here only handshakes that need them fail.
//!
//! Listeners do not ask for client certificates: the peering proof shows the client's key, bound to the connection by
//! [`TlsStream::channel_binding`]. Sessions are not resumed and no tickets are sent.
//!
//! Sockets, time limits and the peering handshake do not belong here: the caller drops the future of a handshake that
//! takes too long.

mod application;
mod dial;
mod error;
mod listen;
mod node_key;
mod options;
mod peer;
mod pem_file;
mod roots;
mod stream;
mod verify;
mod watch;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pinecone_wire::SecretKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::{Error as RustlsError, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use application::Application;
pub use error::{TlsConfigError, TlsError};
pub use options::{TlsOptions, TlsTarget};
pub use peer::TlsPeer;
pub use stream::TlsStream;

use listen::Certificates;
use roots::{ReadSystemRoots, Roots};
use verify::ServerVerifier;
use watch::{FileStates, Settling};

/// The interval at which [`Tls::watch`] should look for changed files.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// The certificates and trusted authorities of a node. Clones share them.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: TlsOptions,
    provider: Arc<CryptoProvider>,
    certificates: Arc<Certificates>,
    roots: Arc<Roots>,
    for_peerings: Arc<ServerConfig>,
    for_http: Arc<ServerConfig>,
    /// The files that were loaded last, successfully or not.
    loaded: Mutex<FileStates>,
}

impl Tls {
    /// Reads the files of `options` for the node with `key`. Blocks for the time of the reading.
    ///
    /// # Errors
    /// The files cannot be used. The text is one line that says what to do.
    pub fn new(key: &SecretKey, options: TlsOptions) -> Result<Self, TlsConfigError> {
        Self::with_system_roots(key, options, roots::system_roots)
    }

    fn with_system_roots(
        key: &SecretKey,
        options: TlsOptions,
        read_system_roots: ReadSystemRoots,
    ) -> Result<Self, TlsConfigError> {
        let loaded = Mutex::new(files(&options));
        let provider = Arc::new(ring::default_provider());
        let certificates = Arc::new(Certificates::load(key, &options, &provider)?);
        let server_config =
            |application| listen::config(application, certificates.clone(), provider.clone());
        Ok(Self(Arc::new(Shared {
            for_peerings: server_config(Application::Pinecone)?,
            for_http: server_config(Application::Http)?,
            roots: Arc::new(Roots::load(
                options.authorities.clone(),
                read_system_roots,
                provider.clone(),
            )?),
            certificates,
            options,
            provider,
            loaded,
        })))
    }

    /// Reports whether listeners have a certificate of files. Without one, `wss://` listeners are of use only behind a
    /// proxy that does not check certificates.
    #[must_use]
    pub fn has_certificate_files(&self) -> bool {
        self.0.options.certificate.is_some()
    }

    /// Performs the handshake with a client.
    ///
    /// A client that offers other protocols than `application` is refused; one that does not support ALPN is accepted.
    /// With certificate files, `wss://` clients and clients without ALPN get that certificate; all others get the
    /// certificate of the node key.
    ///
    /// # Errors
    /// The handshake failed. An alert was sent if the stream took it at once.
    pub async fn accept<S>(
        &self,
        application: Application,
        stream: S,
    ) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = match application {
            Application::Pinecone => &self.0.for_peerings,
            Application::Http => &self.0.for_http,
        };
        let stream = TlsAcceptor::from(config.clone())
            .accept(stream)
            .await
            .map_err(|error| TlsError::from_io(error, application))?;
        TlsStream::new(stream, TlsPeer::Client).map_err(TlsError::Library)
    }

    /// Performs the handshake with a server, and verifies its certificate.
    ///
    /// # Errors
    /// The handshake failed, or the certificate is unacceptable.
    pub async fn connect<S>(&self, target: &TlsTarget, stream: S) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shared = &self.0;
        let application = target.application;
        if application == Application::Http {
            shared.roots.prepare().await;
        }
        let verifier = ServerVerifier::new(target, shared.roots.clone(), &shared.provider);
        let verifier = Arc::new(verifier);
        let config = dial::config(application, verifier.clone(), shared.provider.clone())
            .map_err(TlsError::Library)?;
        let stream = TlsConnector::from(config)
            .connect(target.name.clone(), stream)
            .await
            .map_err(|error| TlsError::from_io(error, application))?;
        // The verifier has accepted a certificate, or the handshake would have failed.
        let peer = verifier
            .peer()
            .ok_or(TlsError::Library(RustlsError::NoCertificatesPresented))?;
        let stream = TlsStream::new(stream, peer).map_err(TlsError::Library)?;
        let is_node = matches!(stream.peer(), TlsPeer::NodeKey(_));
        if is_node && stream.alpn() != Some(application.alpn()) {
            return Err(TlsError::Protocol(application));
        }
        Ok(stream)
    }

    /// Reads all files again, as on SIGHUP. Blocks for the time of the reading. Connections stay as they are; new
    /// handshakes use what was read.
    ///
    /// Files that cannot be used change nothing, and are logged as errors, each with one line.
    ///
    /// # Errors
    /// The first error that was logged.
    pub fn reload(&self) -> Result<(), TlsConfigError> {
        let shared = &self.0;
        let mut loaded = self.loaded();
        // Held until the end, so that calls do not overlap. A change during the reading is noticed by `watch`.
        *loaded = files(&shared.options);
        let certificate = shared.certificates.reload(&shared.provider);
        log_reload("certificate", &certificate);
        let authorities = shared.roots.reload();
        log_reload("authorities", &authorities);
        certificate.and(authorities).map(|_| ())
    }

    /// Reloads whenever files have changed and have then been left alone for one `interval`. Returns at once if there
    /// are no files, and otherwise never. The runtime's timer must be enabled.
    pub async fn watch(&self, interval: Duration) {
        if self.0.options == TlsOptions::default() {
            return;
        }
        let mut settling = Settling::default();
        loop {
            tokio::time::sleep(interval).await;
            let tls = self.clone();
            // Reading can block for long, such as on a network file system.
            let looking = tokio::task::spawn_blocking(move || {
                let is_due = settling.is_due(&tls.loaded(), files(&tls.0.options));
                if is_due {
                    // The error has been logged.
                    let _ = tls.reload();
                }
                settling
            });
            settling = looking.await.unwrap_or_default();
        }
    }

    fn loaded(&self) -> MutexGuard<'_, FileStates> {
        self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn files(options: &TlsOptions) -> FileStates {
    let files = [&options.certificate, &options.key, &options.authorities];
    FileStates::of(files.into_iter().flatten().map(AsRef::<Path>::as_ref))
}

fn log_reload(what: &str, result: &Result<bool, TlsConfigError>) {
    match result {
        Ok(true) => tracing::info!("TLS {what} reloaded"),
        Ok(false) => {}
        Err(error) => {
            tracing::error!("TLS {what} not reloaded, the previous stays in force: {error}")
        }
    }
}
