//! The thread's executor: tokio-uring where io_uring can be had, tokio elsewhere.

use std::fmt;
use std::future::Future;
use std::io;

use tokio::task::LocalSet;

/// Entries of the submission queue.
const RING_ENTRIES: u32 = 256;
/// Entries of the completion queue: more than handshakes that may be in flight.
const RING_COMPLETIONS: u32 = 4096;

/// What moves the bytes of handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring, through `tokio-uring`.
    TokioUring,
    /// Readiness polling, through `tokio`: where io_uring is missing or forbidden.
    Tokio,
}

impl Backend {
    /// [`Backend::TokioUring`] if this process may set up a ring, else [`Backend::Tokio`].
    #[must_use]
    pub fn detect() -> Self {
        match io_uring::IoUring::new(8) {
            Ok(_) => Self::TokioUring,
            Err(error) => {
                tracing::debug!(%error, "no io_uring for transports");
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

/// A single-threaded executor. Timers, channels, signals and [`tokio::task::spawn_local`] work in
/// it whatever the backend. It stays on the thread that made it.
pub struct Runtime(Kind);

enum Kind {
    Uring(tokio_uring::Runtime),
    Tokio {
        // Before the runtime: tasks go first.
        local: LocalSet,
        runtime: tokio::runtime::Runtime,
    },
}

impl Runtime {
    /// Makes one. Must not be called, nor the result dropped, within another runtime.
    ///
    /// # Errors
    /// The system refused a ring (with [`Backend::TokioUring`]), an epoll instance or memory.
    pub fn new(backend: Backend) -> io::Result<Self> {
        Ok(Self(match backend {
            Backend::TokioUring => {
                let mut builder = tokio_uring::builder();
                builder.entries(RING_ENTRIES);
                let mut ring = tokio_uring::uring_builder();
                ring.setup_cqsize(RING_COMPLETIONS);
                builder.uring_builder(&ring);
                Kind::Uring(tokio_uring::Runtime::new(&builder)?)
            }
            Backend::Tokio => Kind::Tokio {
                local: LocalSet::new(),
                runtime: tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?,
            },
        }))
    }

    /// One with the detected backend; should its ring be refused after all, one without.
    ///
    /// # Errors
    /// Neither can be made.
    pub fn detect() -> io::Result<Self> {
        match Backend::detect() {
            Backend::TokioUring => Self::new(Backend::TokioUring).or_else(|error| {
                tracing::warn!(%error, "transports go without io_uring");
                Self::new(Backend::Tokio)
            }),
            Backend::Tokio => Self::new(Backend::Tokio),
        }
    }

    /// Which backend it has.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match &self.0 {
            Kind::Uring(_) => Backend::TokioUring,
            Kind::Tokio { .. } => Backend::Tokio,
        }
    }

    /// Runs `future` to its end, and tasks spawned meanwhile beside it. Tasks left over are
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
