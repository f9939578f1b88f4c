//! Addresses and keys in the form in which people write them.

use pinecone_transports::{ListenUri, PeerUri, parse_static_peers};
use pinecone_wire::{PublicKey, SecretKey};

/// A URI that is parsed is displayed as text that is parsed to the same URI. A list has no URI twice.
pub fn peer_address(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(address) = text.parse::<PeerUri>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(address) = text.parse::<ListenUri>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(list) = parse_static_peers(text) {
        for (i, address) in list.iter().enumerate() {
            assert!(!list[..i].contains(address));
        }
        let joined: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(parse_static_peers(&joined.join(",")), Ok(list));
    }
}

/// A key that is parsed has the hexadecimal digits of the text. A secret key is parsed again from its
/// seed.
pub fn secret_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string(), text.trim().to_lowercase());
    }
    if let Ok(key) = text.parse::<SecretKey>() {
        let seed = hex::encode(*key.seed());
        assert!(text.trim().to_lowercase().starts_with(&seed));
        let again: SecretKey = seed.parse().unwrap();
        assert_eq!(again.public_key(), key.public_key());
    }
}
