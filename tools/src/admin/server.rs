//! The running node's end of the admin socket.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pinecone::{Node, PortId, PublicKey};
use rustix::fs::Mode;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;

use super::protocol::{
    MAX_REQUEST, PeerInfo, PingRequest, Reply, Request, StaticPeerInfo, StatusInfo,
};
use crate::failure::Failure;
use crate::{logging, pings};

/// Clients served at once; the next one is told to come later.
const MAX_CLIENTS: usize = 16;
/// A client that does not take its answer for so long is let go.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// The bound socket. Its file goes when this does.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Takes the path: replaces a socket that nobody listens on any more, refuses one that is
    /// alive. To be called while the process has one thread, as it changes the umask for a moment.
    pub(crate) fn bind(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let failed = |e: io::Error| {
            Failure::runtime(format!(
                "cannot make the admin socket {shown}: {e}; name another with --admin"
            ))
        };
        if let Some(directory) = path.parent().filter(|d| *d != Path::new("")) {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(failed)?;
        }
        match std::fs::symlink_metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(Failure::runtime(format!(
                    "{shown} is no socket: name another path with --admin"
                )));
            }
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                Err(e) => return Err(failed(e)),
                Ok(_) => {
                    return Err(Failure::runtime(format!(
                        "another node runs with the admin socket {shown}: stop it, or name another \
                         path with --admin"
                    )));
                }
            },
        }
        // Never open to others, not even for the moment before a chmod.
        let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(umask);
        Ok(Self {
            listener: bound.map_err(failed)?,
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Answers clients, for ever.
    pub(crate) async fn serve(&self, node: &Node) {
        let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, say: try again when some may be free.
                    tracing::warn!(%error, "admin socket does not accept");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let node = node.clone();
            let slot = Arc::clone(&clients).try_acquire_owned();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                // An error here is a client that hung up.
                let _ = match slot {
                    Ok(_slot) => serve_client(&node, read, &mut write).await,
                    Err(_) => {
                        let error = format!("{MAX_CLIENTS} clients are connected: try again later");
                        respond(&mut write, &Reply::Error { error }).await
                    }
                };
            });
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve_client(
    node: &Node,
    read: OwnedReadHalf,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MAX_REQUEST as u64 + 1;
        let len = (&mut read).take(limit).read_until(b'\n', &mut line).await?;
        if len == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            let error = format!("a request is one line of at most {MAX_REQUEST} bytes");
            return respond(write, &Reply::Error { error }).await;
        }
        match serde_json::from_slice(&line) {
            Ok(request) => answer(node, request, write).await?,
            Err(e) => {
                let error = format!("request not understood: {e}");
                respond(write, &Reply::Error { error }).await?;
            }
        }
    }
}

async fn answer(node: &Node, request: Request, write: &mut OwnedWriteHalf) -> io::Result<()> {
    let reply = match request {
        Request::Status {} => match node.status().await {
            Some(status) => {
                let mut status = StatusInfo::from(&status);
                status.counters.extend(logging::counters());
                Reply::Status(Box::new(status))
            }
            None => error("the node is closing"),
        },
        Request::Peers {} => Reply::Peers {
            peers: node.peers().await.iter().map(PeerInfo::from).collect(),
            static_peers: (node.static_peers().await.iter())
                .map(StaticPeerInfo::from)
                .collect(),
        },
        Request::Disconnect { port } => {
            if node.disconnect(PortId(port)).await {
                Reply::Done {}
            } else {
                error(format!("there is no peering on port {port}"))
            }
        }
        Request::Ping(ping) => match series(&ping) {
            Ok(series) => {
                let mut pings = pings::Pings::start(node.clone(), series);
                while let Some(info) = pings.next().await {
                    respond(write, &Reply::Ping(info)).await?;
                }
                Reply::Done {}
            }
            Err(text) => error(text),
        },
    };
    respond(write, &reply).await
}

fn series(ping: &PingRequest) -> Result<pings::Series, String> {
    let millis = |name, value| {
        if (1..=86_400_000).contains(&value) {
            Ok(Duration::from_millis(value))
        } else {
            Err(format!("{name} is from 1 to 86400000"))
        }
    };
    Ok(pings::Series {
        key: ping
            .key
            .parse::<PublicKey>()
            .map_err(|e| format!("key: {e}"))?,
        count: ping.count,
        size: ping.size,
        interval: millis("interval_ms", ping.interval_ms)?,
        timeout: millis("timeout_ms", ping.timeout_ms)?,
    })
}

fn error(error: impl Into<String>) -> Reply {
    Reply::Error {
        error: error.into(),
    }
}

async fn respond(write: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    tokio::time::timeout(WRITE_LIMIT, write.write_all(&line))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}
