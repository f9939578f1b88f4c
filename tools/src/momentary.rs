//! A temporary node, which lives as long as a command.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pinecone::{Node, SecretKey, StaticPeer, StaticPeerState};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::secret::{KeyLock, NodeKey};
use crate::{addresses, secret, start_failure, stderr};

/// Default time limit for joining the network.
pub(crate) const JOIN_LIMIT: Duration = Duration::from_secs(15);
/// Interval at which the state of a joining node is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The side of an exchange that the node takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// The side that sends first.
    Asks,
    /// The side that answers.
    Answers,
}

/// A temporary node.
#[derive(Debug)]
pub(crate) struct Momentary {
    pub(crate) node: Node,
    _lock: KeyLock,
}

/// Starts a node and waits, at most for `limit`, until it follows the same root as one of its peers.
pub(crate) async fn join(
    connect: &[String],
    key_file: Option<&Path>,
    role: Role,
    limit: Duration,
) -> Result<Momentary, Failure> {
    let start = Instant::now();
    let peers = addresses::static_peers(connect)?;
    let NodeKey { key, lock } = match key_file {
        Some(path) => NodeKey::hold(path)?,
        None => NodeKey::unlocked(low_key(role)?),
    };
    addresses::check_any_resolves(peers, limit).await?;
    let mut builder = Node::builder().secret_key(key);
    for list in connect {
        builder = builder.connect(list.as_str());
    }
    let node = builder.start().await.map_err(start_failure::explain)?;
    let mut causes = Causes::default();
    let joined = tokio::time::timeout_at(start + limit, async {
        loop {
            tokio::select! {
                joined = node.joined() => return joined,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            for line in causes.news(&node.static_peers().await?) {
                stderr::say(&format!("pinecone: {line}, trying again"));
            }
        }
    })
    .await;
    let Ok(joined) = joined else {
        let peers = node.static_peers().await;
        node.close().await;
        return Err(Failure::runtime(format!(
            "no peering came up within {} s: {}",
            limit.as_secs_f64(),
            reasons(&peers.unwrap_or_default())
        )));
    };
    joined.map_err(Failure::runtime)?;
    Ok(Momentary { node, _lock: lock })
}

/// The last error of each static peer that has been reported.
#[derive(Debug, Default)]
struct Causes(BTreeMap<String, String>);

impl Causes {
    /// Returns a line for each peer whose error has changed.
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

/// Explains for each peer why there is no peering with it.
fn reasons(peers: &[StaticPeer]) -> String {
    let reason = |peer: &StaticPeer| {
        let address = &peer.address;
        match &peer.last_error {
            _ if peer.state == StaticPeerState::Connected => format!(
                "{address}: connected, but it has not announced itself: is it a Pinecone node?"
            ),
            Some(error) => format!("{address}: {error}: check that a node listens there"),
            None => format!("{address}: no answer yet ({})", peer.state),
        }
    };
    peers.iter().map(reason).collect::<Vec<_>>().join("; ")
}

/// Returns a new key that is low.
///
/// The node with the highest key is the root, and a root that soon leaves disturbs the whole network. Moreover, a node
/// reaches higher keys as soon as it has a parent, but a lower key only after that key's next bootstrap, up to 5 s
/// later.
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
            state: StaticPeerState::Waiting,
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
