use std::collections::HashMap;

use pinecone_wire::{Announcement, PublicKey, announcement::Entry};

/// The beginnings of announcements whose signatures have been checked. Announcements that come down
/// the same branch of the tree begin alike, so that each costs little more than its last signature.
///
/// A beginning is known by a number that is never used again, and each says exactly which bytes it
/// stands for: the beginning before it, and all that comes after that. So nothing is taken for
/// checked that was not, and no verdict differs from that of checking anew. Two generations, as in
/// [`KeyCache`](crate::keys::KeyCache): what is forgotten is checked again.
pub(crate) struct Trusted {
    half: usize,
    young: HashMap<Step, u64>,
    old: HashMap<Step, u64>,
    last: u64,
    dropped: u64,
}

/// A signature, and what it is made over.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Step {
    /// The beginning up to and with the entry before this one's, less its port; 0 at the root's.
    before: u64,
    /// The port in the entry before; the root's sequence at the first, whose signer is the root.
    number: u64,
    key: PublicKey,
    signature: [u8; 64],
}

impl Trusted {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            half: (limit / 2).max(1),
            young: HashMap::new(),
            old: HashMap::new(),
            last: 0,
            dropped: 0,
        }
    }

    /// How many signatures of an announcement, from the root on, need no checking. Its first signer
    /// must be its root.
    pub(crate) fn known(&self, announcement: &Announcement) -> usize {
        let (mut before, mut number) = (0, announcement.root_sequence());
        for (index, entry) in announcement.entries().iter().enumerate() {
            let step = Step::new(before, number, announcement, entry);
            let Some(known) = self.young.get(&step).or_else(|| self.old.get(&step)) else {
                return index;
            };
            (before, number) = (*known, entry.port);
        }
        announcement.entries().len()
    }

    /// Every signature of this announcement is good.
    pub(crate) fn insert(&mut self, announcement: &Announcement) {
        let (mut before, mut number) = (0, announcement.root_sequence());
        for entry in announcement.entries() {
            before = self.insert_step(Step::new(before, number, announcement, entry));
            number = entry.port;
        }
    }

    /// How many were forgotten to keep within the limit.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn insert_step(&mut self, step: Step) -> u64 {
        if let Some(known) = self.young.get(&step) {
            return *known;
        }
        let number = self.old.remove(&step).unwrap_or_else(|| {
            self.last += 1;
            self.last
        });
        if self.young.len() >= self.half {
            self.dropped += self.old.len() as u64;
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(step, number);
        number
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

    /// An announcement of these ports, root first; the signatures are made up.
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
    fn what_was_checked_is_known_as_far_as_it_is_the_same() {
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
            "signed over another port"
        );
        assert_eq!(
            known(&trusted, (5, &[1, 2, 8], 1)),
            3,
            "the last port is covered by no signature yet"
        );
        assert_eq!(known(&trusted, (5, &[1, 2, 8, 4], 1)), 3, "now it is");
    }

    #[test]
    fn it_stays_within_its_limit_and_forgets_what_nobody_asks_for() {
        let mut trusted = Trusted::new(8);
        for sequence in 1..100 {
            trusted.insert(&announced(sequence, &[1], 1));
            trusted.insert(&announced(1000, &[1], 1));
            assert!(trusted.young.len() + trusted.old.len() <= 8);
            assert_eq!(trusted.known(&announced(sequence, &[1], 1)), 1);
        }
        assert_eq!(trusted.known(&announced(1000, &[1], 1)), 1);
        assert_eq!(trusted.known(&announced(1, &[1], 1)), 0);
        assert!(trusted.dropped() >= 80);
    }
}
