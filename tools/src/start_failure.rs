//! Advice for a node that did not start.

use std::error::Error;
use std::{io, iter};

use pinecone::{ListenError, StartError};
use rustix::io::Errno;

use crate::failure::Failure;
use crate::files;

/// Returns the failure for a node that did not start, with advice.
pub(crate) fn explain(error: StartError) -> Failure {
    match &error {
        StartError::StaticPeers(_)
        | StartError::Tls(_)
        | StartError::Listen(ListenError::NoCertificate { .. }) => Failure::usage(error),
        _ => match errno(&error) {
            Some(Errno::MFILE) => Failure::runtime(format!("{error}; {}", files::advice())),
            Some(Errno::ACCESS) => Failure::runtime(format!(
                "{error}; ports below 1024 need root: choose a higher one with --listen, or give the \
                 program CAP_NET_BIND_SERVICE"
            )),
            Some(Errno::ADDRNOTAVAIL) => Failure::runtime(format!(
                "{error}; check --listen, or wait for the address with --listen-retry"
            )),
            _ => Failure::runtime(error),
        },
    }
}

/// Returns the system error behind `error`, if there is one.
fn errno(error: &StartError) -> Option<Errno> {
    let mut causes = iter::successors(Some(error as &dyn Error), |&error| error.source());
    causes.find_map(|cause| Errno::from_io_error(cause.downcast_ref::<io::Error>()?))
}
