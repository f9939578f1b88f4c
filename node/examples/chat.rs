//! A chat between nodes that listen and dial over TCP, with keys that are kept in files.
//!
//! Without arguments, three members chat in one process and leave. With arguments, it is a chat program:
//!
//! ```sh
//! cargo run -p pinecone --example chat -- KEYFILE LISTEN CONNECT [KEY...]
//! cargo run -p pinecone --example chat -- a.key :7001 ""
//! cargo run -p pinecone --example chat -- b.key :7002 localhost:7001 KEY-OF-A
//! ```
//!
//! Lines from standard input are sent to all `KEY`s, and to all members that have written before.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use pinecone::{Closed, KeyFile, Node, PublicKey, SecretKey, SendError, StartError};

/// A member of the chat.
struct Member {
    node: Node,
    others: BTreeSet<PublicKey>,
}

impl Member {
    async fn join(key: SecretKey, listen: &str, connect: &str) -> Result<Self, StartError> {
        let node = Node::builder()
            .secret_key(key)
            .listen(listen)
            .connect(connect)
            .start()
            .await?;
        let others = BTreeSet::new();
        Ok(Self { node, others })
    }

    /// Sends a line to all others. A member that cannot be reached does not get it.
    async fn say(&self, line: &str) -> Result<(), SendError> {
        for other in &self.others {
            while let Err(error) = self.node.send_to(line, other) {
                match error {
                    SendError::Full => self.node.send_ready(other).await?,
                    error => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Receives a line from any member, who is answered from now on.
    async fn hear(&mut self) -> Result<String, Closed> {
        let (line, from) = self.node.recv_from().await?;
        self.others.insert(from);
        // The sender is only a claim: a real chat signs and encrypts its lines.
        Ok(format!(
            "{}: {}",
            from.short(),
            String::from_utf8_lossy(&line)
        ))
    }
}

/// Chats until the end of standard input.
async fn chat(mut member: Member) -> Result<(), Box<dyn Error>> {
    println!("your key is {}", member.node.public_key());
    let (lines, mut input) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    loop {
        tokio::select! {
            heard = member.hear() => println!("{}", heard?),
            line = input.recv() => match line {
                Some(line) => member.say(&line).await?,
                None => break,
            },
        }
    }
    member.node.close().await;
    Ok(())
}

/// Lets three members talk, one of whom the other two dial.
async fn demonstrate() -> Result<(), Box<dyn Error>> {
    let key = pinecone::generate_key;
    let mut host = Member::join(key()?, "127.0.0.1:0", "").await?;
    let address = host.node.local_addrs()[0].to_string();
    let host_key = host.node.public_key();
    for name in ["ann", "bob"] {
        let mut guest = Member::join(key()?, "127.0.0.1:0", &address).await?;
        guest.others.insert(host_key);
        guest.node.joined().await?;
        guest
            .node
            .reachable(&host_key, Duration::from_secs(10))
            .await?;
        guest.say(&format!("I am {name}")).await?;
        println!("{}", host.hear().await?);
        let guest_key = guest.node.public_key();
        host.node
            .reachable(&guest_key, Duration::from_secs(10))
            .await?;
        host.say("welcome").await?;
        println!("{}", guest.hear().await?);
        guest.node.close().await;
        host.others.remove(&guest_key);
    }
    host.node.close().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [key_file, listen, connect, keys @ ..] = arguments.as_slice() else {
        return demonstrate().await;
    };
    let key = SecretKey::load_or_create(Path::new(key_file))?;
    let mut member = Member::join(key, listen, connect).await?;
    for key in keys {
        member.others.insert(key.parse()?);
    }
    chat(member).await
}
