//! The errors of TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pinecone_wire::PublicKey;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as RustlsError};

use super::application::Application;

/// The reason why the files of [`TlsOptions`](super::TlsOptions) cannot be used. The text is one line that says what
/// to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A certificate file is named, but no key file.
    #[error("--tls-cert {} needs --tls-key FILE with the private key of the certificate", .certificate.display())]
    KeyNotNamed {
        /// The certificate file.
        certificate: PathBuf,
    },
    /// A key file is named, but no certificate file.
    #[error("--tls-key {} needs --tls-cert FILE with the certificate of the key", .key.display())]
    CertificateNotNamed {
        /// The key file.
        key: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file is larger than any file of certificates.
    #[error("{} is larger than {limit} bytes: name a PEM file", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file contains no certificate.
    #[error("{} contains no certificate: it must be a PEM file with a section BEGIN CERTIFICATE", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file contains no private key.
    #[error("{} contains no private key: it must be a PEM file with a section BEGIN PRIVATE KEY", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The private key needs a password, which a node cannot ask for.
    #[error(
        "the private key in {0} is encrypted: decrypt it with `openssl pkey -in {0} -out FILE` and write --tls-key FILE",
        .path.display()
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// A file is not valid PEM, or what is in it is not valid DER.
    #[error("{} is malformed: {reason}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        reason: String,
    },
    /// The private key is of an unsupported kind.
    #[error(
        "the private key in {} is unsupported: use RSA with 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519",
        .path.display()
    )]
    UnsupportedKey {
        /// The file.
        path: PathBuf,
    },
    /// The first certificate belongs to another key.
    #[error(
        "the first certificate in {} does not match the private key in {}: write --tls-cert and --tls-key of one pair",
        .certificate.display(), .key.display()
    )]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The certificate has expired.
    #[error("the certificate in {} expired on {}: renew it", .path.display(), date(*.not_after))]
    Expired {
        /// The file.
        path: PathBuf,
        /// The last time at which it was valid.
        not_after: SystemTime,
    },
    /// The certificate is not yet valid.
    #[error(
        "the certificate in {} is not valid before {}: check the clock of this machine",
        .path.display(), date(*.not_before)
    )]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// The first time at which it is valid.
        not_before: SystemTime,
    },
    /// The certificate has an extended key usage that excludes servers.
    #[error(
        "the certificate in {} is not for servers: its extended key usage must include serverAuth",
        .path.display()
    )]
    NotForServers {
        /// The file.
        path: PathBuf,
    },
    /// The TLS library rejects the configuration.
    #[error("TLS cannot be configured: {0}")]
    Library(#[from] RustlsError),
}

impl TlsConfigError {
    pub(super) fn malformed(path: &Path, reason: impl ToString) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// The reason why a TLS handshake failed. The stream is closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text is neither a DNS name nor an IP address.
    #[error("{0:?} is not a name that a certificate can have: write a DNS name or an IP address")]
    Name(String),
    /// The peer proved another node key than the expected one.
    #[error("the peer has the key {found}, not {expected} as ?key= demands")]
    WrongKey {
        /// The expected key.
        expected: PublicKey,
        /// The key of the peer's certificate.
        found: PublicKey,
    },
    /// The peering handshake shows another node key than the certificate: the peer passes on the handshake of another
    /// node.
    #[error(
        "the peer has the key {certificate} in TLS and the key {handshake} in the peering handshake"
    )]
    OtherKey {
        /// The key of the peer's certificate.
        certificate: PublicKey,
        /// The key of the peering handshake.
        handshake: PublicKey,
    },
    /// The certificate is for other names.
    #[error("the peer's certificate is not for {name}, but for {}: write ?sni=NAME if that is right", list(.presented))]
    WrongName {
        /// The expected name.
        name: String,
        /// The names in the certificate.
        presented: Vec<String>,
    },
    /// The certificate has expired.
    #[error("the peer's certificate expired on {}", date(*.0))]
    Expired(SystemTime),
    /// The certificate is not yet valid.
    #[error("the peer's certificate is not valid before {}: check the clock of this machine", date(*.0))]
    NotYetValid(SystemTime),
    /// No trusted authority issued the certificate.
    #[error(
        "no trusted authority issued the peer's certificate: name a private authority with --tls-ca FILE"
    )]
    UnknownIssuer,
    /// The certificate is that of an authority, which may not serve.
    #[error(
        "the peer's certificate is one of an authority: it must be made with `-addext basicConstraints=critical,CA:FALSE`"
    )]
    AuthorityCertificate,
    /// This machine trusts no authority, so that it can check no certificate.
    #[error(
        "the peer's certificate cannot be checked, as this machine has no root certificates: \
         install the package ca-certificates, or name a file with --tls-ca"
    )]
    NoRoots,
    /// The certificate is unacceptable for any other reason.
    #[error("the peer's certificate is unacceptable: {0:?}")]
    Certificate(CertificateError),
    /// The peer does not speak the application protocol of this connection (ALPN).
    #[error("the peer does not offer {0} over TLS")]
    Protocol(Application),
    /// The peer sent something other than TLS.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// The peer refused the handshake.
    #[error("the peer refused the TLS handshake: {0:?}")]
    Refused(AlertDescription),
    /// The handshake failed for any other reason.
    #[error("TLS failed: {0}")]
    Library(RustlsError),
    /// The peer closed the stream during the handshake.
    #[error("the peer closed the stream during the TLS handshake")]
    Eof,
    /// The stream failed.
    #[error("stream failed: {0}")]
    Io(io::Error),
}

/// The reasons of this crate to refuse a certificate, which pass through rustls to [`TlsError::from_io`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("wrong node key")]
    WrongKey {
        expected: PublicKey,
        found: PublicKey,
    },
    #[error("no root certificates")]
    NoRoots,
}

impl TlsError {
    /// Returns the failure of a handshake that was to agree on `application`.
    pub(super) fn from_io(error: io::Error, application: Application) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => return Self::Eof,
            _ => {}
        }
        match error.downcast::<RustlsError>() {
            Ok(error) => Self::from_rustls(error, application),
            Err(error) => Self::Io(error),
        }
    }

    fn from_rustls(error: RustlsError, application: Application) -> Self {
        match error {
            RustlsError::InvalidCertificate(error) => Self::from_certificate(error),
            RustlsError::NoApplicationProtocol
            | RustlsError::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                Self::Protocol(application)
            }
            RustlsError::AlertReceived(alert) => Self::Refused(alert),
            RustlsError::InvalidMessage(_) => Self::NotTls,
            error => Self::Library(error),
        }
    }

    fn from_certificate(error: CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::ExpiredContext { not_after, .. } => {
                Self::Expired(system_time(not_after))
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYetValid(system_time(not_before))
            }
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => Self::WrongName {
                name: expected.to_str().into_owned(),
                presented,
            },
            CertificateError::Other(ref other) => {
                match (other.0.downcast_ref(), other.0.downcast_ref()) {
                    (Some(&Refusal::WrongKey { expected, found }), _) => {
                        Self::WrongKey { expected, found }
                    }
                    (Some(Refusal::NoRoots), _) => Self::NoRoots,
                    (None, Some(webpki::Error::CaUsedAsEndEntity)) => Self::AuthorityCertificate,
                    (None, _) => Self::Certificate(error),
                }
            }
            error => Self::Certificate(error),
        }
    }
}

/// Converts a time of a certificate, which lies between the years 0 and 9999.
pub(super) fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs())
}

fn date(time: SystemTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(time)
}

/// Lists names. A hostile certificate can have thousands.
fn list(names: &[String]) -> String {
    match names {
        [] => "no name".to_owned(),
        few if few.len() <= 5 => few.join(", "),
        [first, ..] => format!("{first} and {} others", names.len() - 1),
    }
}
