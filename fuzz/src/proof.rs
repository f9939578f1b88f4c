//! The peering proof (`docs/peering-proof.md`).

use pinecone_wire::SecretKey;
use pinecone_wire::handshake::{self, Extensions, HANDSHAKE_LEN};
use pinecone_wire::proof::{
    Binding, CHALLENGE_LEN, Challenge, OtherChannel, PROOF_LEN, Password, Proof, ProofError,
    RANDOM_LEN, Stream,
};
use zeroize::Zeroizing;

struct Node {
    key: SecretKey,
    handshake: [u8; HANDSHAKE_LEN],
    random: Zeroizing<[u8; RANDOM_LEN]>,
    password: Option<Password>,
}

impl Node {
    fn new(n: u8, has_password: bool) -> Self {
        let key = SecretKey::from_seed(&[n; 32]);
        Self {
            handshake: handshake::encode_offering(&key, Extensions::PEERING_PROOF),
            key,
            random: Zeroizing::new([n; RANDOM_LEN]),
            password: has_password.then(|| Password::new(b"password").unwrap()),
        }
    }

    fn challenge<'a>(&'a self, peer: &'a Self) -> Challenge<'a> {
        let stream = Stream {
            ours: &self.handshake,
            theirs: &peer.handshake,
            binding: Binding::None,
            other_channel: OtherChannel::Refuse,
        };
        Challenge::new(stream, self.password.as_ref(), &self.random)
    }

    fn proof(&self, peer: &Self, challenge: &[u8; CHALLENGE_LEN]) -> Result<Proof, ProofError> {
        self.challenge(peer).answer(challenge, &self.key)
    }
}

/// No bytes prove a key without the key, and an honest proof with any bit changed is refused.
///
/// The lowest bit of the first byte says whether there is a password. A challenge and a proof follow, or the place of a
/// change: a byte and a bit.
pub fn peering_proof(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let has_password = first & 1 != 0;
    let (ours, theirs) = (Node::new(1, has_password), Node::new(2, has_password));
    if let Some((challenge, rest)) = rest.split_first_chunk::<CHALLENGE_LEN>() {
        if let Ok(proof) = ours.proof(&theirs, challenge) {
            assert_eq!(challenge[0], 1);
            assert_eq!(challenge[2] == 1, has_password);
            let received = rest.first_chunk::<PROOF_LEN>();
            assert!(received.is_none_or(|received| proof.verify(received).is_err()));
        }
        return;
    }
    let [at, bit, ..] = *rest else {
        return;
    };
    let (at, bit) = (
        usize::from(at) % (CHALLENGE_LEN + PROOF_LEN),
        1 << (bit % 8),
    );
    let mut challenge = *theirs.challenge(&ours).message();
    let answered = theirs
        .proof(&ours, ours.challenge(&theirs).message())
        .unwrap();
    let mut proof = *answered.message();
    let expected = ours.proof(&theirs, &challenge).unwrap();
    expected.verify(&proof).unwrap();
    match challenge.get_mut(at) {
        Some(byte) => *byte ^= bit,
        None => proof[at - CHALLENGE_LEN] ^= bit,
    }
    let verified = ours
        .proof(&theirs, &challenge)
        .and_then(|p| p.verify(&proof));
    assert!(verified.is_err());
}
