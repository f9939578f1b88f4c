//! The client side of the admin socket.

use std::fmt::Display;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::protocol::{MAX_REPLY, Reply, Request};
use crate::directories;
use crate::failure::Failure;

/// Time that the node may be silent while it owes an answer.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The admin socket of the running node.
#[derive(Debug, Args)]
pub(crate) struct AdminOptions {
    /// Admin socket of the node. [default: pinecone.sock in $XDG_RUNTIME_DIR, else admin.sock next
    /// to the default key file]
    #[arg(id = "path", long = "admin", value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
}

/// A connection to the running node.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl AdminOptions {
    /// Returns the path given with `--admin`, or the default path.
    pub(crate) fn socket_path(&self) -> Option<PathBuf> {
        self.path.clone().or_else(directories::admin_socket)
    }
}

impl Client {
    /// Connects to the running node.
    pub(crate) async fn connect(options: &AdminOptions) -> Result<Self, Failure> {
        let path = options.socket_path().ok_or_else(|| {
            Failure::usage("there is no home directory with an admin socket: use --admin PATH")
        })?;
        let stream = UnixStream::connect(&path)
            .await
            .map_err(|e| unreachable(&path, &e))?;
        Ok(Self {
            stream: BufReader::new(stream),
            path,
        })
    }

    /// Sends a request that has one reply, and returns the reply. An error reply is a failure.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<Reply, Failure> {
        self.send(request).await?;
        self.receive(ANSWER_LIMIT).await
    }

    /// Sends a request; [`Self::receive`] returns the replies.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(request).map_err(Failure::runtime)?;
        line.push(b'\n');
        // A request fits the socket's buffer, so this does not wait for the node.
        let Err(error) = self.stream.write_all(&line).await else {
            return Ok(());
        };
        // A node that refuses a client sends the reason before it closes the connection.
        Err(match self.read_line(ANSWER_LIMIT).await.as_deref() {
            Ok(line) => match serde_json::from_slice(line) {
                Ok(Reply::Error { error }) => Failure::runtime(error),
                _ => self.lost(&error),
            },
            Err(_) => self.lost(&error),
        })
    }

    /// Returns the next reply. An error reply is a failure, and so is silence for `limit`.
    pub(crate) async fn receive(&mut self, limit: Duration) -> Result<Reply, Failure> {
        let line = self.read_line(limit).await?;
        match serde_json::from_slice(&line) {
            Ok(Reply::Error { error }) => Err(Failure::runtime(error)),
            Ok(reply) => Ok(reply),
            Err(_) if line.is_empty() => Err(self.lost(&"it sent no answer")),
            Err(error) => Err(self.unexpected(&error)),
        }
    }

    /// Reads a line, empty at the end of the stream. The limit is for the time between two reads: a
    /// long reply may take longer in all.
    async fn read_line(&mut self, limit: Duration) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") && line.len() < MAX_REPLY {
            let read = match timeout(limit, self.stream.fill_buf()).await {
                Ok(read) => read,
                Err(_) => return Err(self.silent(limit)),
            };
            let bytes = match read {
                Ok(bytes) => bytes,
                Err(error) => return Err(self.lost(&error)),
            };
            let len = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(newline) => newline + 1,
                None => bytes.len(),
            };
            line.extend_from_slice(bytes.get(..len).unwrap_or_default());
            self.stream.consume(len);
            if len == 0 {
                break;
            }
        }
        Ok(line)
    }

    /// Returns the failure for a reply that does not fit the request.
    pub(crate) fn unexpected(&self, what: &dyn Display) -> Failure {
        Failure::runtime(format!(
            "unexpected reply from the node at {} ({what}): is it the same version?",
            self.path.display()
        ))
    }

    fn silent(&self, limit: Duration) -> Failure {
        Failure::runtime(format!(
            "the node at {} has not answered within {} s: is it stopped?",
            self.path.display(),
            limit.as_secs_f64()
        ))
    }

    fn lost(&self, error: &dyn Display) -> Failure {
        let shown = self.path.display();
        Failure::runtime(format!(
            "the node at {shown} closed the connection: {error}"
        ))
    }
}

/// Explains why connecting to the admin socket failed.
fn unreachable(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    let start = "start one with `pinecone run`, or give the path of its socket with --admin";
    match fs::metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Failure::usage(format!(
                "{shown} is not a socket: give the path of a node's admin socket with --admin"
            ));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && is_listened_on(path) => {
            return Failure::runtime(format!(
                "a node listens on the admin socket {shown}, but the socket file has been removed: \
                 restart that node"
            ));
        }
        _ => {}
    }
    let message = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no admin socket {shown}: {start}")
        }
        io::ErrorKind::ConnectionRefused => {
            format!("no node listens on the admin socket {shown}: {start}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("no permission to use the admin socket {shown}: run as the user of the node")
        }
        io::ErrorKind::WouldBlock => {
            format!("the node at {shown} does not accept connections: is it stopped?")
        }
        io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::NotADirectory => {
            return Failure::usage(format!(
                "{shown} cannot be a socket ({error}): check the path given with --admin"
            ));
        }
        _ => format!("cannot connect to the admin socket {shown}: {error}"),
    };
    Failure::runtime(message)
}

/// Reports whether a process listens on a socket with that path, even if the file is gone.
fn is_listened_on(path: &Path) -> bool {
    const LISTENS: &str = "00010000";
    let Some(path) = path.to_str() else {
        return false;
    };
    // Columns: Num RefCount Protocol Flags Type St Inode Path.
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    table.lines().any(|line| {
        line.split_whitespace().nth(3) == Some(LISTENS)
            && line
                .strip_suffix(path)
                .is_some_and(|before| before.ends_with(' '))
    })
}
