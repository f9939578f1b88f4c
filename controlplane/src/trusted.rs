//! Announcement signatures that have been verified before.

use pinecone_wire::{Announcement, PublicKey, announcement::Entry};

use crate::generations::Generations;

/// Prefixes of announcements whose signatures have been verified.
///
/// Announcements that come down the same branch of the tree begin alike, so each costs little more than its last
/// signature.
///
/// A prefix is identified by a number that is never reused. It stands for exact bytes: those of the prefix before it
/// and everything after that. So only signatures that were verified count as verified, and no verdict differs from that
/// of verifying again. A prefix that was dropped is verified again.
pub(crate) struct Trusted {
    prefixes: Generations<Step, u64>,
    last: u64,
}

/// A signature, and what it covers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Step {
    /// The number of the prefix that ends with the previous entry, without that entry's port; 0 for the root.
    before: u64,
    /// The port of the previous entry. For the first entry, whose signer is the root: the root's sequence.
    number: u64,
    key: PublicKey,
    signature: [u8; 64],
}

impl Trusted {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            prefixes: Generations::new(limit),
            last: 0,
        }
    }

    /// Returns the number of signatures of an announcement, counted from the root, that need no verification. Its first
    /// signer must be its root.
    pub(crate) fn known(&self, announcement: &Announcement) -> usize {
        let (mut before, mut number) = (0, announcement.root_sequence());
        for (index, entry) in announcement.entries().iter().enumerate() {
            let step = Step::new(before, number, announcement, entry);
            let Some(known) = self.prefixes.peek(&step) else {
                return index;
            };
            (before, number) = (*known, entry.port);
        }
        announcement.entries().len()
    }

    /// Records that every signature of an announcement is good.
    pub(crate) fn insert(&mut self, announcement: &Announcement) {
        let (mut before, mut number) = (0, announcement.root_sequence());
        for entry in announcement.entries() {
            before = self.insert_step(Step::new(before, number, announcement, entry));
            number = entry.port;
        }
    }

    /// Returns the number of prefixes dropped to stay within the limit.
    pub(crate) fn dropped(&self) -> u64 {
        self.prefixes.dropped()
    }

    fn insert_step(&mut self, step: Step) -> u64 {
        if let Some(known) = self.prefixes.get(step) {
            return known;
        }
        self.last += 1;
        self.prefixes.insert(step, self.last);
        self.last
    }
}

impl Step {
    fn new(before: u64, number: u64, announcement: &Announcement, entry: &Entry) -> Self {
        Self {
            before,
            number,
            key: entry.key,
            signature: announcement.signature(entry).0,
        }
    }
}

#[cfg(test)]
mod tests {
    use pinecone_wire::{SecretKey, varu64};

    use super::*;

    /// Returns an announcement with these ports, root first, and made-up signatures.
    fn announced(root_sequence: u64, ports: &[u64], last_signature: u8) -> Announcement {
        let key = |n: usize| SecretKey::from_seed(&[n as u8; 32]).public_key();
        let mut payload = key(0).as_bytes().to_vec();
        varu64::push(&mut payload, root_sequence);
        for (n, port) in ports.iter().enumerate() {
            varu64::push(&mut payload, *port);
            payload.extend_from_slice(key(n).as_bytes());
            let is_last = n + 1 == ports.len();
            payload.extend_from_slice(&[if is_last { last_signature } else { 1 }; 64]);
        }
        Announcement::decode(&payload).unwrap()
    }

    #[test]
    fn verified_prefixes_are_known() {
        let mut trusted = Trusted::new(100);
        let known =
            |trusted: &Trusted, a: (u64, &[u64], u8)| trusted.known(&announced(a.0, a.1, a.2));
        assert_eq!(known(&trusted, (5, &[1, 2, 3], 1)), 0);
        trusted.insert(&announced(5, &[1, 2, 3], 1));
        assert_eq!(known(&trusted, (5, &[1, 2, 3], 1)), 3);
        assert_eq!(known(&trusted, (6, &[1, 2, 3], 1)), 0, "another sequence");
        assert_eq!(known(&trusted, (5, &[1, 2, 3], 9)), 2, "another signature");
        assert_eq!(known(&trusted, (5, &[1, 2], 1)), 2, "a beginning");
        assert_eq!(known(&trusted, (5, &[1, 2, 3, 4], 1)), 3, "one more");
        assert_eq!(
            known(&trusted, (5, &[7, 2, 3], 1)),
            1,
            "covers another port"
        );
        assert_eq!(
            known(&trusted, (5, &[1, 2, 8], 1)),
            3,
            "no signature covers the last port"
        );
        assert_eq!(
            known(&trusted, (5, &[1, 2, 8, 4], 1)),
            3,
            "a signature covers that port"
        );
    }

    #[test]
    fn unused_prefixes_are_dropped() {
        let mut trusted = Trusted::new(8);
        for sequence in 1..100 {
            trusted.insert(&announced(sequence, &[1], 1));
            trusted.insert(&announced(1000, &[1], 1));
            assert_eq!(trusted.known(&announced(sequence, &[1], 1)), 1);
        }
        assert_eq!(trusted.known(&announced(1000, &[1], 1)), 1);
        assert_eq!(trusted.known(&announced(1, &[1], 1)), 0);
        assert!(trusted.dropped() >= 80);
    }
}
