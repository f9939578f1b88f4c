//! The authorities that are trusted when dialling.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{CertificateError, Error, OtherError, RootCertStore};

use super::error::{Refusal, TlsConfigError};
use super::pem_file;

/// Reads the system's root certificates; none if it has none.
pub(super) type ReadSystemRoots = fn() -> Vec<CertificateDer<'static>>;

/// Reads the roots where OpenSSL reads them; `SSL_CERT_FILE` and `SSL_CERT_DIR` override that.
pub(super) fn system_roots() -> Vec<CertificateDer<'static>> {
    let loaded = rustls_native_certs::load_native_certs();
    for error in loaded.errors {
        tracing::debug!(%error, "some root certificates of the system are unreadable");
    }
    loaded.certs
}

/// The authorities of the system and those of `--tls-ca`.
///
/// Those of the system are read when the first certificate must be checked against them, as many machines have none
/// and most peerings need none.
#[derive(Debug)]
pub(super) struct Roots {
    file: Option<PathBuf>,
    read_system_roots: ReadSystemRoots,
    provider: Arc<CryptoProvider>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    private: RootCertStore,
    /// The verifier with all roots; `None` until it is needed.
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl Roots {
    pub(super) fn load(
        file: Option<PathBuf>,
        read_system_roots: ReadSystemRoots,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsConfigError> {
        let private = match &file {
            Some(path) => pem_file::authorities(path)?,
            None => RootCertStore::empty(),
        };
        let state = Mutex::new(State {
            private,
            verifier: None,
        });
        Ok(Self {
            file,
            read_system_roots,
            provider,
            state,
        })
    }

    /// Reads the system's roots on another thread, unless that has been done. This takes milliseconds, for which the
    /// streams of the calling thread would wait.
    pub(super) async fn prepare(self: &Arc<Self>) {
        if self.lock().verifier.is_none() {
            let roots = self.clone();
            // The handshake reports a failure.
            let _ = tokio::task::spawn_blocking(move || roots.verifier().is_ok()).await;
        }
    }

    /// Returns the verifier of certificates that an authority issued. The first call reads the system's roots.
    pub(super) fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let mut state = self.lock();
        if let Some(verifier) = &state.verifier {
            return Ok(verifier.clone());
        }
        let verifier = self.build(&state.private)?;
        state.verifier = Some(verifier.clone());
        Ok(verifier)
    }

    /// Reads all files again. After a failure, and if no roots are left, the previous ones stay in force. Calls must
    /// not overlap.
    ///
    /// Returns whether the roots of `--tls-ca` have changed.
    pub(super) fn reload(&self) -> Result<bool, TlsConfigError> {
        let read = self.file.as_deref().map(pem_file::authorities);
        let read = read.transpose()?;
        let (previous, is_needed) = {
            let state = self.lock();
            (state.private.clone(), state.verifier.is_some())
        };
        let changed = read
            .as_ref()
            .is_some_and(|read| read.roots != previous.roots);
        let private = read.unwrap_or(previous);
        // Built without the lock, as handshakes wait for it.
        let verifier = match is_needed.then(|| self.build(&private)) {
            Some(Ok(verifier)) => Some(verifier),
            Some(Err(_)) => return Ok(changed),
            None => None,
        };
        *self.lock() = State { private, verifier };
        Ok(changed)
    }

    fn build(&self, private: &RootCertStore) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let mut roots = private.clone();
        // Some systems have certificates that are not valid as roots; the others are still of use.
        roots.add_parsable_certificates((self.read_system_roots)());
        if roots.is_empty() {
            let refusal = OtherError(Arc::new(Refusal::NoRoots));
            return Err(CertificateError::Other(refusal).into());
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
