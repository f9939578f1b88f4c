//! Name lookups.
//!
//! The system's resolver blocks and cannot be interrupted, so each lookup has a thread. The number of
//! threads is bounded, and lookups of the same name share one: a name whose servers do not answer
//! occupies one thread and delays no other name.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::DialError;
use crate::uri::Host;

/// Number of lookups that may run at the same time.
const AT_ONCE: usize = 32;

/// Looks up the addresses of a host. Their ports are ignored.
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

type Answer = Option<Result<Vec<SocketAddr>, Arc<io::Error>>>;

/// Looks up names, a bounded number at a time.
#[derive(Clone)]
pub(crate) struct Resolver(Arc<State>);

struct State {
    lookup: Box<Lookup>,
    threads: Arc<Semaphore>,
    running: Mutex<HashMap<String, watch::Receiver<Answer>>>,
}

impl Resolver {
    /// Creates a resolver that uses the system's.
    pub(crate) fn system() -> Self {
        Self::new(|host| Ok((host, 0).to_socket_addrs()?.collect()))
    }

    pub(crate) fn new(
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(State {
            lookup: Box::new(lookup),
            threads: Arc::new(Semaphore::new(AT_ONCE)),
            running: Mutex::default(),
        }))
    }

    /// Returns the distinct addresses of a host, in the resolver's order, with `port`. The limit does not
    /// include the wait for a free thread.
    pub(crate) async fn resolve(
        &self,
        host: &Host,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let name = match host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
            Host::Name(name) => name,
        };
        let mut answer = self.ask(name).await.map_err(DialError::Resolve)?;
        let answered = timeout(limit, answer.wait_for(Option::is_some)).await;
        let found = match answered {
            Err(_) => return Err(DialError::LookupTimeout(limit)),
            Ok(Ok(answer)) => answer.clone(),
            Ok(Err(_)) => None,
        };
        let found = match found {
            Some(Ok(found)) => found,
            Some(Err(e)) => {
                return Err(DialError::Resolve(io::Error::new(e.kind(), e.to_string())));
            }
            None => return Err(DialError::Resolve(io::Error::other("the lookup ended"))),
        };
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for mut address in found {
            address.set_port(port);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(DialError::Resolve(io::Error::other(
                "the name has no address",
            )));
        }
        Ok(addresses)
    }

    /// Starts a lookup, or joins a running one for the same name.
    async fn ask(&self, name: &str) -> io::Result<watch::Receiver<Answer>> {
        if let Some(answer) = self.running().get(name) {
            return Ok(answer.clone());
        }
        let permit = Arc::clone(&self.0.threads).acquire_owned().await;
        let permit = permit.map_err(|_| io::Error::other("lookups have ended"))?;
        let (sender, receiver) = watch::channel(None);
        {
            let mut running = self.running();
            // Another may have started while this one waited for a thread.
            if let Some(answer) = running.get(name) {
                return Ok(answer.clone());
            }
            running.insert(name.to_owned(), receiver.clone());
        }
        let (this, owned) = (self.clone(), name.to_owned());
        let started = std::thread::Builder::new()
            .name("resolver".into())
            .spawn(move || {
                let _permit = permit;
                let found = (this.0.lookup)(&owned);
                this.running().remove(&owned);
                sender.send_replace(Some(found.map_err(Arc::new)));
            });
        if let Err(error) = started {
            self.running().remove(name);
            return Err(error);
        }
        Ok(receiver)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Answer>>> {
        (self.0.running)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    fn name(name: &str) -> Host {
        Host::Name(name.to_owned())
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { timeout(LONG, test).await.unwrap() });
    }

    #[test]
    fn addresses_are_distinct_and_in_order() {
        let resolver = Resolver::new(|host| {
            assert_eq!(host, "many");
            let all = ["192.0.2.2:0", "[::1]:0", "192.0.2.2:0"];
            Ok(all.iter().map(|a| a.parse().unwrap()).collect())
        });
        run(async {
            let found = resolver.resolve(&name("many"), 7, LONG).await.unwrap();
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, ["192.0.2.2:7", "[::1]:7"]);
        });
    }

    #[test]
    fn a_stuck_name_holds_one_thread_and_delays_no_other() {
        static STUCK: AtomicUsize = AtomicUsize::new(0);
        static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
        let resolver = Resolver::new(|host| {
            if host == "stuck" {
                STUCK.fetch_add(1, Ordering::SeqCst);
                let released = RELEASED.0.lock().unwrap();
                drop(RELEASED.1.wait_while(released, |released| !*released));
            }
            Ok(vec!["192.0.2.1:0".parse().unwrap()])
        });
        run(async {
            // More lookups than there are threads.
            for _ in 0..AT_ONCE + 1 {
                let error = resolver
                    .resolve(&name("stuck"), 1, SHORT)
                    .await
                    .unwrap_err();
                assert!(matches!(error, DialError::LookupTimeout(SHORT)), "{error}");
            }
            assert_eq!(STUCK.load(Ordering::SeqCst), 1);
            resolver.resolve(&name("other"), 1, LONG).await.unwrap();
            *RELEASED.0.lock().unwrap() = true;
            RELEASED.1.notify_all();
            resolver.resolve(&name("stuck"), 1, LONG).await.unwrap();
        });
    }
}
