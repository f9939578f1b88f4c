//! The exchange of messages of a fixed length, one in each direction: handshakes, and what may follow them.
//!
//! An [`Exchange`] works over an asynchronous stream, or over a socket with either backend, which then goes to the data
//! plane without a relay. It reads no byte beyond the peer's message.
//!
//! The io_uring workers and tokio-uring need the socket in blocking mode, and readiness polling needs
//! it in non-blocking mode. `O_NONBLOCK` belongs to the socket and not to the descriptor, so it is
//! cleared again after each exchange.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::time::Duration;

use pinecone_wire::HANDSHAKE_LEN;
use socket2::{Domain, Socket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::descriptors::{self, Purpose};
use crate::error::SwapError;
use crate::{Backend, HandshakeFailed, uring};

/// A stream over which both sides send messages of the same length at the same time.
pub(crate) trait Exchange {
    /// Sends `ours` and receives the peer's message, without a time limit. After a failure, and if the future is
    /// dropped, the stream must not be used again.
    async fn swap<const N: usize>(&mut self, ours: &[u8; N]) -> Result<[u8; N], SwapError>;
}

/// Exchanges handshakes over a socket and returns it in blocking mode. On a failure, and if the future is dropped, shuts
/// the connection down.
pub(crate) async fn run(
    backend: Backend,
    socket: OwnedFd,
    ours: [u8; HANDSHAKE_LEN],
    limit: Duration,
) -> Result<(OwnedFd, [u8; HANDSHAKE_LEN]), HandshakeFailed> {
    let mut socket = SocketExchange::new(backend, socket);
    let theirs = tokio::time::timeout(limit, socket.swap(&ours))
        .await
        .map_err(|_| HandshakeFailed::Timeout(limit))??;
    Ok((socket.finish()?, theirs))
}

/// Exchanges handshakes over an asynchronous stream, without a time limit.
pub(crate) async fn over_stream<S>(
    stream: &mut S,
    ours: &[u8; HANDSHAKE_LEN],
) -> Result<[u8; HANDSHAKE_LEN], HandshakeFailed>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    Ok(StreamExchange(stream).swap(ours).await?)
}

/// An asynchronous stream. Sends and receives concurrently, as an application's stream may buffer less than one
/// message.
#[derive(Debug)]
pub(crate) struct StreamExchange<'a, S: ?Sized>(pub(crate) &'a mut S);

impl<S> Exchange for StreamExchange<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    async fn swap<const N: usize>(&mut self, ours: &[u8; N]) -> Result<[u8; N], SwapError> {
        let (mut reader, mut writer) = tokio::io::split(&mut *self.0);
        let send = async {
            let sent = async {
                writer.write_all(ours).await?;
                writer.flush().await
            };
            sent.await.map_err(|error| SwapError::from_io(error, 0))
        };
        tokio::try_join!(receive(&mut reader), send).map(|(theirs, ())| theirs)
    }
}

/// Receives a message of a fixed length.
pub(crate) async fn receive<const N: usize, R>(reader: &mut R) -> Result<[u8; N], SwapError>
where
    R: AsyncRead + Unpin + ?Sized,
{
    let mut theirs = [0; N];
    let mut got = 0;
    while let Some(rest) = theirs.get_mut(got..).filter(|rest| !rest.is_empty()) {
        let read = reader.read(rest).await;
        match read.map_err(|error| SwapError::from_io(error, got))? {
            0 => return Err(SwapError::Eof { got }),
            n => got += n,
        }
    }
    Ok(theirs)
}

/// A connected stream socket. Dropping it shuts the connection down, unless [`finish`](Self::finish) takes it out.
/// Closing the descriptor would not be enough while the ring still reads from its duplicate.
#[derive(Debug)]
pub(crate) struct SocketExchange {
    backend: Backend,
    socket: Option<Socket>,
}

impl SocketExchange {
    pub(crate) fn new(backend: Backend, socket: OwnedFd) -> Self {
        let socket = Some(Socket::from(socket));
        Self { backend, socket }
    }

    /// Returns the socket in blocking mode.
    pub(crate) fn finish(mut self) -> io::Result<OwnedFd> {
        let socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
        Ok(socket.into())
    }

    fn socket(&self) -> io::Result<&Socket> {
        self.socket
            .as_ref()
            .ok_or(io::ErrorKind::NotConnected.into())
    }
}

impl Exchange for SocketExchange {
    async fn swap<const N: usize>(&mut self, ours: &[u8; N]) -> Result<[u8; N], SwapError> {
        let socket = self.socket()?;
        match self.backend {
            Backend::TokioUring => by_ring(socket, ours).await,
            Backend::Tokio => by_readiness(socket, ours).await,
        }
    }
}

impl Drop for SocketExchange {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            // Fails if the peer has already closed the connection.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

async fn by_ring<const N: usize>(socket: &Socket, ours: &[u8; N]) -> Result<[u8; N], SwapError> {
    socket.set_nonblocking(false)?;
    uring::swap(duplicate(socket)?, ours).await
}

async fn by_readiness<const N: usize>(
    socket: &Socket,
    ours: &[u8; N],
) -> Result<[u8; N], SwapError> {
    socket.set_nonblocking(true)?;
    let polled = duplicate(socket)?;
    let theirs = if socket.domain()? == Domain::UNIX {
        let mut polled = UnixStream::from_std(polled.into())?;
        StreamExchange(&mut polled).swap(ours).await?
    } else {
        let mut polled = TcpStream::from_std(polled.into())?;
        StreamExchange(&mut polled).swap(ours).await?
    };
    socket.set_nonblocking(false)?;
    Ok(theirs)
}

fn duplicate(socket: &Socket) -> io::Result<Socket> {
    let duplicate = socket.try_clone()?;
    descriptors::check(&duplicate, Purpose::Inbound)?;
    Ok(duplicate)
}
