//! The commands' end of the admin socket.

use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{MAX_REPLY, Reply, Request};
use crate::cli::AdminOptions;
use crate::directories;
use crate::failure::Failure;

/// A connection to the running node.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl AdminOptions {
    /// The path asked for, or the default one.
    pub(crate) fn socket_path(&self) -> Option<PathBuf> {
        self.path.clone().or_else(directories::admin_socket)
    }
}

impl Client {
    /// Finds the running node.
    pub(crate) async fn connect(options: &AdminOptions) -> Result<Self, Failure> {
        let path = options.socket_path().ok_or_else(|| {
            Failure::usage("there is no home directory with an admin socket: use --admin PATH")
        })?;
        let stream = UnixStream::connect(&path).await.map_err(|e| {
            let shown = path.display();
            Failure::runtime(match e.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
                    "no node runs with the admin socket {shown}: start one with `pinecone run`, \
                     or name its socket with --admin"
                ),
                io::ErrorKind::PermissionDenied => format!(
                    "the admin socket {shown} belongs to somebody else: run as the node's user"
                ),
                _ => format!("cannot connect to the admin socket {shown}: {e}"),
            })
        })?;
        Ok(Self {
            stream: BufReader::new(stream),
            path,
        })
    }

    /// Asks.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(request).map_err(Failure::runtime)?;
        line.push(b'\n');
        let written = self.stream.write_all(&line).await;
        written.map_err(|e| self.lost(&e))
    }

    /// The next answer. The node's refusal is a failure of ours.
    pub(crate) async fn receive(&mut self) -> Result<Reply, Failure> {
        let mut line = Vec::new();
        let read = (&mut self.stream)
            .take(MAX_REPLY as u64)
            .read_until(b'\n', &mut line)
            .await;
        read.map_err(|e| self.lost(&e))?;
        if line.is_empty() {
            return Err(self.lost(&io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_slice(&line) {
            Ok(Reply::Error { error }) => Err(Failure::runtime(error)),
            Ok(reply) => Ok(reply),
            Err(e) => Err(self.strange(&e.to_string())),
        }
    }

    /// A failure for an answer that does not fit the question.
    pub(crate) fn strange(&self, what: &str) -> Failure {
        Failure::runtime(format!(
            "the node at {} gives an answer that we don't understand ({what}): is it of the same \
             version?",
            self.path.display()
        ))
    }

    fn lost(&self, error: &io::Error) -> Failure {
        let shown = self.path.display();
        Failure::runtime(format!("the node at {shown} went away: {error}"))
    }
}
