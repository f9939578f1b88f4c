//! Socket pairs: peerings within a process, and streams that are not sockets.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::UnixStream;

/// Bytes that a relay holds in each direction: one frame of the largest size.
const RELAY_BUFFER: usize = 64 * 1024;

/// Two connected stream sockets in blocking mode, for a peering between two nodes of one process
/// or as the two ends of a relay. No handshake is done over them.
///
/// # Errors
/// The process is out of descriptors, or the system of memory.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Copies both ways between `stream` and `end`, one end of a [`pipe`], until both have come to
/// their end or one fails; then both are closed. An end of file is passed on as such.
///
/// # Errors
/// What failed.
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
