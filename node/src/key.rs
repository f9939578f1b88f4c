use std::io;

use pinecone_wire::SecretKey;
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// A new secret key from the system's random numbers.
///
/// # Errors
/// If the system gives none.
pub fn generate_key() -> io::Result<SecretKey> {
    let mut seed = Zeroizing::new([0; 32]);
    SysRng
        .try_fill_bytes(&mut *seed)
        .map_err(io::Error::other)?;
    Ok(SecretKey::from_seed(&seed))
}
