//! Two nodes in one process: a key that is kept in a file, a packet filter, and events.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pinecone::{Event, Node, PacketFilter, PortId, SecretKey};

/// Drops traffic frames longer than this.
struct AtMost(usize);

impl PacketFilter for AtMost {
    fn pass(&self, _ingress: PortId, frame: &[u8]) -> bool {
        frame.len() <= self.0
    }
}

/// Reads a key, or makes one that only this user can read.
fn load_or_create(path: &Path) -> Result<SecretKey, Box<dyn Error>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().parse()?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let key = pinecone::generate_key()?;
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            for byte in key.seed().iter() {
                write!(file, "{byte:02x}")?;
            }
            Ok(key)
        }
        Err(e) => Err(e.into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join("pinecone-example-key");
    let key = load_or_create(&path)?;
    let a = Node::builder().secret_key(key).start().await?;
    let b = Node::builder().start().await?;
    a.set_packet_filter(Some(Arc::new(AtMost(1500))));

    let mut events = a.events();
    pinecone::pipe(&a, &b).await?;
    while let Some(event) = events.next().await {
        println!("{event:?}");
        if let Event::PeerAdded { .. } = event {
            break;
        }
    }

    let patience = Duration::from_secs(10);
    a.reachable(&b.public_key(), patience).await?;
    println!("at most {} bytes in a payload", a.max_payload());
    a.send_to("hello", &b.public_key())?;
    let received = b.recv_from().await;
    println!("{received:?}");

    a.close().await;
    b.close().await;
    Ok(())
}
