//! The server side of the admin socket.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pinecone::{DisconnectError, Node, PortId, PublicKey};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::protocol::{
    MAX_REQUEST, PeerInfo, PingRequest, Reply, Request, StaticPeerInfo, StatusInfo,
};
use super::seats::{Dismissal, SeatId, Seats};
use super::socket::AdminSocket;
use crate::logging;
use crate::ping_series::{Pings, Series, Step};

/// A client that does not read its reply for this long is disconnected.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Interval of the check for silent clients, and for clients that have disconnected during a reply.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time limit for a dismissed client to read the reason.
const PARTING_LIMIT: Duration = Duration::from_secs(1);
/// Number of dismissed clients that are told the reason at the same time. Others are just closed.
const MAX_PARTING: usize = 64;

/// The connected clients, and those that are being dismissed.
#[derive(Clone, Debug)]
struct Clients {
    seats: Arc<Mutex<Seats>>,
    parting: Arc<Semaphore>,
}

/// A connected client. Dropping it removes the client.
#[derive(Debug)]
struct Seated {
    clients: Clients,
    id: SeatId,
}

impl AdminSocket {
    /// Serves clients. Never returns.
    pub(crate) async fn serve(&self, node: &Node) {
        let clients = Clients {
            seats: Arc::default(),
            parting: Arc::new(Semaphore::new(MAX_PARTING)),
        };
        loop {
            let crowded = clients.seats().is_crowded();
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // For example, no descriptors are left: try again later.
                        tracing::warn!(%error, "cannot accept on the admin socket");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue;
                    }
                },
                () = tokio::time::sleep(LOOK_EVERY), if crowded => {
                    clients.seats().sweep(Instant::now());
                    continue;
                }
            };
            // Not in the task, as the next iteration must see the new client.
            let entered = clients.seats().enter(Instant::now());
            tokio::spawn(clients.clone().serve(node.clone(), stream, entered));
        }
    }
}

impl Clients {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(
        self,
        node: Node,
        stream: UnixStream,
        entered: Result<(SeatId, Dismissal), String>,
    ) {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let why = match entered {
            Err(full) => full,
            Ok((id, mut dismissal)) => {
                let seat = Seated {
                    clients: self.clone(),
                    id,
                };
                tokio::select! {
                    // The client has disconnected.
                    _ = seat.serve(&node, &mut read, &mut write) => return,
                    // Only a client that is not being answered is dismissed.
                    why = &mut dismissal => match why {
                        Ok(why) => why,
                        Err(_) => return,
                    },
                }
            }
        };
        let Ok(_parting) = self.parting.try_acquire() else {
            return;
        };
        let _ = tokio::time::timeout(PARTING_LIMIT, part(read, write, why)).await;
    }
}

impl Seated {
    async fn serve(
        &self,
        node: &Node,
        read: &mut BufReader<OwnedReadHalf>,
        write: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = MAX_REQUEST as u64 + 1;
            let len = (&mut *read)
                .take(limit)
                .read_until(b'\n', &mut line)
                .await?;
            if len == 0 {
                return Ok(());
            }
            if !self.clients.seats().asked(self.id) {
                // The client has just been dismissed.
                return std::future::pending().await;
            }
            if len > MAX_REQUEST {
                let text = format!("a request must be one line of at most {MAX_REQUEST} bytes");
                return respond(write, &error(text)).await;
            }
            // The last line may have no newline.
            match serde_json::from_slice(&line) {
                Ok(request) => answer(node, request, read.get_ref(), write).await?,
                Err(e) => {
                    let text = format!("malformed request: {e}");
                    respond(write, &error(text)).await?;
                }
            }
            self.clients.seats().answered(self.id, Instant::now());
        }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.clients.seats().leave(self.id);
    }
}

/// Sends the reason to a dismissed client. Then reads until it closes: closing first would make its next
/// write fail before it has read the reason.
async fn part(
    mut read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    why: String,
) -> io::Result<()> {
    respond(&mut write, &error(why)).await?;
    write.shutdown().await?;
    tokio::io::copy(&mut read, &mut tokio::io::sink()).await?;
    Ok(())
}

/// Returns when the client has closed the connection. Closing only its sending side does not count.
async fn hung_up(read: &OwnedReadHalf) {
    let stream: &UnixStream = read.as_ref();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut fds = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::empty())];
        let polled = poll(&mut fds, Some(&Timespec::default()));
        if polled.is_ok() && fds[0].revents().contains(PollFlags::HUP) {
            return;
        }
    }
}

async fn answer(
    node: &Node,
    request: Request,
    read: &OwnedReadHalf,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let reply = match request {
        Request::Status {} => match node.status().await {
            Ok(status) => {
                let mut status = StatusInfo::from(&status);
                status.counters.extend(logging::counters());
                Reply::Status(Box::new(status))
            }
            Err(closed) => error(closed.to_string()),
        },
        Request::Peers {} => match (node.peers().await, node.static_peers().await) {
            (Ok(peers), Ok(static_peers)) => Reply::Peers {
                peers: peers.iter().map(PeerInfo::from).collect(),
                static_peers: static_peers.iter().map(StaticPeerInfo::from).collect(),
            },
            (Err(closed), _) | (_, Err(closed)) => error(closed.to_string()),
        },
        Request::Disconnect { port } => match node.disconnect(PortId(port)).await {
            Ok(()) => Reply::Done {},
            Err(DisconnectError::NoSuchPeering(port)) => {
                error(format!("there is no peering on port {port}"))
            }
            Err(other) => error(other.to_string()),
        },
        Request::Ping(ping) => match parse_series(&ping) {
            Ok(series) => {
                let mut pings = Pings::start(node.clone(), series);
                loop {
                    let step = tokio::select! {
                        step = pings.next() => step,
                        () = hung_up(read) => return Err(io::ErrorKind::BrokenPipe.into()),
                    };
                    match step {
                        Some(Step::Sent { seq }) if ping.report_sent => {
                            respond(write, &Reply::Sent { seq }).await?;
                        }
                        Some(Step::Sent { .. }) => {}
                        Some(Step::Over(info)) => respond(write, &Reply::Ping(info)).await?,
                        None => break,
                    }
                }
                Reply::Done {}
            }
            Err(text) => error(text),
        },
    };
    respond(write, &reply).await
}

fn parse_series(ping: &PingRequest) -> Result<Series, String> {
    let millis = |name, value| {
        if (1..=86_400_000).contains(&value) {
            Ok(Duration::from_millis(value))
        } else {
            Err(format!("{name} must be from 1 to 86400000"))
        }
    };
    Ok(Series {
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
