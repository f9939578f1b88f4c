//! Listening on addresses, waiting for addresses that do not exist yet, and listening on further ones.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::uri::Host;
use crate::{
    BoundListener, DialError, Established, ListenError, ListenUri, Listening, Scheme, Transports,
};

/// Pause between two attempts to listen.
const RETRY: Duration = Duration::from_secs(2);

/// An address to listen on, and the sockets that are already bound.
#[derive(Debug)]
pub struct Listen {
    address: Arc<ListenUri>,
    bound: Vec<BoundListener>,
    /// The reason why sockets are missing, if they are waited for.
    missing: Option<String>,
}

/// The listeners of one address, which [`Transports::listen_on`] started. Dropping this ends them.
#[derive(Debug)]
pub struct StartedListeners {
    address: Arc<ListenUri>,
    listening: Vec<Listening>,
}

/// An address that is listened on. It is displayed like the URI of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalListener {
    /// The scheme.
    pub scheme: Scheme,
    /// The address, with the actual port.
    pub address: SocketAddr,
}

impl fmt::Display for LocalListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Tcp => self.address.fmt(f),
            scheme => write!(f, "{scheme}://{}", self.address),
        }
    }
}

impl From<&BoundListener> for LocalListener {
    fn from(bound: &BoundListener) -> Self {
        Self {
            scheme: bound.scheme(),
            address: bound.local_addr(),
        }
    }
}

impl From<&Listening> for LocalListener {
    fn from(listening: &Listening) -> Self {
        Self {
            scheme: listening.scheme(),
            address: listening.local_addr(),
        }
    }
}

/// An address that is not listened on yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingListener {
    /// The address as configured.
    pub address: String,
    /// The reason.
    pub error: String,
}

impl Listen {
    /// Binds an address, which must exist.
    ///
    /// # Errors
    /// The address is malformed or cannot be listened on.
    pub fn now(address: &str) -> Result<Self, ListenError> {
        let address = Arc::new(address.parse()?);
        Ok(Self {
            bound: BoundListener::bind(&address)?,
            address,
            missing: None,
        })
    }

    /// Refuses a `wss://` address if there are no certificate files.
    ///
    /// # Errors
    /// [`ListenError::NoCertificate`].
    pub fn check_certificate(&self, has_files: bool) -> Result<(), ListenError> {
        self.address.check_certificate(has_files)
    }

    /// Binds an address if it exists. Otherwise, and for a name, leaves it to
    /// [`Transports::keep_listening`], so that this does not block.
    ///
    /// # Errors
    /// The address is malformed or in use.
    pub fn when_possible(address: &str) -> Result<Self, ListenError> {
        let address: Arc<ListenUri> = Arc::new(address.parse()?);
        let mut this = Self {
            bound: Vec::new(),
            missing: None,
            address,
        };
        if this.address.is_name() {
            this.missing = Some("not looked up yet".to_owned());
            return Ok(this);
        }
        match BoundListener::bind(&this.address) {
            Ok(bound) => this.bound = bound,
            Err(error @ ListenError::InUse { .. }) => return Err(error),
            Err(error) => this.missing = Some(error.to_string()),
        }
        Ok(this)
    }
}

/// The listeners of a node, including those that wait for their addresses. They end with
/// [`Listeners::end`], or when the last clone is dropped.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    state: Arc<Mutex<Vec<State>>>,
    tasks: Arc<Mutex<Tasks>>,
}

#[derive(Debug)]
struct State {
    address: Arc<ListenUri>,
    bound: Vec<LocalListener>,
    missing: Option<String>,
}

#[derive(Debug, Default)]
struct Tasks {
    waiting: Vec<JoinHandle<()>>,
    listening: Vec<Listening>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.waiting.iter().for_each(JoinHandle::abort);
    }
}

impl Listeners {
    /// Returns the addresses that are listened on, in the order of the configuration. Those that were
    /// [added](Self::add) come last.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let states = lock(&self.state);
        states
            .iter()
            .flat_map(|s| s.bound.iter().map(|listener| listener.address))
            .collect()
    }

    /// Returns the listeners in the order of [`Self::local_addrs`].
    #[must_use]
    pub fn list(&self) -> Vec<LocalListener> {
        let states = lock(&self.state);
        let all = states.iter().flat_map(|s| s.bound.iter().copied());
        all.collect()
    }

    /// Adds listeners, which then last as long as the others. Returns the addresses that they listen on.
    pub fn add(&self, started: StartedListeners) -> Vec<SocketAddr> {
        let StartedListeners { address, listening } = started;
        let bound: Vec<_> = listening.iter().map(LocalListener::from).collect();
        for address in &bound {
            tracing::info!(%address, "listening");
        }
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.listening.extend(listening);
        drop(tasks);
        lock(&self.state).push(State {
            address,
            bound: bound.clone(),
            missing: None,
        });
        bound.iter().map(|listener| listener.address).collect()
    }

    /// Stops listening and waiting.
    pub fn end(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        *tasks = Tasks::default();
    }

    /// Returns the addresses that are waited for.
    #[must_use]
    pub fn missing(&self) -> Vec<MissingListener> {
        let states = lock(&self.state);
        let missing = states.iter().filter_map(|state| {
            Some(MissingListener {
                address: state.address.to_string(),
                error: state.missing.clone()?,
            })
        });
        missing.collect()
    }
}

impl Transports {
    /// [Serves](Self::listen) the bound sockets and waits for missing ones, with tasks of this runtime.
    ///
    /// # Errors
    /// The runtime cannot poll a socket.
    pub fn keep_listening(
        &self,
        all: Vec<Listen>,
        established: &mpsc::Sender<Established>,
    ) -> io::Result<Listeners> {
        let mut states = Vec::new();
        let mut tasks = Tasks::default();
        let mut waiting = Vec::new();
        for (index, listen) in all.into_iter().enumerate() {
            states.push(State {
                bound: listen.bound.iter().map(LocalListener::from).collect(),
                address: listen.address.clone(),
                missing: listen.missing.clone(),
            });
            for listener in listen.bound {
                let listening = self.listen(listener, established.clone())?;
                tasks.listening.push(listening);
            }
            if let Some(error) = listen.missing {
                tracing::warn!(address = %listen.address, %error, "waiting to listen");
                waiting.push((index, listen.address));
            }
        }
        let state = Arc::new(Mutex::new(states));
        for (index, address) in waiting {
            let waiter = Waiter {
                transports: self.clone(),
                established: established.clone(),
                state: Arc::clone(&state),
                index,
                address,
            };
            tasks.waiting.push(tokio::task::spawn_local(waiter.run()));
        }
        Ok(Listeners {
            state,
            tasks: Arc::new(Mutex::new(tasks)),
        })
    }
}

impl Transports {
    /// Listens on an address or, for a name, on all of its addresses that this machine has, with tasks of
    /// this runtime. A name is looked up without blocking.
    ///
    /// # Errors
    /// The name does not resolve within the limit, an address is in use, or none can be listened on.
    pub async fn listen_on(
        &self,
        uri: ListenUri,
        established: &mpsc::Sender<Established>,
    ) -> Result<StartedListeners, ListenError> {
        let address = Arc::new(uri);
        address.check_certificate(self.shared.has_certificate_files())?;
        let found = match &address.host {
            Some(host @ Host::Name(name)) => {
                let limit = self.shared.limits.lookup_timeout;
                let resolver = &self.shared.resolver;
                let found = resolver.resolve(host, address.port, limit).await;
                Some(found.map_err(|error| unresolved(name, error))?)
            }
            _ => None,
        };
        let bound = match found {
            Some(found) => BoundListener::bind_each(&address, found)?,
            None => BoundListener::bind(&address)?,
        };
        let start = |listener: BoundListener| {
            let address = listener.local_addr();
            let started = self.listen(listener, established.clone());
            started.map_err(|source| ListenError::Io { address, source })
        };
        let listening = bound.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(StartedListeners { address, listening })
    }
}

fn unresolved(host: &str, error: DialError) -> ListenError {
    ListenError::Resolve {
        host: host.to_owned(),
        source: match error {
            DialError::Resolve(source) => source,
            other => io::Error::new(io::ErrorKind::TimedOut, other.to_string()),
        },
    }
}

/// A task that waits for one address.
struct Waiter {
    transports: Transports,
    established: mpsc::Sender<Established>,
    state: Arc<Mutex<Vec<State>>>,
    index: usize,
    address: Arc<ListenUri>,
}

impl Waiter {
    async fn run(self) {
        let mut listening = Vec::new();
        let mut logged = None;
        loop {
            let missing = self.attempt(&mut listening).await;
            if let Some(error) = &missing
                && logged.as_ref() != Some(error)
            {
                tracing::info!(address = %self.address, %error, "not listening yet");
            }
            self.update(|state| state.missing.clone_from(&missing));
            if missing.is_none() {
                break;
            }
            logged = missing;
            sleep(RETRY).await;
        }
        // The listeners live as long as this task.
        std::future::pending::<()>().await;
    }

    /// Listens on the addresses that exist now. Returns the reason if any is missing.
    async fn attempt(&self, listening: &mut Vec<Listening>) -> Option<String> {
        let mut missing = None;
        let Some(host) = &self.address.host else {
            return self.start(BoundListener::bind_all(&self.address), listening);
        };
        let limits = &self.transports.shared.limits;
        let resolver = &self.transports.shared.resolver;
        let found = resolver.resolve(host, self.address.port, limits.lookup_timeout);
        let found = match found.await {
            Ok(found) => found,
            Err(error) => return Some(error.to_string()),
        };
        let bound: Vec<IpAddr> = listening.iter().map(|l| l.local_addr().ip()).collect();
        for address in found.into_iter().filter(|a| !bound.contains(&a.ip())) {
            let bound = BoundListener::bind_one(&self.address, address);
            let failed = self.start(bound.map(|listener| vec![listener]), listening);
            missing = failed.or(missing);
        }
        missing
    }

    fn start(
        &self,
        bound: Result<Vec<BoundListener>, ListenError>,
        listening: &mut Vec<Listening>,
    ) -> Option<String> {
        let bound = match bound {
            Ok(bound) => bound,
            Err(error) => return Some(error.to_string()),
        };
        for listener in bound {
            match self.transports.listen(listener, self.established.clone()) {
                Ok(started) => {
                    let local = LocalListener::from(&started);
                    tracing::info!(address = %local, "listening");
                    listening.push(started);
                    self.update(|state| state.bound.push(local));
                }
                Err(error) => return Some(error.to_string()),
            }
        }
        None
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        if let Some(state) = lock(&self.state).get_mut(self.index) {
            change(state);
        }
    }
}

fn lock(state: &Mutex<Vec<State>>) -> MutexGuard<'_, Vec<State>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
