//! The executor of the runtime thread: tokio-uring if io_uring is available, else tokio.

use std::fmt;
use std::future::Future;
use std::io;

use tokio::task::LocalSet;

use crate::uring;

/// The I/O backend of handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring, through `tokio-uring`.
    TokioUring,
    /// Readiness polling, through `tokio`, if io_uring is missing or forbidden.
    Tokio,
}

impl Backend {
    /// Returns [`Backend::TokioUring`] if this process may set up a ring, else [`Backend::Tokio`].
    #[must_use]
    pub fn detect() -> Self {
        match io_uring::IoUring::new(8) {
            Ok(_) => Self::TokioUring,
            Err(error) => {
                tracing::debug!(%error, "transports use no io_uring");
                Self::Tokio
            }
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TokioUring => "tokio-uring",
            Self::Tokio => "tokio",
        })
    }
}

/// A single-threaded executor. Timers, channels, signals and [`tokio::task::spawn_local`] work with
/// either backend. It stays on the thread that created it.
pub struct Runtime(Kind);

enum Kind {
    Uring(uring::Executor),
    Tokio {
        // Before the runtime, so that tasks are dropped first.
        local: LocalSet,
        runtime: tokio::runtime::Runtime,
    },
}

impl Runtime {
    /// Creates a runtime. Must not be called, nor the result dropped, within another runtime.
    ///
    /// # Errors
    /// The system refused a ring (with [`Backend::TokioUring`]), an epoll instance or memory.
    pub fn new(backend: Backend) -> io::Result<Self> {
        Ok(Self(match backend {
            Backend::TokioUring => Kind::Uring(uring::Executor::new()?),
            Backend::Tokio => Kind::Tokio {
                local: LocalSet::new(),
                runtime: tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?,
            },
        }))
    }

    /// Creates a runtime with the detected backend, or with tokio if its ring is refused after all.
    ///
    /// # Errors
    /// Neither can be created.
    pub fn detect() -> io::Result<Self> {
        match Backend::detect() {
            Backend::TokioUring => Self::new(Backend::TokioUring).or_else(|error| {
                tracing::warn!(%error, "transports run without io_uring");
                Self::new(Backend::Tokio)
            }),
            Backend::Tokio => Self::new(Backend::Tokio),
        }
    }

    /// Returns the backend.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match &self.0 {
            Kind::Uring(_) => Backend::TokioUring,
            Kind::Tokio { .. } => Backend::Tokio,
        }
    }

    /// Runs `future` to completion, along with the tasks that are spawned meanwhile. Remaining tasks are
    /// dropped with the runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match &self.0 {
            Kind::Uring(runtime) => runtime.block_on(future),
            Kind::Tokio { local, runtime } => local.block_on(runtime, future),
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runtime({})", self.backend())
    }
}
