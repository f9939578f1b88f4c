//! The commands' end of the admin socket.

use std::fmt::Display;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{MAX_REPLY, Reply, Request};
use crate::cli::AdminOptions;
use crate::directories;
use crate::failure::Failure;

/// How long the node may take to answer what it can answer at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

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

    /// Asks what has one answer, and returns it. The node's refusal is a failure of ours.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<Reply, Failure> {
        let asked = async {
            self.send(request).await?;
            self.receive().await
        };
        let answered = tokio::time::timeout(ANSWER_LIMIT, asked).await;
        answered.unwrap_or_else(|_| {
            Err(Failure::runtime(format!(
                "the node at {} has not answered within {} s: is it stopped?",
                self.path.display(),
                ANSWER_LIMIT.as_secs()
            )))
        })
    }

    /// Sends a request; [`Self::receive`] returns the answers.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(request).map_err(Failure::runtime)?;
        line.push(b'\n');
        let Err(error) = self.stream.write_all(&line).await else {
            return Ok(());
        };
        // A node that does not want us says why before it closes.
        Err(match self.read_reply().await {
            Ok(Some(Ok(Reply::Error { error }))) => Failure::runtime(error),
            _ => self.lost(&error),
        })
    }

    /// The next answer. The node's refusal is a failure of ours.
    pub(crate) async fn receive(&mut self) -> Result<Reply, Failure> {
        match self.read_reply().await {
            Ok(Some(Ok(Reply::Error { error }))) => Err(Failure::runtime(error)),
            Ok(Some(Ok(reply))) => Ok(reply),
            Ok(Some(Err(e))) => Err(self.strange(&e.to_string())),
            Ok(None) => Err(self.lost(&"it sent no answer")),
            Err(e) => Err(self.lost(&e)),
        }
    }

    async fn read_reply(&mut self) -> io::Result<Option<serde_json::Result<Reply>>> {
        let mut line = Vec::new();
        (&mut self.stream)
            .take(MAX_REPLY as u64)
            .read_until(b'\n', &mut line)
            .await?;
        Ok((!line.is_empty()).then(|| serde_json::from_slice(&line)))
    }

    /// A failure for an answer that does not fit the question.
    pub(crate) fn strange(&self, what: &str) -> Failure {
        Failure::runtime(format!(
            "the node at {} gives an answer that we don't understand ({what}): is it of the same \
             version?",
            self.path.display()
        ))
    }

    fn lost(&self, error: &dyn Display) -> Failure {
        let shown = self.path.display();
        Failure::runtime(format!(
            "the node at {shown} closed the connection: {error}"
        ))
    }
}

/// Says why there is no connection to the admin socket.
fn unreachable(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    let start = "start one with `pinecone run`, or name its socket with --admin";
    match fs::metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Failure::usage(format!(
                "{shown} is no socket: name a node's admin socket with --admin"
            ));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && is_listened_on(path) => {
            return Failure::runtime(format!(
                "a node runs with the admin socket {shown}, but the socket's file has been removed: \
                 restart that node"
            ));
        }
        _ => {}
    }
    let message = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no admin socket {shown}, so no node runs with it: {start}")
        }
        io::ErrorKind::ConnectionRefused => {
            format!("nobody listens on the admin socket {shown}, as its node has ended: {start}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("no permission to use the admin socket {shown}: run as the node's user")
        }
        io::ErrorKind::WouldBlock => {
            format!("the node at {shown} takes no more connections: is it stopped?")
        }
        io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::NotADirectory => {
            return Failure::usage(format!(
                "{shown} cannot be a socket ({error}): correct --admin"
            ));
        }
        _ => format!("cannot connect to the admin socket {shown}: {error}"),
    };
    Failure::runtime(message)
}

/// Whether a process listens on a socket with that path, whose file may be gone.
fn is_listened_on(path: &Path) -> bool {
    const LISTENS: &str = "00010000";
    let Some(path) = path.to_str() else {
        return false;
    };
    // Num RefCount Protocol Flags Type St Inode Path
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    table.lines().any(|line| {
        line.split_whitespace().nth(3) == Some(LISTENS)
            && line
                .strip_suffix(path)
                .is_some_and(|before| before.ends_with(' '))
    })
}
