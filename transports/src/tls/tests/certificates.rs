//! Certificates for tests.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::super::TlsOptions;

/// An authority that issues certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate chain and its key, as PEM.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = params(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name_type = rcgen::DnType::CommonName;
        params.distinguished_name.push(name_type, name);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Issues a certificate that is valid now.
    pub(super) fn issue(&self, names: &[&str]) -> Pair {
        self.issue_with(params(names))
    }

    pub(super) fn issue_with(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        self.issue_for(params, &key)
    }

    pub(super) fn issue_for(&self, params: CertificateParams, key: &KeyPair) -> Pair {
        let certificate = params.signed_by(key, &self.0).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

pub(super) fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

pub(super) fn expired(names: &[&str]) -> CertificateParams {
    let mut params = params(names);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

pub(super) fn not_yet_valid(names: &[&str]) -> CertificateParams {
    let mut params = params(names);
    params.not_before = date_time_ymd(3000, 1, 1);
    params.not_after = date_time_ymd(3001, 1, 1);
    params
}

pub(super) fn for_clients(names: &[&str]) -> CertificateParams {
    let mut params = params(names);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A directory with the files of [`TlsOptions`].
pub(super) struct Files(tempfile::TempDir);

impl Files {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn with(pair: &Pair) -> Self {
        let files = Self::new();
        files.write(pair);
        files
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces the certificate and the key, the certificate first.
    pub(super) fn write(&self, pair: &Pair) {
        self.put("cert.pem", &pair.certificate);
        self.put("key.pem", &pair.key);
    }

    /// Replaces a file as certbot does: by a new file under the old name.
    pub(super) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }

    /// Returns options with the certificate and the key.
    pub(super) fn options(&self) -> TlsOptions {
        TlsOptions {
            certificate: Some(self.path("cert.pem")),
            key: Some(self.path("key.pem")),
            authorities: None,
        }
    }

    /// Writes the certificate of `authority`, and returns options that trust it.
    pub(super) fn trusting(&self, authority: &Authority) -> TlsOptions {
        trusting(&self.put("authority.pem", &authority.pem()))
    }
}

pub(super) fn trusting(file: &Path) -> TlsOptions {
    TlsOptions {
        authorities: Some(file.to_owned()),
        ..TlsOptions::default()
    }
}
