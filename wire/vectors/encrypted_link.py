#!/usr/bin/env python3
"""Writes encrypted_link.json: vectors of docs/peering-proof.md, "Encrypted links".

Written from the specification and from revision 34 of the Noise protocol framework, without the code of this
repository. Needs the Python package `cryptography`, and peering_proof.json for the handshakes.
"""
import hashlib
import hmac
import json
import pathlib

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = pathlib.Path(__file__).parent
NAME = b"Noise_NN_25519_AESGCM_SHA256"
REKEY_INTERVAL = 1 << 16


def sha256(data):
    return hashlib.sha256(data).digest()


def hkdf(key, data):
    mac = lambda k, d: hmac.new(k, d, "sha256").digest()
    temporary = mac(key, data)
    first = mac(temporary, b"\x01")
    return first, mac(temporary, first + b"\x02")


def crypt(key, n, data, ad=b""):
    return AESGCM(key).encrypt(bytes(4) + n.to_bytes(8, "big"), data, ad)


def record(key, n, payload):
    for _ in range(n // REKEY_INTERVAL):
        key = crypt(key, 2**64 - 1, bytes(32))[:32]
    sealed = crypt(key, n, payload)
    return len(sealed).to_bytes(2, "big") + sealed


def public(secret):
    return secret.public_key().public_bytes_raw()


def link(initiator, responder, secrets):
    """`initiator` and `responder` are peering handshakes; that of the lower key is the initiator's."""
    a, b = map(X25519PrivateKey.from_private_bytes, secrets)
    h = NAME.ljust(32, b"\0")
    ck = h
    h = sha256(h + b"pinecone-encrypted-link-v1" + initiator + responder)
    h = sha256(h + public(a))
    h = sha256(h + b"")  # the empty payload, which no key protects yet
    h = sha256(h + public(b))
    shared = a.exchange(X25519PublicKey.from_public_bytes(public(b)))
    ck, k = hkdf(ck, shared)
    tag = crypt(k, 0, b"", h)
    h = sha256(h + tag)
    from_initiator, from_responder = hkdf(ck, b"")

    def records(key):
        cases = [(0, b"the first record"), (1, bytes(range(256)) * 5), (2, b""), (65535, b"before"), (65536, b"after"), (131072, b"again")]
        return [{"n": n, "payload": p.hex(), "record": record(key, n, p).hex()} for n, p in cases]

    return {
        "initiator": {"handshake": initiator.hex(), "secret": secrets[0].hex(), "message": public(a).hex(), "records": records(from_initiator)},
        "responder": {"handshake": responder.hex(), "secret": secrets[1].hex(), "message": (public(b) + tag).hex(), "records": records(from_responder)},
        "hash": h.hex(),
    }


proofs = json.loads((HERE / "peering_proof.json").read_text())["cases"]
cases = []
for n, proof in enumerate(proofs[:2]):
    secrets = [hashlib.sha256(b"ephemeral %d %d" % (n, side)).digest() for side in (0, 1)]
    # In peering_proof.json, a has the lower key.
    cases.append(link(*(bytes.fromhex(proof[side]["handshake"]) for side in "ab"), secrets))
note = "written by encrypted_link.py from docs/peering-proof.md"
text = '{"meta":{"note":%s},\n"cases":[\n' % json.dumps(note)
text += ",\n".join(json.dumps(c, sort_keys=True, separators=(",", ":")) for c in cases) + "\n]}\n"
(HERE / "encrypted_link.json").write_text(text)
