//! Proofs of the keys: the vectors, and every way in which a proof must fail.

use pinecone_wire::handshake::{self, Extensions, HANDSHAKE_LEN};
use pinecone_wire::proof::{
    Binding, BindingKind, CHALLENGE_LEN, Challenge, OtherChannel, PROOF_LEN, Password,
    PasswordError, Proof, ProofError, Proven, RANDOM_LEN, Stream,
};
use pinecone_wire::{PublicKey, SecretKey};
use proptest::prelude::*;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::recorded;

type Random = Zeroizing<[u8; RANDOM_LEN]>;

/// A node with all that it needs for a proof.
#[derive(Clone)]
struct Node {
    key: SecretKey,
    handshake: [u8; HANDSHAKE_LEN],
    random: Random,
    binding: Binding,
    other_channel: OtherChannel,
    password: Option<Password>,
}

fn node(n: u8) -> Node {
    let key = SecretKey::from_seed(&[n; 32]);
    Node {
        handshake: handshake::encode_offering(&key, Extensions::PEERING_PROOF),
        key,
        random: Zeroizing::new([n; RANDOM_LEN]),
        binding: Binding::None,
        other_channel: OtherChannel::Refuse,
        password: None,
    }
}

fn password(text: &str) -> Option<Password> {
    Some(Password::new(text.as_bytes()).unwrap())
}

impl Node {
    fn bound(mut self, binding: Binding) -> Self {
        self.binding = binding;
        self
    }

    fn with_password(mut self, text: &str) -> Self {
        self.password = password(text);
        self
    }

    fn with_random(mut self, n: u8) -> Self {
        *self.random = [n; RANDOM_LEN];
        self
    }

    fn key(&self) -> PublicKey {
        self.key.public_key()
    }

    fn challenge<'a>(&'a self, peer: &'a [u8; HANDSHAKE_LEN]) -> Challenge<'a> {
        let stream = Stream {
            ours: &self.handshake,
            theirs: peer,
            binding: self.binding,
            other_channel: self.other_channel,
        };
        Challenge::new(stream, self.password.as_ref(), &self.random)
    }

    fn proof(
        &self,
        peer: &[u8; HANDSHAKE_LEN],
        challenge: &[u8; CHALLENGE_LEN],
    ) -> Result<Proof, ProofError> {
        self.challenge(peer).answer(challenge, &self.key)
    }
}

/// Runs a proof between two nodes. Returns what each side gets.
fn run(a: &Node, b: &Node) -> [Result<Proven, ProofError>; 2] {
    let from_a = *a.challenge(&b.handshake).message();
    let from_b = *b.challenge(&a.handshake).message();
    let of_a = a.proof(&b.handshake, &from_b);
    let of_b = b.proof(&a.handshake, &from_a);
    match (of_a, of_b) {
        (Ok(of_a), Ok(of_b)) => {
            let (from_a, from_b) = (*of_a.message(), *of_b.message());
            [of_a.verify(&from_b), of_b.verify(&from_a)]
        }
        (of_a, of_b) => [of_a, of_b].map(|side| Err(side.err().unwrap_or(ProofError::Reflected))),
    }
}

fn binding(kind: u64, value: &[u8]) -> Binding {
    let value = || value.try_into().unwrap_or([0x55; 32]);
    match kind {
        0 => Binding::None,
        1 => Binding::Noise(value()),
        _ => Binding::TlsExporter(value()),
    }
}

#[test]
fn the_vectors() {
    for case in recorded::cases("peering_proof") {
        let name = recorded::text(&case, "name");
        let value = recorded::bytes(&case, "binding");
        let password = case["password"]
            .as_str()
            .map(|_| Password::new(&recorded::bytes(&case, "password")).unwrap());
        let side = |side: &Value| Node {
            key: SecretKey::from_seed(&recorded::bytes(side, "seed").try_into().unwrap()),
            handshake: recorded::bytes(side, "handshake").try_into().unwrap(),
            random: Zeroizing::new(recorded::bytes(side, "random").try_into().unwrap()),
            binding: binding(recorded::number(&side["channel"]), &value),
            other_channel: OtherChannel::Unbound,
            password: password.clone(),
        };
        let (a, b) = (side(&case["a"]), side(&case["b"]));
        for ((us, them), [ours, theirs]) in [
            ((&a, &b), [&case["a"], &case["b"]]),
            ((&b, &a), [&case["b"], &case["a"]]),
        ] {
            let offers = Extensions::PEERING_PROOF.union(Extensions::ENCRYPTED_LINK);
            assert_eq!(
                handshake::encode_offering(&us.key, offers),
                us.handshake,
                "{name}"
            );
            let challenge = us.challenge(&them.handshake);
            assert_eq!(
                challenge.message()[..],
                recorded::bytes(ours, "challenge"),
                "{name}"
            );
            let received = recorded::bytes(theirs, "challenge").try_into().unwrap();
            let proof = challenge.answer(&received, &us.key).unwrap();
            assert_eq!(
                proof.message()[..],
                recorded::bytes(ours, "proof"),
                "{name}"
            );
            let signature = pinecone_wire::Signature::from_prefix(proof.message()).unwrap();
            assert!(
                us.key()
                    .verify(&recorded::bytes(ours, "signed"), &signature)
            );
            let proven = proof.verify(&recorded::bytes(theirs, "proof").try_into().unwrap());
            let proven = proven.unwrap();
            assert_eq!(proven.key, them.key(), "{name}");
            assert_eq!(proven.password, password.is_some(), "{name}");
            let bound = proven.binding != BindingKind::None;
            assert_eq!(case["bound"].as_bool(), Some(bound), "{name}");
        }
    }
}

#[test]
fn two_nodes_prove_their_keys() {
    for (a, b) in [
        (node(1), node(2)),
        (node(2), node(1)),
        (
            node(1).bound(Binding::Noise([3; 32])),
            node(2).bound(Binding::Noise([3; 32])),
        ),
        (
            node(1).with_password("eight by"),
            node(2).with_password("eight by"),
        ),
    ] {
        let [by_b, by_a] = run(&a, &b);
        let (by_b, by_a) = (by_b.unwrap(), by_a.unwrap());
        assert_eq!((by_b.key, by_a.key), (b.key(), a.key()));
        assert_eq!(by_b.password, b.password.is_some());
        assert_eq!(by_b.binding, b.binding.kind());
    }
}

/// An attacker has recorded everything that B sent in an earlier proof with A, and sends it to A again.
#[test]
fn a_recorded_proof_does_not_answer_a_fresh_challenge() {
    let (a, b) = (node(1), node(2));
    let recorded_challenge = *b.challenge(&a.handshake).message();
    let earlier = *a.challenge(&b.handshake).message();
    let recorded_proof = *b.proof(&a.handshake, &earlier).unwrap().message();
    let same = a.proof(&b.handshake, &recorded_challenge).unwrap();
    assert!(
        same.verify(&recorded_proof).is_ok(),
        "the recording is not good"
    );
    let fresh = a.with_random(9);
    let proof = fresh.proof(&b.handshake, &recorded_challenge).unwrap();
    assert_eq!(proof.verify(&recorded_proof), Err(ProofError::Signature));
}

/// An attacker with a recorded handshake of B sends back to A what A sends.
#[test]
fn what_a_node_sent_proves_nothing_to_itself() {
    let (a, b) = (node(1), node(2));
    let own = *a.challenge(&b.handshake).message();
    assert_eq!(
        a.proof(&b.handshake, &own).err(),
        Some(ProofError::Reflected)
    );
    // The attacker changes the challenge so that it is not recognised.
    for at in 4..36 {
        let mut changed = own;
        changed[at] ^= 1;
        let proof = a.proof(&b.handshake, &changed).unwrap();
        let message = *proof.message();
        assert_eq!(proof.verify(&message), Err(ProofError::Signature));
    }
    // With A's own handshake.
    let other = *node(3).challenge(&a.handshake).message();
    assert_eq!(
        a.proof(&a.handshake, &other).err(),
        Some(ProofError::Reflected)
    );
}

/// An attacker who claims to be B opens a second stream to A and has A answer its own challenge there.
#[test]
fn a_node_s_answer_on_one_stream_proves_nothing_on_another() {
    let (first, second, b) = (node(1), node(1).with_random(9), node(2));
    let from_first = *first.challenge(&b.handshake).message();
    let from_second = *second.challenge(&b.handshake).message();
    let of_first = first.proof(&b.handshake, &from_second).unwrap();
    let of_second = second.proof(&b.handshake, &from_first).unwrap();
    let message = *of_second.message();
    assert_eq!(of_first.verify(&message), Err(ProofError::Signature));
}

/// A peer C cannot use what B signs for it to be B towards A.
#[test]
fn a_signature_for_one_node_serves_no_other() {
    let (a, b, c) = (node(1), node(2), node(3));
    // C sends A's challenge to B as its own, and B's challenge to A.
    let from_a = *a.challenge(&b.handshake).message();
    let from_b = *b.challenge(&c.handshake).message();
    let signed_for_c = *b.proof(&c.handshake, &from_a).unwrap().message();
    let proof = a.proof(&b.handshake, &from_b).unwrap();
    assert_eq!(proof.verify(&signed_for_c), Err(ProofError::Signature));
}

#[test]
fn every_bit_of_handshake_challenge_and_proof_matters() {
    for (a, b) in [
        (node(1), node(2)),
        (
            node(1).with_password("password"),
            node(2).with_password("password"),
        ),
    ] {
        let from_a = *a.challenge(&b.handshake).message();
        let from_b = *b.challenge(&a.handshake).message();
        let good = *b.proof(&a.handshake, &from_a).unwrap().message();
        let verify = |challenge: &_, proof: &_| a.proof(&b.handshake, challenge)?.verify(proof);
        verify(&from_b, &good).unwrap();
        for bit in 0..CHALLENGE_LEN * 8 {
            let mut challenge = from_b;
            challenge[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&challenge, &good).is_err(), "challenge bit {bit}");
            let mut changed = from_a;
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(proof) = b.proof(&a.handshake, &changed) {
                assert!(verify(&from_b, proof.message()).is_err(), "own bit {bit}");
            }
        }
        for bit in 0..PROOF_LEN * 8 {
            let mut proof = good;
            proof[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&from_b, &proof).is_err(), "proof bit {bit}");
        }
        for bit in 0..HANDSHAKE_LEN * 8 {
            let mut seen = a.handshake;
            seen[bit / 8] ^= 1 << (bit % 8);
            let proof = b.proof(&seen, &from_a).unwrap();
            assert!(
                verify(&from_b, proof.message()).is_err(),
                "handshake bit {bit}"
            );
        }
    }
}

/// An attacker hides the offer of encryption with an older handshake of the same key.
#[test]
fn an_older_handshake_of_the_same_key_does_not_verify() {
    let (a, b) = (node(1), node(2));
    let offers = Extensions::PEERING_PROOF.union(Extensions::ENCRYPTED_LINK);
    let newer = Node {
        handshake: handshake::encode_offering(&b.key, offers),
        ..b.clone()
    };
    let from_a = *a.challenge(&b.handshake).message();
    let from_b = *newer.challenge(&a.handshake).message();
    let message = *newer.proof(&a.handshake, &from_a).unwrap().message();
    let proof = a.proof(&b.handshake, &from_b).unwrap();
    assert_eq!(proof.verify(&message), Err(ProofError::Signature));
}

/// A man in the middle ends an encrypted channel with each node and relays the proof between them.
#[test]
fn a_relayed_proof_fails_on_bound_channels() {
    for channel in [Binding::Noise, Binding::TlsExporter] {
        let a = node(1).bound(channel([1; 32]));
        let b = node(2).bound(channel([2; 32]));
        assert_eq!(run(&a, &b), [Err(ProofError::Signature); 2]);
        let b = node(2).bound(channel([1; 32]));
        assert!(run(&a, &b).iter().all(Result::is_ok));
    }
    let a = node(1).bound(Binding::Noise([1; 32]));
    let b = node(2).bound(Binding::TlsExporter([1; 32]));
    assert!(matches!(
        run(&a, &b)[0],
        Err(ProofError::OtherChannel { .. })
    ));
}

/// A relayed proof on plain streams looks like any other, as the specification says.
#[test]
fn a_relayed_proof_succeeds_on_plain_streams() {
    assert!(run(&node(1), &node(2)).iter().all(Result::is_ok));
}

#[test]
fn tls_may_end_before_the_peer_only_where_that_is_allowed() {
    let mut dialler = node(1).bound(Binding::TlsExporter([1; 32]));
    let behind_proxy = node(2);
    let [at_dialler, _] = run(&dialler, &behind_proxy);
    let differs = ProofError::OtherChannel {
        ours: BindingKind::Tls,
        theirs: BindingKind::None,
    };
    assert_eq!(at_dialler, Err(differs));
    dialler.other_channel = OtherChannel::Unbound;
    for proven in run(&dialler, &behind_proxy) {
        assert_eq!(proven.unwrap().binding, BindingKind::None);
    }
    // Both ends are TLS, so a man in the middle is noticed nevertheless.
    let other = node(2).bound(Binding::TlsExporter([2; 32]));
    assert_eq!(run(&dialler, &other)[0], Err(ProofError::Signature));
    // Who ends TLS cannot hide from two ends of TLS that they both have it.
    let from_a = *dialler.challenge(&other.handshake).message();
    let from_b = *other.challenge(&dialler.handshake).message();
    let plain = |mut challenge: [u8; CHALLENGE_LEN]| {
        challenge[1] = 0;
        challenge
    };
    let mut other = other.clone();
    other.other_channel = OtherChannel::Unbound;
    let of_b = other.proof(&dialler.handshake, &plain(from_a)).unwrap();
    let of_a = dialler.proof(&other.handshake, &plain(from_b)).unwrap();
    assert_eq!(of_a.verify(of_b.message()), Err(ProofError::Signature));
}

#[test]
fn passwords_must_be_the_same() {
    let with = |n, text: &str| node(n).with_password(text);
    assert_eq!(
        run(&with(1, "password"), &with(2, "passwore")),
        [Err(ProofError::WrongPassword); 2]
    );
    let [here, there] = run(&with(1, "password"), &node(2));
    assert_eq!(here, Err(ProofError::PeerHasNoPassword));
    assert_eq!(there, Err(ProofError::PasswordNeeded));
}

/// A tag of zeros is what a peer without a password sends.
#[test]
fn a_tag_of_zeros_does_not_replace_the_password() {
    let (a, b) = (
        node(1).with_password("password"),
        node(2).with_password("password"),
    );
    let from_a = *a.challenge(&b.handshake).message();
    let from_b = *b.challenge(&a.handshake).message();
    let mut message = *b.proof(&a.handshake, &from_a).unwrap().message();
    message[64..].fill(0);
    let proof = a.proof(&b.handshake, &from_b).unwrap();
    assert_eq!(proof.verify(&message), Err(ProofError::WrongPassword));
}

/// The password's tag of one side is not that of the other, so it cannot be sent back.
#[test]
fn the_tags_of_both_sides_differ() {
    let (a, b) = (
        node(1).with_password("password"),
        node(2).with_password("password"),
    );
    let from_a = *a.challenge(&b.handshake).message();
    let from_b = *b.challenge(&a.handshake).message();
    let of_a = *a.proof(&b.handshake, &from_b).unwrap().message();
    let of_b = *b.proof(&a.handshake, &from_a).unwrap().message();
    assert_ne!(of_a[64..], of_b[64..]);
    let mut mixed = of_b;
    mixed[64..].copy_from_slice(&of_a[64..]);
    let proof = a.proof(&b.handshake, &from_b).unwrap();
    assert_eq!(proof.verify(&mixed), Err(ProofError::WrongPassword));
}

/// Anyone can make signatures that verify with a key of small order.
#[test]
fn a_key_of_small_order_proves_nothing() {
    let a = node(1);
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut weak = [0; HANDSHAKE_LEN];
    weak[..8].copy_from_slice(&[1, 0, 0, 2, 0, 0, 0, 0x3b]);
    weak[8..40].copy_from_slice(&identity);
    weak[40..72].copy_from_slice(&identity);
    assert!(
        handshake::decode(&weak).is_ok(),
        "the handshake is accepted"
    );
    let mut challenge = [0; CHALLENGE_LEN];
    challenge[0] = 1;
    let mut forged = [0; PROOF_LEN];
    forged[0] = 1;
    let proof = a.proof(&weak, &challenge).unwrap();
    assert_eq!(proof.verify(&forged), Err(ProofError::Signature));
}

#[test]
fn malformed_challenges_are_refused() {
    let (a, b) = (node(1), node(2));
    let good = *b.challenge(&a.handshake).message();
    let answer = |a: &Node, at: usize, value: u8| {
        let mut challenge = good;
        challenge[at] = value;
        a.proof(&b.handshake, &challenge).err()
    };
    let malformed = |field| Some(ProofError::Malformed { field });
    assert_eq!(answer(&a, 0, 0), Some(ProofError::Version(0)));
    assert_eq!(answer(&a, 0, 2), Some(ProofError::Version(2)));
    assert_eq!(answer(&a, 1, 3), malformed("channel"));
    assert_eq!(answer(&a, 2, 2), malformed("password"));
    assert_eq!(answer(&a, 67, 1), malformed("element"));
    // The neutral element, whose product both sides would know without a password.
    let with_password = a.clone().with_password("password");
    assert_eq!(answer(&with_password, 2, 1), malformed("element"));
    assert_eq!(answer(&a, 3, 1), None, "the reserved byte is ignored");
}

#[test]
fn passwords_of_files() {
    let file = |content: &[u8]| Password::from_file_content(content).err();
    assert_eq!(file(b"1234567\n"), Some(PasswordError::Length(7)));
    assert_eq!(file(b"12345678\r\n"), None);
    assert_eq!(file(&[b'a'; 1025]), Some(PasswordError::Length(1025)));
    let shown = format!("{:?}", Password::new(b"12345678").unwrap());
    assert!(!shown.contains('1'), "{shown}");
    let a = Node {
        password: Some(Password::from_file_content(b"12345678\r\n").unwrap()),
        ..node(1)
    };
    assert!(run(&a, &node(2).with_password("12345678"))[0].is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_proof_succeeds_exactly_with_equal_channels_and_passwords(
        seeds in any::<[[u8; 32]; 2]>(),
        randoms in proptest::array::uniform2(proptest::collection::vec(any::<u8>(), RANDOM_LEN)),
        kinds in any::<[bool; 2]>(),
        values in proptest::array::uniform2(0u8..2),
        passwords in proptest::array::uniform2(proptest::option::of(0u8..2)),
    ) {
        let side = |i: usize| {
            let key = SecretKey::from_seed(&seeds[i]);
            Node {
                handshake: handshake::encode_offering(&key, Extensions::PEERING_PROOF),
                key,
                random: Zeroizing::new(randoms[i].clone().try_into().unwrap()),
                binding: binding(u64::from(kinds[i]), &[values[i]; 32]),
                other_channel: OtherChannel::Refuse,
                password: passwords[i].map(|n| Password::new(&[n; 8]).unwrap()),
            }
        };
        prop_assume!(seeds[0] != seeds[1] && randoms[0][..32] != randoms[1][..32]);
        let (a, b) = (side(0), side(1));
        let good = a.binding == b.binding && passwords[0] == passwords[1];
        for (proven, peer) in run(&a, &b).into_iter().zip([b.key(), a.key()]) {
            prop_assert_eq!(proven.is_ok(), good);
            prop_assert!(proven.is_err() || proven.unwrap().key == peer);
        }
    }

    #[test]
    fn arbitrary_bytes_prove_nothing(
        challenge in proptest::collection::vec(any::<u8>(), CHALLENGE_LEN),
        head in proptest::array::uniform4(0u8..3),
        proof in proptest::collection::vec(any::<u8>(), PROOF_LEN),
        with_password in any::<bool>(),
    ) {
        let (mut a, b) = (node(1), node(2));
        if with_password {
            a = a.with_password("password");
        }
        let mut challenge: [u8; CHALLENGE_LEN] = challenge.try_into().unwrap();
        challenge[..4].copy_from_slice(&head);
        if let Ok(answered) = a.proof(&b.handshake, &challenge) {
            prop_assert!(answered.verify(&proof.try_into().unwrap()).is_err());
        }
    }
}
