//! Relays between byte streams and socket pairs.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::pipe::pipe;

/// Bytes that a relay buffers in each direction: the longest frame.
const RELAY_BUFFER: usize = 64 * 1024;

/// Copies in both directions between `stream` and `end`, one end of a [`pipe`]. Passes an end of file
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

/// A task that [relays](relay) a stream. Dropping it closes the stream at once, on whichever thread.
#[derive(Debug)]
pub struct RelayTask {
    task: JoinHandle<()>,
    detached: bool,
}

impl RelayTask {
    /// Starts relaying `stream`, called `name` in the log, within the current [`Runtime`](crate::Runtime).
    /// Returns the socket that stands for it.
    ///
    /// # Errors
    /// The process is out of descriptors, or the system of memory.
    pub fn spawn<S>(stream: S, name: String) -> io::Result<(OwnedFd, Self)>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (ours, workers) = pipe()?;
        let task = tokio::task::spawn_local(async move {
            if let Err(error) = relay(stream, ours).await {
                tracing::debug!(remote = name, %error, "relayed stream failed");
            }
        });
        let detached = false;
        Ok((workers, Self { task, detached }))
    }

    /// Lets the task run until the stream and the socket have ended.
    pub fn detach(mut self) {
        self.detached = true;
    }
}

impl Drop for RelayTask {
    fn drop(&mut self) {
        if !self.detached {
            self.task.abort();
        }
    }
}
