//! Moving the two times 104 bytes over a socket, by either backend.
//!
//! The io_uring workers need the socket in blocking mode, and so does tokio-uring; readiness
//! polling needs it otherwise. `O_NONBLOCK` belongs to the socket, not to the descriptor, so it is
//! set back before the socket is given away.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::time::Duration;

use pinecone_wire::HANDSHAKE_LEN;
use socket2::{Domain, Socket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_uring::buf::BoundedBuf;

use crate::descriptors::{self, Purpose};
use crate::{Backend, HandshakeFailed};

/// Sends `ours`, receives theirs, and gives back the socket in blocking mode. On any failure, and
/// if the future is dropped, the connection is shut down.
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

/// The same over an asynchronous stream, without a limit. Both halves go side by side: an
/// embedder's stream may hold less than one of them.
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
            match read.map_err(|error| closed_or_failed(error, got))? {
                0 => return Err(HandshakeFailed::Eof { got }),
                n => got += n,
            }
        }
        Ok(theirs)
    };
    let send = async { send.await.map_err(|error| closed_or_failed(error, 0)) };
    tokio::try_join!(receive, send).map(|(theirs, ())| theirs)
}

async fn by_ring(
    socket: &Socket,
    ours: [u8; HANDSHAKE_LEN],
) -> Result<[u8; HANDSHAKE_LEN], HandshakeFailed> {
    socket.set_nonblocking(false)?;
    // tokio-uring keeps the descriptor it is given until its last operation ends, and gives none
    // back: it gets a duplicate.
    let stream = tokio_uring::net::TcpStream::from_std(duplicate(socket)?.into());
    let sent = stream.write_all(ours.to_vec()).await.0;
    sent.map_err(|error| closed_or_failed(error, 0))?;
    let mut buffer = vec![0; HANDSHAKE_LEN];
    let mut got = 0;
    while got < HANDSHAKE_LEN {
        let (result, slice) = stream.read(buffer.slice(got..HANDSHAKE_LEN)).await;
        buffer = slice.into_inner();
        match result.map_err(|error| closed_or_failed(error, got))? {
            0 => return Err(HandshakeFailed::Eof { got }),
            n => got += n,
        }
    }
    buffer
        .try_into()
        .map_err(|_| HandshakeFailed::Io(io::ErrorKind::InvalidData.into()))
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

/// A peer that closes with our bytes unread resets the connection: that is no fault of the stream.
fn closed_or_failed(error: io::Error, got: usize) -> HandshakeFailed {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => HandshakeFailed::Eof { got },
        _ => HandshakeFailed::Io(error),
    }
}

/// Shuts the connection down unless the socket is taken out: closing our descriptor would not be
/// enough while the ring still reads from its duplicate.
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
            // Fails if the peer was faster: nothing left to do then.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
