//! Options of TLS.

use std::net::IpAddr;
use std::path::PathBuf;

use pinecone_wire::PublicKey;
use tokio_rustls::rustls::pki_types::ServerName;

use super::application::Application;
use super::error::TlsError;

/// Files with certificates and keys, all PEM. The default names none, which suffices for `tls://` between nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificate chain of this node's listeners, the end entity first (`--tls-cert`). Needs `key`.
    pub certificate: Option<PathBuf>,
    /// Private key of the first certificate (`--tls-key`): PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: Option<PathBuf>,
    /// Certificates of authorities that are trusted besides the system's when dialling (`--tls-ca`).
    pub authorities: Option<PathBuf>,
}

/// The server that a dial expects.
#[derive(Clone, Debug)]
pub struct TlsTarget {
    pub(super) application: Application,
    pub(super) name: ServerName<'static>,
    pub(super) key: Option<PublicKey>,
}

impl TlsTarget {
    /// Creates a target of the parts of a URI: `host` without a port, `sni` of `?sni=`, which overrides it, and `key`
    /// of `?key=`.
    ///
    /// A host is a DNS name or an IP address, with or without brackets; an IPv6 zone (`%eth0`) is ignored. IP addresses
    /// are not sent as server name (RFC 6066), but the certificate must be for the address.
    ///
    /// # Errors
    /// The name is neither.
    pub fn new(
        application: Application,
        host: &str,
        sni: Option<&str>,
        key: Option<PublicKey>,
    ) -> Result<Self, TlsError> {
        let name = sni.unwrap_or(host);
        Ok(Self {
            application,
            name: server_name(name).ok_or_else(|| TlsError::Name(name.to_owned()))?,
            key,
        })
    }
}

fn server_name(name: &str) -> Option<ServerName<'static>> {
    let unbracketed = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    let (address, _zone) = unbracketed.split_once('%').unwrap_or((unbracketed, ""));
    match address.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::from(address)),
        Err(_) => ServerName::try_from(name.to_owned()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_server_names() {
        for (host, name) in [
            ("example.org", "example.org"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
        ] {
            let target = TlsTarget::new(Application::Pinecone, host, None, None).unwrap();
            assert_eq!(target.name.to_str(), name, "{host}");
            let target = TlsTarget::new(Application::Http, "ignored", Some(host), None).unwrap();
            assert_eq!(target.name.to_str(), name, "{host}");
        }
        for host in ["", "a b", "[example.org]", "example.org:443", "-"] {
            let error = TlsTarget::new(Application::Pinecone, host, None, None).unwrap_err();
            assert!(matches!(error, TlsError::Name(name) if name == host));
        }
    }
}
