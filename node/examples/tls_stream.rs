//! A peering over a stream of one's own: TLS over a TCP connection.
//!
//! Peerings are not encrypted by themselves. Here the two ends of a TCP connection speak TLS, and the node takes the
//! decrypted stream.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use pinecone::{Direction, Node, StreamOptions};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // The server's certificate, which the client trusts.
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der())?;
    let server_config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone())?;
    let client_config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let server = Node::builder().start().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let accepting = tokio::spawn({
        let server = server.clone();
        async move {
            let (tcp, remote) = listener.accept().await?;
            let tls = TlsAcceptor::from(Arc::new(server_config))
                .accept(tcp)
                .await?;
            let options = StreamOptions {
                remote: format!("TLS {remote}"),
                direction: Direction::Inbound,
                ..StreamOptions::default()
            };
            Ok::<_, Box<dyn Error + Send + Sync>>(server.connect_relayed(tls, options).await?)
        }
    });

    let client = Node::builder().start().await?;
    let tcp = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::new(client_config));
    let tls = connector.connect("localhost".try_into()?, tcp).await?;
    let options = StreamOptions {
        remote: format!("TLS {address}"),
        ..StreamOptions::default()
    };
    client.connect_relayed(tls, options).await?;
    accepting.await?.map_err(|error| error.to_string())?;

    let key = server.public_key();
    client.reachable(&key, Duration::from_secs(10)).await?;
    client.send_to("hello", &key)?;
    let (payload, from) = server.recv_from().await?;
    println!("{}: {}", from.short(), String::from_utf8_lossy(&payload));
    client.close().await;
    server.close().await;
    Ok(())
}
