//! Connected TLS streams.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::Error;

use super::peer::TlsPeer;

/// The exporter label of the channel binding `tls-exporter` (RFC 9266 section 2).
const BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// A TLS connection after its handshake.
///
/// For each connection, it buffers at most 64 KiB of encrypted output, one record (16 KiB) of decrypted input, and one
/// record of encrypted input. A stream that ends without TLS's own close fails with
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof).
#[derive(Debug)]
pub struct TlsStream<S> {
    stream: tokio_rustls::TlsStream<S>,
    peer: TlsPeer,
    channel_binding: [u8; 32],
}

impl<S> TlsStream<S> {
    pub(super) fn new(
        stream: impl Into<tokio_rustls::TlsStream<S>>,
        peer: TlsPeer,
    ) -> Result<Self, Error> {
        let stream = stream.into();
        let (output, context) = ([0; 32], Some(&[][..]));
        let channel_binding = match &stream {
            tokio_rustls::TlsStream::Client(stream) => {
                let (_, connection) = stream.get_ref();
                connection.export_keying_material(output, BINDING_LABEL, context)
            }
            tokio_rustls::TlsStream::Server(stream) => {
                let (_, connection) = stream.get_ref();
                connection.export_keying_material(output, BINDING_LABEL, context)
            }
        }?;
        Ok(Self {
            stream,
            peer,
            channel_binding,
        })
    }

    /// Returns the proven identity of the other end.
    #[must_use]
    pub fn peer(&self) -> &TlsPeer {
        &self.peer
    }

    /// Returns the channel binding `tls-exporter` (RFC 9266), which both ends of this connection have, and no other
    /// connection.
    #[must_use]
    pub fn channel_binding(&self) -> &[u8; 32] {
        &self.channel_binding
    }

    /// Returns the protocol that ALPN agreed on; `None` if the other end does not support ALPN.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }

    /// Returns the stream under TLS.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        self.stream.get_ref().0
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
