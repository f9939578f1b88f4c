//! Encrypted links: a peering's stream, encrypted between two of our nodes (`docs/peering-proof.md`, "Encrypted links").
//!
//! Both sides exchange ephemeral keys (Noise, pattern NN) and then send their bytes in sealed records. This
//! alone keeps out only those who listen. The [proof](pinecone_wire::proof) that follows is bound to the handshake hash of
//! the link, so it fails if anyone ends the encryption in between.
//!
//! Noise rather than TLS, because the proof already authenticates both sides: NN needs no certificates and has two
//! messages of fixed length. The crate `snow` does the handshake, `ring` the records with AES-256-GCM, which processors have
//! instructions for.
//!
//! Time limits do not belong here: the caller drops a handshake that takes too long.

mod crypto;
mod error;
mod handshake;
mod options;
mod records;
mod stream;

#[cfg(test)]
mod tests;

pub use error::LinkFailed;
pub use handshake::encrypt_link;
pub use options::EncryptLinks;
pub use stream::EncryptedStream;
