//! Files that cannot be used.

use std::path::Path;

use super::certificates::{
    Authority, Files, Pair, expired, for_clients, not_yet_valid, params, trusting,
};
use super::*;

/// Returns the error of a start with these options, and checks that it is one line.
fn refused(options: TlsOptions) -> TlsConfigError {
    let error = Tls::with_system_roots(&key(1), options, Vec::new).unwrap_err();
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    error
}

fn refused_pair(certificate: &str, key: &str) -> TlsConfigError {
    let pair = Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    refused(Files::with(&pair).options())
}

#[test]
fn a_pair_that_belongs_together_is_accepted() {
    let authority = Authority::new("authority");
    let mut pair = authority.issue(&["node.test"]);
    // A chain has the certificate of the server first; text around the sections is allowed.
    pair.certificate = format!("node.test\n{}\n{}", pair.certificate, authority.pem());
    let files = Files::with(&pair);
    assert!(Tls::new(&key(1), files.options()).is_ok());
}

#[test]
fn a_pair_that_does_not_match_is_refused() {
    let authority = Authority::new("authority");
    let (pair, other) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let error = refused_pair(&pair.certificate, &other.key);
    assert!(matches!(error, TlsConfigError::Mismatch { .. }), "{error}");
    let reversed = authority.pem() + &pair.certificate;
    let error = refused_pair(&reversed, &pair.key);
    assert!(matches!(error, TlsConfigError::Mismatch { .. }), "{error}");
}

#[test]
fn certificates_that_no_client_accepts_are_refused() {
    let authority = Authority::new("authority");
    let refused = |params| {
        let pair = authority.issue_with(params);
        refused_pair(&pair.certificate, &pair.key)
    };
    let error = refused(expired(&["a.test"]));
    assert!(matches!(error, TlsConfigError::Expired { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("expired on 2021-01-01T00:00:00Z"),
        "{error}"
    );
    let error = refused(not_yet_valid(&["a.test"]));
    assert!(
        matches!(error, TlsConfigError::NotYetValid { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("not valid before 3000-01-01"),
        "{error}"
    );
    let error = refused(for_clients(&["a.test"]));
    assert!(
        matches!(error, TlsConfigError::NotForServers { .. }),
        "{error}"
    );
}

#[test]
fn one_file_of_a_pair_is_refused() {
    let files = Files::with(&Authority::new("authority").issue(&["a.test"]));
    let mut options = files.options();
    options.key = None;
    let error = refused(options);
    assert!(
        matches!(error, TlsConfigError::KeyNotNamed { .. }),
        "{error}"
    );
    let mut options = files.options();
    options.certificate = None;
    let error = refused(options);
    assert!(
        matches!(error, TlsConfigError::CertificateNotNamed { .. }),
        "{error}"
    );
}

#[test]
fn files_without_certificates_and_keys_are_refused() {
    let pair = Authority::new("authority").issue(&["a.test"]);
    for empty in ["", "no PEM", &pair.key] {
        let error = refused_pair(empty, &pair.key);
        assert!(
            matches!(error, TlsConfigError::NoCertificate { .. }),
            "{error}"
        );
    }
    for empty in ["", "no PEM", &pair.certificate] {
        let error = refused_pair(&pair.certificate, empty);
        assert!(matches!(error, TlsConfigError::NoKey { .. }), "{error}");
    }
}

#[test]
fn unreadable_files_are_refused() {
    let pair = Authority::new("authority").issue(&["a.test"]);
    let files = Files::with(&pair);
    for unreadable in ["missing.pem", "."] {
        let mut options = files.options();
        options.certificate = Some(files.path(unreadable));
        let error = refused(options);
        assert!(
            matches!(error, TlsConfigError::Unreadable { .. }),
            "{error}"
        );
        let mut options = files.options();
        options.key = Some(files.path(unreadable));
        let error = refused(options);
        assert!(
            matches!(error, TlsConfigError::Unreadable { .. }),
            "{error}"
        );
    }
    let mut options = files.options();
    options.key = Some(Path::new("/dev/zero").to_owned());
    let error = refused(options);
    assert!(matches!(error, TlsConfigError::TooLarge { .. }), "{error}");
}

#[test]
fn malformed_files_are_refused() {
    let pair = Authority::new("authority").issue(&["a.test"]);
    let begin = "-----BEGIN CERTIFICATE-----\n";
    for malformed in [
        format!("{begin}*\n-----END CERTIFICATE-----\n"),
        format!("{begin}AAAA\n-----END CERTIFICATE-----\n"),
        pair.certificate.replace("-----END", ""),
        // The end of the file is missing.
        pair.certificate[..200].to_owned(),
    ] {
        let error = refused_pair(&malformed, &pair.key);
        assert!(matches!(error, TlsConfigError::Malformed { .. }), "{error}");
    }
    let error = refused_pair(
        &pair.certificate,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    assert!(
        matches!(error, TlsConfigError::UnsupportedKey { .. }),
        "{error}"
    );
}

#[test]
fn encrypted_keys_are_refused() {
    let pair = Authority::new("authority").issue(&["a.test"]);
    for encrypted in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    ] {
        let error = refused_pair(&pair.certificate, encrypted);
        assert!(
            matches!(error, TlsConfigError::EncryptedKey { .. }),
            "{error}"
        );
    }
}

#[test]
fn authorities_that_are_no_certificates_are_refused() {
    let files = Files::new();
    let pair = Authority::new("authority").issue_with(params(&["a.test"]));
    let error = refused(trusting(&files.put("ca.pem", &pair.key)));
    assert!(
        matches!(error, TlsConfigError::NoCertificate { .. }),
        "{error}"
    );
    let der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = refused(trusting(&files.put("ca.pem", der)));
    assert!(matches!(error, TlsConfigError::Malformed { .. }), "{error}");
    let error = refused(trusting(&files.path("missing.pem")));
    assert!(
        matches!(error, TlsConfigError::Unreadable { .. }),
        "{error}"
    );
}
