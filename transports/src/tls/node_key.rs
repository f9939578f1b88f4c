//! Certificates of node keys: self-signed X.509 certificates whose Ed25519 key is the key of a node (`docs/tls.md`).

use std::sync::Arc;

use pinecone_wire::{PublicKey, SecretKey};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::WebPkiSupportedAlgorithms;
use tokio_rustls::rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::{CertifiedKey, Signer, SigningKey};
use tokio_rustls::rustls::{Error, RootCertStore, SignatureAlgorithm, SignatureScheme};

/// The algorithm identifier of Ed25519 (RFC 8410).
const ED25519: [u8; 7] = [0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70];
/// The DER of a subject public key info with Ed25519, up to the key.
const KEY_INFO_PREFIX: [u8; 12] = [0x30, 42, 0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70, 0x03, 33, 0];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// Returns the certificate of `key`, which is the same each time.
///
/// Clocks do not matter: it is valid from 1970 to 9999.
pub(super) fn certificate(key: &SecretKey) -> CertificateDer<'static> {
    let public_key = key.public_key();
    let common_name = tlv(OBJECT_IDENTIFIER, &[&[0x55, 4, 3]]);
    let common_name_value = tlv(UTF8_STRING, &[public_key.to_string().as_bytes()]);
    let attribute = tlv(SEQUENCE, &[&common_name, &common_name_value]);
    let name = tlv(SEQUENCE, &[&tlv(SET, &[&attribute])]);
    let not_before = tlv(UTC_TIME, &[b"700101000000Z"]);
    let not_after = tlv(GENERALIZED_TIME, &[b"99991231235959Z"]);
    let to_be_signed = tlv(
        SEQUENCE,
        &[
            &tlv(VERSION, &[&tlv(INTEGER, &[&[2]])]),
            &tlv(INTEGER, &[&[1]]),
            &ED25519,
            &name,
            &tlv(SEQUENCE, &[&not_before, &not_after]),
            &name,
            &KEY_INFO_PREFIX,
            public_key.as_bytes(),
        ],
    );
    let signature = tlv(BIT_STRING, &[&[0], &key.sign(&to_be_signed).0]);
    CertificateDer::from(tlv(SEQUENCE, &[&to_be_signed, &ED25519, &signature]))
}

/// Returns the certificate of `key` together with the key.
pub(super) fn certified(key: &SecretKey) -> CertifiedKey {
    let signing_key = Arc::new(NodeKey(key.clone()));
    CertifiedKey::new(vec![certificate(key)], signing_key)
}

/// Returns the node key of a certificate if it is a valid certificate of a node key: self-signed with Ed25519, valid
/// at `now`, without an unknown critical extension.
///
/// The peer has proved the key only after the whole handshake.
pub(super) fn of_certificate(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<PublicKey> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let key_info = parsed.subject_public_key_info();
    let key = key_info.strip_prefix(&KEY_INFO_PREFIX)?;
    let key = PublicKey(key.try_into().ok()?);
    let mut itself = RootCertStore::empty();
    itself.add(certificate.clone().into_owned()).ok()?;
    let no_intermediates = &[];
    let verified = verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &itself,
        no_intermediates,
        now,
        algorithms.all,
    );
    verified.ok().map(|()| key)
}

/// A node key that signs TLS handshakes.
#[derive(Debug)]
struct NodeKey(SecretKey);

impl SigningKey for NodeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let is_offered = offered.contains(&SignatureScheme::ED25519);
        is_offered.then(|| Box::new(Self(self.0.clone())) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let key_info = [KEY_INFO_PREFIX.as_slice(), self.0.public_key().as_bytes()].concat();
        Some(SubjectPublicKeyInfoDer::from(key_info))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for NodeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).0.to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Encodes a DER element of up to 65,535 bytes.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let [.., high, low] = length.to_be_bytes();
    let mut element = vec![tag];
    match length {
        0..0x80 => element.push(low),
        0x80..0x100 => element.extend([0x81, low]),
        _ => element.extend([0x82, high, low]),
    }
    parts
        .iter()
        .for_each(|part| element.extend_from_slice(part));
    element
}
