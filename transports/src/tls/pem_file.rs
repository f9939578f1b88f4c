//! Reading of PEM files.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use tokio_rustls::rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use zeroize::Zeroizing;

use super::error::{TlsConfigError, system_time};

/// The largest file that is read. A file with all roots of a system has about 220 KB.
const LARGEST: u64 = 4 << 20;

/// Reads a certificate chain and its key, and checks that a server can use them at `now`.
pub(super) fn certified_key(
    certificate: &Path,
    key: &Path,
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsConfigError> {
    let chain = certificates(certificate)?;
    if let Some(end_entity) = chain.first() {
        check_server(end_entity, certificate, now, provider)?;
    }
    let pair = CertifiedKey::new(chain, private_key(key, provider)?);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(TlsConfigError::Mismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads certificates, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let text = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsConfigError::malformed(path, error))?;
    if certificates.is_empty() {
        let path = path.to_owned();
        return Err(TlsConfigError::NoCertificate { path });
    }
    Ok(certificates)
}

/// Reads certificates of authorities, at least one.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| TlsConfigError::malformed(path, error))?;
    }
    Ok(roots)
}

fn private_key(
    path: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>, TlsConfigError> {
    let text = read(path)?;
    let has = |marker: &[u8]| text.windows(marker.len()).any(|part| part == marker);
    // The markers of PKCS#8 and of the older format of OpenSSL.
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"4,ENCRYPTED") {
        let path = path.to_owned();
        return Err(TlsConfigError::EncryptedKey { path });
    }
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        PemError::NoItemsFound => TlsConfigError::NoKey {
            path: path.to_owned(),
        },
        error => TlsConfigError::malformed(path, error),
    })?;
    let key = provider.key_provider.load_private_key(key);
    key.map_err(|_| TlsConfigError::UnsupportedKey {
        path: path.to_owned(),
    })
}

/// Checks what makes a certificate useless for every client: its dates and its purpose.
fn check_server(
    certificate: &CertificateDer<'_>,
    path: &Path,
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<(), TlsConfigError> {
    let malformed = |error: Error| TlsConfigError::malformed(path, error);
    let parsed = ParsedCertificate::try_from(certificate).map_err(malformed)?;
    // Without roots, verification ends with an unknown issuer unless something else is wrong, which is found first.
    let verified = verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &RootCertStore::empty(),
        &[],
        now,
        provider.signature_verification_algorithms.all,
    );
    let path = path.to_owned();
    match verified {
        Err(Error::InvalidCertificate(error)) => match error {
            CertificateError::ExpiredContext { not_after, .. } => Err(TlsConfigError::Expired {
                path,
                not_after: system_time(not_after),
            }),
            CertificateError::NotValidYetContext { not_before, .. } => {
                Err(TlsConfigError::NotYetValid {
                    path,
                    not_before: system_time(not_before),
                })
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Err(TlsConfigError::NotForServers { path })
            }
            CertificateError::BadEncoding => Err(malformed(error.into())),
            // Among these are authorities' certificates, as `openssl req -x509` makes them. Browsers take them.
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Reads a file, which may contain a private key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsConfigError> {
    let mut text = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text))
        .map_err(|source| TlsConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    if text.len() as u64 > LARGEST {
        return Err(TlsConfigError::TooLarge {
            path: path.to_owned(),
            limit: LARGEST,
        });
    }
    Ok(text)
}
