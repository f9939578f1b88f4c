//! A node that lives as long as a command.

use std::path::Path;
use std::time::Duration;

use pinecone::{Node, SecretKey};

use crate::failure::Failure;
use crate::secret::{KeyLock, NodeKey};
use crate::{addresses, run, secret};

/// How long it may take to find a place in the network.
const JOIN_LIMIT: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What the node is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// It speaks first, to others.
    Asks,
    /// Others speak first.
    Answers,
}

/// A node for the moment.
#[derive(Debug)]
pub(crate) struct Momentary {
    pub(crate) node: Node,
    _lock: KeyLock,
}

/// Starts a node and waits until it follows the same root as one of its peers.
pub(crate) async fn join(
    connect: &[String],
    key_file: Option<&Path>,
    role: Role,
) -> Result<Momentary, Failure> {
    addresses::check_static_peers(connect)?;
    let NodeKey { key, lock } = match key_file {
        Some(path) => NodeKey::hold(path)?,
        None => NodeKey::unlocked(low_key(role)?),
    };
    let mut builder = Node::builder().secret_key(key);
    for list in connect {
        builder = builder.connect(list.as_str());
    }
    let node = builder.start().await.map_err(run::start_failure)?;
    let joined = tokio::time::timeout(JOIN_LIMIT, async {
        while !has_joined(&node).await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
    if joined.is_err() {
        node.close().await;
        return Err(Failure::runtime(format!(
            "no peering with {} came up within {} s: check that a node listens there",
            connect.join(","),
            JOIN_LIMIT.as_secs()
        )));
    }
    Ok(Momentary { node, _lock: lock })
}

async fn has_joined(node: &Node) -> bool {
    node.status()
        .await
        .is_some_and(|status| status.peers.iter().any(|p| p.root == Some(status.root)))
}

/// A new key that is low. The highest key is the root, and a root that leaves at once is a nuisance
/// to the whole network. And a node reaches higher keys as soon as it has a parent, but a lower one
/// only when that one's next bootstrap has come by, up to 5 s later.
fn low_key(role: Role) -> Result<SecretKey, Failure> {
    let candidates = match role {
        Role::Asks => 512,
        Role::Answers => 8,
    };
    let mut lowest = secret::generate()?;
    for _ in 1..candidates {
        let key = secret::generate()?;
        if key.public_key() < lowest.public_key() {
            lowest = key;
        }
    }
    Ok(lowest)
}
