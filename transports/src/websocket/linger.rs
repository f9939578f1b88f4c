//! Waiting for a peer to close.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Most bytes that are discarded.
const MAX_DISCARDED: usize = 256 * 1024;

/// Discards input until the peer closes. Otherwise closing could reset the connection, and the peer would lose what
/// was sent last. The caller limits the time.
pub(super) async fn linger<S: AsyncRead + Unpin>(io: &mut S) {
    let mut discarded = 0;
    let mut buffer = [0; 512];
    while let Ok(n @ 1..) = io.read(&mut buffer).await {
        discarded += n;
        if discarded > MAX_DISCARDED {
            return;
        }
    }
}
