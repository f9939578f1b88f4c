//! The exchange of the 104 bytes of a handshake in each direction, with either backend.
//!
//! The io_uring workers and tokio-uring need the socket in blocking mode, and readiness polling needs
//! it in non-blocking mode. `O_NONBLOCK` belongs to the socket and not to the descriptor, so it is
//! cleared again before the socket is returned.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::time::Duration;

use pinecone_wire::HANDSHAKE_LEN;
use socket2::{Domain, Socket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::descriptors::{self, Purpose};
use crate::{Backend, HandshakeFailed, uring};

/// Sends `ours`, receives the peer's bytes, and returns the socket in blocking mode. On a failure, and if
/// the future is dropped, shuts the connection down.
pub(crate) async fn run(
    backend: Backend,
    socket: OwnedFd,
    ours: [u8; HANDSHAKE_LEN],
    limit: Duration,
) -> Result<(OwnedFd, [u8; HANDSHAKE_LEN]), HandshakeFailed> {
    let mut socket = ShutOnDrop(Some(Socket::from(socket)));
    let theirs = tokio::time::timeout(limit, async {
        let socket = socket.get()?;
        match backend {
            Backend::TokioUring => by_ring(socket, ours).await,
            Backend::Tokio => by_readiness(socket, ours).await,
        }
    })
    .await
    .map_err(|_| HandshakeFailed::Timeout(limit))??;
    Ok((socket.take()?.into(), theirs))
}

/// Exchanges handshakes over an asynchronous stream, without a time limit. Sends and receives concurrently, as an
/// application's stream may buffer less than one handshake.
pub(crate) async fn over_stream<S>(
    stream: &mut S,
    ours: &[u8; HANDSHAKE_LEN],
) -> Result<[u8; HANDSHAKE_LEN], HandshakeFailed>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let send = async {
        writer.write_all(ours).await?;
        writer.flush().await
    };
    let receive = async {
        let mut theirs = [0; HANDSHAKE_LEN];
        let mut got = 0;
        while let Some(rest) = theirs.get_mut(got..).filter(|rest| !rest.is_empty()) {
            let read = reader.read(rest).await;
            match read.map_err(|error| HandshakeFailed::from_io(error, got))? {
                0 => return Err(HandshakeFailed::Eof { got }),
                n => got += n,
            }
        }
        Ok(theirs)
    };
    let send = async {
        send.await
            .map_err(|error| HandshakeFailed::from_io(error, 0))
    };
    tokio::try_join!(receive, send).map(|(theirs, ())| theirs)
}

async fn by_ring(
    socket: &Socket,
    ours: [u8; HANDSHAKE_LEN],
) -> Result<[u8; HANDSHAKE_LEN], HandshakeFailed> {
    socket.set_nonblocking(false)?;
    uring::exchange(duplicate(socket)?, ours).await
}

async fn by_readiness(
    socket: &Socket,
    ours: [u8; HANDSHAKE_LEN],
) -> Result<[u8; HANDSHAKE_LEN], HandshakeFailed> {
    socket.set_nonblocking(true)?;
    let polled = duplicate(socket)?;
    let theirs = if socket.domain()? == Domain::UNIX {
        over_stream(&mut UnixStream::from_std(polled.into())?, &ours).await?
    } else {
        over_stream(&mut TcpStream::from_std(polled.into())?, &ours).await?
    };
    socket.set_nonblocking(false)?;
    Ok(theirs)
}

fn duplicate(socket: &Socket) -> io::Result<Socket> {
    let duplicate = socket.try_clone()?;
    descriptors::check(&duplicate, Purpose::Inbound)?;
    Ok(duplicate)
}

/// Shuts the connection down unless the socket is taken out. Closing the descriptor would not be enough
/// while the ring still reads from its duplicate.
struct ShutOnDrop(Option<Socket>);

impl ShutOnDrop {
    fn get(&self) -> io::Result<&Socket> {
        self.0.as_ref().ok_or(io::ErrorKind::NotConnected.into())
    }

    fn take(&mut self) -> io::Result<Socket> {
        self.0.take().ok_or(io::ErrorKind::NotConnected.into())
    }
}

impl Drop for ShutOnDrop {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // Fails if the peer has already closed the connection.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
