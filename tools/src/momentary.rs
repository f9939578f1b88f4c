//! A node that lives as long as a command.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pinecone::{Node, SecretKey, StaticPeer, Status};

use crate::failure::Failure;
use crate::secret::{KeyLock, NodeKey};
use crate::{addresses, run, secret, stderr};

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
    let mut causes = Causes::default();
    let joined = tokio::time::timeout(JOIN_LIMIT, async {
        while let Some(status) = node.status().await {
            if has_joined(&status) {
                break;
            }
            for line in causes.news(&status.static_peers) {
                // Nobody may be there to read it.
                stderr::say(&format!("pinecone: {line}, trying again"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
    if joined.is_err() {
        let peers = node.status().await.map(|status| status.static_peers);
        node.close().await;
        return Err(Failure::runtime(format!(
            "no peering came up within {} s: {}",
            JOIN_LIMIT.as_secs(),
            reasons(&peers.unwrap_or_default())
        )));
    }
    Ok(Momentary { node, _lock: lock })
}

fn has_joined(status: &Status) -> bool {
    (status.peers.iter()).any(|peer| peer.root == Some(status.root))
}

/// Why peers are not connected, as far as it has been told.
#[derive(Debug, Default)]
struct Causes(BTreeMap<String, String>);

impl Causes {
    /// Returns what is to be told now, one line a peer: each cause once, until another takes its
    /// place.
    fn news(&mut self, peers: &[StaticPeer]) -> Vec<String> {
        let mut news = Vec::new();
        for peer in peers {
            let Some(error) = &peer.last_error else {
                continue;
            };
            let told = self.0.insert(peer.address.clone(), error.clone());
            if told.as_ref() != Some(error) {
                news.push(format!("{}: {error}", peer.address));
            }
        }
        news
    }
}

/// Returns for each peer why there is no peering with it.
fn reasons(peers: &[StaticPeer]) -> String {
    let reason = |peer: &StaticPeer| {
        let address = &peer.address;
        match &peer.last_error {
            _ if peer.state == "connected" => format!(
                "{address}: connected, but it has not announced itself: is it a Pinecone node?"
            ),
            Some(error) => format!("{address}: {error}: check that a node listens there"),
            None if peer.state == "ourselves" => format!("{address}: it has our own key"),
            None => format!("{address}: no answer yet ({})", peer.state),
        }
    };
    peers.iter().map(reason).collect::<Vec<_>>().join("; ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_once() {
        let peer = |address: &str, error: Option<&str>| StaticPeer {
            address: address.to_owned(),
            state: "waiting",
            failures: 1,
            last_error: error.map(str::to_owned),
            next_dial: None,
        };
        let mut causes = Causes::default();
        assert!(causes.news(&[peer("a:1", None)]).is_empty());
        let peers = [peer("a:1", Some("refused")), peer("b:2", Some("silent"))];
        assert_eq!(causes.news(&peers), ["a:1: refused", "b:2: silent"]);
        assert!(causes.news(&peers).is_empty());
        let peers = [peer("a:1", Some("refused")), peer("b:2", Some("refused"))];
        assert_eq!(causes.news(&peers), ["b:2: refused"]);
    }
}
