//! The limit on open files. Each peering takes a file descriptor.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;

/// The least limit with which the program's runtime starts.
const LEAST: u64 = 16;
/// A limit that is enough for a node with one worker, its handshakes and a few peerings.
const NODE: u64 = 40;
/// Descriptors of each further worker.
const WORKER: u64 = 5;

/// Refuses a limit with which no command works.
pub(crate) fn check() -> Result<(), Failure> {
    match limit() {
        Some(..LEAST) => Err(Failure::runtime(advice())),
        _ => Ok(()),
    }
}

/// Raises the limit as far as this process may, and returns it. `None` means no limit.
pub(crate) fn raise() -> Option<u64> {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        ..limits
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = ?limits.current, "cannot raise the limit on open files");
    }
    limit()
}

/// Describes what the limit means for a node that has started. Warns if no peer can connect.
pub(crate) fn describe(limit: u64) -> String {
    let room = pinecone_transports::room_for_peerings();
    if room == Some(0) {
        tracing::warn!("no peer can connect: {}", advice());
    }
    match room {
        Some(1) => format!("{limit} may be open, which leaves room for 1 peering"),
        Some(room) => format!("{limit} may be open, which leaves room for {room} peerings"),
        None => format!("{limit} may be open, one for each peering"),
    }
}

/// States the limit and what a node needs, and how to raise the limit.
pub(crate) fn advice() -> String {
    let limit = limit().map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    format!(
        "the limit on open files is {limit}; a node needs {NODE}, {WORKER} more for each further \
         worker and 1 for each peering: raise it with `ulimit -n`, or LimitNOFILE= in a systemd unit"
    )
}

fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
