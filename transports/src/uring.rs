//! The io_uring backend. This is the only module that uses `tokio-uring`.

use std::future::Future;
use std::io;

use pinecone_wire::HANDSHAKE_LEN;
use socket2::Socket;
use tokio_uring::buf::BoundedBuf;

use crate::HandshakeFailed;

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

/// Sends `ours` over a socket in blocking mode and receives the peer's handshake.
///
/// The socket is a duplicate: tokio-uring keeps the descriptor until its last operation has ended, and
/// does not return it.
pub(crate) async fn exchange(
    duplicate: Socket,
    ours: [u8; HANDSHAKE_LEN],
) -> Result<[u8; HANDSHAKE_LEN], HandshakeFailed> {
    let stream = tokio_uring::net::TcpStream::from_std(duplicate.into());
    let sent = stream.write_all(ours.to_vec()).await.0;
    sent.map_err(|error| HandshakeFailed::from_io(error, 0))?;
    let mut buffer = vec![0; HANDSHAKE_LEN];
    let mut got = 0;
    while got < HANDSHAKE_LEN {
        let (result, slice) = stream.read(buffer.slice(got..HANDSHAKE_LEN)).await;
        buffer = slice.into_inner();
        match result.map_err(|error| HandshakeFailed::from_io(error, got))? {
            0 => return Err(HandshakeFailed::Eof { got }),
            n => got += n,
        }
    }
    buffer
        .try_into()
        .map_err(|_| HandshakeFailed::Io(io::ErrorKind::InvalidData.into()))
}
