//! Tests of handshakes over in-memory streams, and helpers for all tests of TLS.

mod broken_streams;
mod certificates;
mod files;
mod foreign;
mod handshakes;
mod node_keys;
mod openssl;
mod reload;

use std::sync::Arc;
use std::time::Duration;

use pinecone_wire::SecretKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::*;

/// A time limit that is only reached on a failure.
const DEADLINE: Duration = Duration::from_secs(60);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// Returns a node that needs no roots: reading them fails the test.
fn node(n: u8, options: TlsOptions) -> Tls {
    Tls::with_system_roots(&key(n), options, || panic!("the system's roots are read")).unwrap()
}

/// Returns a node on a machine without root certificates.
fn node_without_roots(n: u8, options: TlsOptions) -> Tls {
    Tls::with_system_roots(&key(n), options, Vec::new).unwrap()
}

/// Returns a client that trusts `authority` alone.
fn client_trusting(authority: &certificates::Authority) -> Tls {
    node_without_roots(2, certificates::Files::new().trusting(authority))
}

fn target(application: Application, host: &str) -> TlsTarget {
    TlsTarget::new(application, host, None, None).unwrap()
}

type Outcome = Result<TlsStream<DuplexStream>, TlsError>;

/// Performs a handshake, and returns its outcome at the client and at the server.
async fn handshake(
    client: &Tls,
    target: &TlsTarget,
    server: &Tls,
    application: Application,
) -> (Outcome, Outcome) {
    let (near, far) = duplex(4096);
    let both = async {
        tokio::join!(
            client.connect(target, near),
            server.accept(application, far)
        )
    };
    tokio::time::timeout(DEADLINE, both).await.unwrap()
}

/// Sends bytes each way.
async fn exchange(one: &mut TlsStream<DuplexStream>, other: &mut TlsStream<DuplexStream>) {
    for _ in 0..2 {
        let mut buffer = [0; 5];
        one.write_all(b"hello").await.unwrap();
        one.flush().await.unwrap();
        other.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"hello");
        other.write_all(b"world").await.unwrap();
        other.flush().await.unwrap();
        one.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"world");
    }
}
