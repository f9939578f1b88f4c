//! The limit on open files: every peering takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;

/// With fewer than this, not even the program's runtime starts.
const LEAST: u64 = 16;

/// Refuses a limit with which no command works.
pub(crate) fn check() -> Result<(), Failure> {
    match limit() {
        Some(files @ ..LEAST) => Err(Failure::runtime(format!(
            "the limit of open files is {files}, too low to start: allow {LEAST} or more with \
             `ulimit -n`, or LimitNOFILE= in a systemd unit"
        ))),
        _ => Ok(()),
    }
}

/// Raises the limit as far as this process may. Returns what it is then; nothing if there is none.
pub(crate) fn raise() -> Option<u64> {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        ..limits
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = ?limits.current, "cannot raise the limit of open files");
    }
    limit()
}

fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
