//! The io_uring backend. This is the only module that uses `tokio-uring`.

use std::future::Future;
use std::io;

use socket2::Socket;
use tokio_uring::buf::BoundedBuf;

use crate::error::SwapError;

/// Entries of the submission queue.
const RING_ENTRIES: u32 = 256;
/// Entries of the completion queue: more than the handshakes that may be in flight.
const RING_COMPLETIONS: u32 = 4096;

/// A tokio-uring executor.
pub(crate) struct Executor(tokio_uring::Runtime);

impl Executor {
    pub(crate) fn new() -> io::Result<Self> {
        let mut builder = tokio_uring::builder();
        builder.entries(RING_ENTRIES);
        let mut ring = tokio_uring::uring_builder();
        ring.setup_cqsize(RING_COMPLETIONS);
        builder.uring_builder(&ring);
        tokio_uring::Runtime::new(&builder).map(Self)
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

/// Sends `ours` over a socket in blocking mode and receives as many bytes from the peer.
///
/// The socket is a duplicate: tokio-uring keeps the descriptor until its last operation has ended, and
/// does not return it.
pub(crate) async fn swap<const N: usize>(
    duplicate: Socket,
    ours: &[u8; N],
) -> Result<[u8; N], SwapError> {
    let stream = tokio_uring::net::TcpStream::from_std(duplicate.into());
    let sent = stream.write_all(ours.to_vec()).await.0;
    sent.map_err(|error| SwapError::from_io(error, 0))?;
    let mut buffer = vec![0; N];
    let mut got = 0;
    while got < N {
        let (result, slice) = stream.read(buffer.slice(got..N)).await;
        buffer = slice.into_inner();
        match result.map_err(|error| SwapError::from_io(error, got))? {
            0 => return Err(SwapError::Eof { got }),
            n => got += n,
        }
    }
    buffer
        .try_into()
        .map_err(|_| SwapError::Io(io::ErrorKind::InvalidData.into()))
}
