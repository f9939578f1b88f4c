//! Reloading while connections stay up.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::super::files as files_of;
use super::certificates::{Authority, Files, Pair, expired, not_yet_valid};
use super::*;
use Application::Http;

/// Counts log lines of a level.
struct Count(Level, Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == self.0 {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reloads, and returns the outcome and the number of lines at ERROR and at INFO.
fn reload(tls: &Tls) -> (Result<(), TlsConfigError>, [usize; 2]) {
    let counts = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let subscriber = tracing_subscriber::registry()
        .with(Count(Level::ERROR, counts[0].clone()))
        .with(Count(Level::INFO, counts[1].clone()));
    let outcome = tracing::subscriber::with_default(subscriber, || tls.reload());
    (outcome, counts.map(|count| count.load(Ordering::Relaxed)))
}

/// Reports whether `server` has a certificate for `name`.
async fn has(client: &Tls, server: &Tls, name: &str) -> bool {
    let (near, _) = handshake(client, &target(Http, name), server, Http).await;
    match near {
        Ok(_) => true,
        Err(TlsError::WrongName { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn new_handshakes_get_the_new_certificate_and_connections_stay() {
    let authority = Authority::new("authority");
    let files = Files::with(&authority.issue(&["old.test"]));
    let server = node(1, files.options());
    let client = node_without_roots(2, files.trusting(&authority));
    let (near, far) = handshake(&client, &target(Http, "old.test"), &server, Http).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());

    let (outcome, lines) = reload(&server);
    assert!(outcome.is_ok());
    assert_eq!(lines, [0, 0], "nothing has changed");

    files.write(&authority.issue(&["new.test"]));
    assert!(has(&client, &server, "old.test").await);
    let (outcome, lines) = reload(&server);
    assert!(outcome.is_ok());
    assert_eq!(lines, [0, 1]);
    assert!(has(&client, &server, "new.test").await);
    assert!(!has(&client, &server, "old.test").await);
    exchange(&mut near, &mut far).await;
}

#[tokio::test]
async fn bad_files_leave_the_old_certificate_in_force() {
    let authority = Authority::new("authority");
    let good = authority.issue(&["old.test"]);
    let files = Files::with(&good);
    let server = node(1, files.options());
    let client = node_without_roots(2, files.trusting(&authority));
    let other = authority.issue(&["new.test"]);
    let mismatch = Pair {
        key: good.key.clone(),
        ..other.clone()
    };
    let malformed = Pair {
        certificate: other.certificate.replace("-----END", ""),
        ..other.clone()
    };
    for bad in [
        mismatch,
        malformed,
        authority.issue_with(expired(&["new.test"])),
        authority.issue_with(not_yet_valid(&["new.test"])),
    ] {
        files.write(&bad);
        let (outcome, lines) = reload(&server);
        assert!(outcome.is_err());
        assert_eq!(lines, [1, 0], "one line at ERROR");
        let now = files_of(&server.0.options);
        assert_eq!(*server.loaded(), now, "`watch` does not try them again");
        assert!(has(&client, &server, "old.test").await);
    }
    files.write(&good);
    fs::remove_file(files.path("key.pem")).unwrap();
    let (outcome, lines) = reload(&server);
    assert!(matches!(outcome, Err(TlsConfigError::Unreadable { .. })));
    assert_eq!(lines, [1, 0]);
    assert!(has(&client, &server, "old.test").await);

    files.write(&other);
    assert!(reload(&server).0.is_ok());
    assert!(has(&client, &server, "new.test").await);
}

#[tokio::test]
async fn authorities_are_reloaded() {
    let [old, new] = ["old", "new"].map(Authority::new);
    let server = node(1, Files::with(&new.issue(&["node.test"])).options());
    let files = Files::new();
    let client = node_without_roots(2, files.trusting(&old));
    let target = target(Http, "node.test");
    let (near, _) = handshake(&client, &target, &server, Http).await;
    assert!(matches!(near, Err(TlsError::UnknownIssuer)));

    files.put("authority.pem", "no PEM");
    let (outcome, lines) = reload(&client);
    assert!(outcome.is_err());
    assert_eq!(lines, [1, 0]);

    files.put("authority.pem", &new.pem());
    let (outcome, lines) = reload(&client);
    assert!(outcome.is_ok());
    assert_eq!(lines, [0, 1]);
    let (near, _) = handshake(&client, &target, &server, Http).await;
    assert!(near.is_ok());
}

#[tokio::test]
async fn changed_files_are_noticed() {
    let authority = Authority::new("authority");
    let files = Files::with(&authority.issue(&["old.test"]));
    let server = node(1, files.options());
    let client = node_without_roots(2, files.trusting(&authority));
    let watching = {
        let server = server.clone();
        tokio::spawn(async move { server.watch(Duration::from_millis(5)).await })
    };
    let waiting = async {
        assert!(has(&client, &server, "old.test").await);
        for name in ["new.test", "newer.test"] {
            files.write(&authority.issue(&[name]));
            while !has(&client, &server, name).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap();
    assert!(!watching.is_finished());
    watching.abort();
}

#[tokio::test]
async fn without_files_there_is_nothing_to_watch() {
    let server = node(1, TlsOptions::default());
    let watching = server.watch(DEADLINE);
    tokio::time::timeout(DEADLINE / 2, watching).await.unwrap();
}
