//! Relaying between a byte stream and a socket pair.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::UnixStream;

/// Bytes that a relay buffers in each direction: the longest frame.
const RELAY_BUFFER: usize = 64 * 1024;

/// Copies in both directions between `stream` and `end`, one end of a [`pipe`](super::pipe()). Passes an end of file
/// on. Closes both when both have ended or one has failed.
///
/// # Errors
/// Returns the first failure.
pub async fn relay<S>(mut stream: S, end: OwnedFd) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let end = std::os::unix::net::UnixStream::from(end);
    end.set_nonblocking(true)?;
    let mut end = UnixStream::from_std(end)?;
    copy_bidirectional_with_sizes(&mut stream, &mut end, RELAY_BUFFER, RELAY_BUFFER).await?;
    Ok(())
}
