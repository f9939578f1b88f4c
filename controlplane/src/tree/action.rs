//! The decision about an announcement.

use std::cmp::Ordering;

/// The reaction to an announcement (protocol section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Do nothing.
    Drop,
    /// Forward the parent's news.
    AcceptUpdate,
    /// Take the sender as the parent.
    AcceptNewParent,
    /// Send this node's announcement to the sender, which follows a lower root.
    InformPeer,
    /// Select a parent.
    SelectParent,
    /// Drop the parent because of bad news, and select another after a delay.
    SelectParentWithWait,
}

/// An announcement compared with this node's root at the time of its arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    /// Set if the parent sent it.
    pub(crate) from_parent: bool,
    /// Set if it must not be followed, because this node's key is among the signers or there are too many of them.
    pub(crate) unfit: bool,
    /// Its root key compared with that of this node's root.
    pub(crate) root: Ordering,
    /// Its root sequence compared with that of this node's root.
    pub(crate) sequence: Ordering,
}

impl Update {
    pub(crate) fn action(self) -> Action {
        if self.from_parent {
            self.action_from_parent()
        } else {
            self.action_from_other()
        }
    }

    fn action_from_parent(self) -> Action {
        if self.unfit {
            return Action::SelectParentWithWait;
        }
        match (self.root, self.sequence) {
            (Ordering::Greater, _) | (Ordering::Equal, Ordering::Greater) => Action::AcceptUpdate,
            (Ordering::Less, _) | (Ordering::Equal, Ordering::Equal) => {
                Action::SelectParentWithWait
            }
            // A replay. The peering is closed before this is reached.
            (Ordering::Equal, Ordering::Less) => Action::Drop,
        }
    }

    fn action_from_other(self) -> Action {
        match self.root {
            _ if self.unfit => Action::Drop,
            Ordering::Greater => Action::AcceptNewParent,
            Ordering::Less => Action::InformPeer,
            Ordering::Equal => Action::SelectParent,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_recorded_decision() {
        let file: Value = serde_json::from_str(include_str!(
            "../../../wire/vectors/announcement_action.json"
        ))
        .unwrap();
        let cases = file["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 270);
        for case in cases {
            let number = |i: usize| case[i].as_str().unwrap().parse::<u64>().unwrap();
            let update = Update {
                from_parent: case[0].as_bool().unwrap(),
                unfit: case[1].as_bool().unwrap(),
                root: case[2].as_i64().unwrap().cmp(&0),
                sequence: number(3).cmp(&number(4)),
            };
            let expected = match case[5].as_str().unwrap() {
                "DropFrame" => Action::Drop,
                "AcceptUpdate" => Action::AcceptUpdate,
                "AcceptNewParent" => Action::AcceptNewParent,
                "InformPeerOfStrongerRoot" => Action::InformPeer,
                "SelectNewParent" => Action::SelectParent,
                "SelectNewParentWithWait" => Action::SelectParentWithWait,
                other => panic!("unknown action {other}"),
            };
            assert_eq!(update.action(), expected, "{case}");
        }
    }
}
