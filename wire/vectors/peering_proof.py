#!/usr/bin/env python3
"""Writes peering_proof.json: vectors of docs/peering-proof.md.

Written from the specification and from RFC 8032, RFC 9496 and draft-irtf-cfrg-cpace, without the code of this
repository, so that the vectors check both. Needs nothing but Python. It is slow and leaks secrets through its
timing: it is for vectors only.
"""
import hashlib
import hmac
import json
import pathlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def sha512(data):
    return hashlib.sha512(data).digest()


# The curve: points in extended coordinates (RFC 8032, section 5.1.4).
def add(a, b):
    A = (a[1] - a[0]) * (b[1] - b[0]) % P
    B = (a[1] + a[0]) * (b[1] + b[0]) % P
    C = 2 * a[3] * b[3] * D % P
    E = 2 * a[2] * b[2] % P
    e, f, g, h = B - A, E - C, E + C, B + A
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def mul(n, point):
    result = (0, 1, 1, 0)
    while n:
        if n & 1:
            result = add(result, point)
        point = add(point, point)
        n >>= 1
    return result


def base():
    y = 4 * pow(5, P - 2, P) % P
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if x * x % P != x2:
        x = x * SQRT_M1 % P
    if x & 1:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = base()


# Ed25519 (RFC 8032, section 5.1).
def encode_point(p):
    z = pow(p[2], P - 2, P)
    x, y = p[0] * z % P, p[1] * z % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def expand(seed):
    h = sha512(seed)
    a = int.from_bytes(h[:32], "little") & (1 << 254) - 8 | 1 << 254
    return a, h[32:]


def public_key(seed):
    return encode_point(mul(expand(seed)[0], BASE))


def sign(seed, message):
    a, prefix = expand(seed)
    r = int.from_bytes(sha512(prefix + message), "little") % L
    R = encode_point(mul(r, BASE))
    h = int.from_bytes(sha512(R + public_key(seed) + message), "little") % L
    return R + ((r + h * a) % L).to_bytes(32, "little")


# Ristretto255 (RFC 9496, section 4).
def is_negative(x):
    return x % P & 1


def absolute(x):
    return P - x % P if is_negative(x) else x % P


def sqrt_ratio(u, v):
    r = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * r * r % P
    u %= P
    correct, flipped = check == u, check == -u % P
    flipped_i = check == -u * SQRT_M1 % P
    if flipped or flipped_i:
        r = r * SQRT_M1 % P
    return correct or flipped, absolute(r)


A_MINUS_D = (-1 - D) % P
INVSQRT_A_MINUS_D = sqrt_ratio(1, A_MINUS_D)[1]
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
ONE_MINUS_D_SQ = (1 - D * D) % P
D_MINUS_ONE_SQ = (D - 1) ** 2 % P


def map_to_point(t):
    r = SQRT_M1 * t * t % P
    u = (r + 1) * ONE_MINUS_D_SQ % P
    v = (-1 - r * D) * (r + D) % P
    was_square, s = sqrt_ratio(u, v)
    s_prime = -absolute(s * t) % P
    c = -1 % P
    if not was_square:
        s, c = s_prime, r
    n = (c * (r - 1) * D_MINUS_ONE_SQ - v) % P
    w0, w1 = 2 * s * v % P, n * SQRT_AD_MINUS_ONE % P
    w2, w3 = (1 - s * s) % P, (1 + s * s) % P
    return (w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P)


def from_uniform(data):
    mask = (1 << 255) - 1
    halves = [int.from_bytes(data[i : i + 32], "little") & mask for i in (0, 32)]
    return add(*map(map_to_point, halves))


def encode_element(p):
    x0, y0, z0, t0 = p
    u1, u2 = (z0 + y0) * (z0 - y0) % P, x0 * y0 % P
    invsqrt = sqrt_ratio(1, u1 * u2 * u2 % P)[1]
    den1, den2 = invsqrt * u1 % P, invsqrt * u2 % P
    z_inv = den1 * den2 * t0 % P
    if is_negative(t0 * z_inv):
        x, y = y0 * SQRT_M1 % P, x0 * SQRT_M1 % P
        den_inv = den1 * INVSQRT_A_MINUS_D % P
    else:
        x, y, den_inv = x0, y0, den2
    if is_negative(x * z_inv):
        y = -y % P
    return absolute(den_inv * (z0 - y)).to_bytes(32, "little")


# CPace (draft-irtf-cfrg-cpace, CPACE-RISTR255-SHA512).
def lv_cat(*parts):
    out = b""
    for part in parts:
        n = len(part)
        while n >= 128:
            out += bytes([n & 127 | 128])
            n >>= 7
        out += bytes([n]) + part
    return out


def generator(password, ci, sid=b""):
    dsi = b"CPaceRistretto255"
    pad = max(0, 128 - len(lv_cat(password)) - len(lv_cat(dsi)) - 1)
    return from_uniform(sha512(lv_cat(dsi, password, bytes(pad), ci, sid)))


assert (
    encode_element(generator(b"Password", b"\x0bA_initiator\x0bB_responder", bytes.fromhex("7e4b4791d6a8ef019b936c79fb7f2c57"))).hex()
    == "222b6b195fe84b1652badb6f6a3ae3d24341e7306967f0b8115b40d5698c7e56"
)


# The peering proof.
def handshake(seed, extensions=6):
    head = bytes([1, 0, 0, extensions, 0, 0, 0, 0x3B]) + public_key(seed)
    return head + sign(seed, head)


class Side:
    def __init__(self, seed, random, kind):
        self.seed, self.key, self.handshake = seed, public_key(seed), handshake(seed)
        self.random, self.kind = random, kind
        self.scalar = int.from_bytes(random[32:], "little") % L

    def challenge(self, g):
        element = bytes(32) if g is None else encode_element(mul(self.scalar, g))
        return bytes([1, self.kind, g is not None, 0]) + self.random[:32] + element


def case(name, a, b, binding, common_kind, password):
    """`a` has the lower key."""
    assert a.key < b.key
    g = password and generator(password, a.handshake + b.handshake)
    ca, cb = a.challenge(g), b.challenge(g)
    isk = None
    if password:
        k = encode_element(mul(a.scalar * b.scalar % L, g))
        isk = sha512(lv_cat(b"CPaceRistretto255_ISK", b"", k, ca[36:], ca[:36], cb[36:], cb[:36]))

    def proof(me, other, mine, others):
        signed = b"pinecone-peering-proof-signature" + me.handshake + other.handshake
        signed += mine + others + bytes([common_kind]) + binding
        tag = bytes(32)
        if isk:
            tag = hmac.new(isk, b"pinecone-peering-password-tag-v1" + signed, "sha512").digest()[:32]
        return signed, sign(me.seed, signed) + tag

    out = {"name": name, "binding": binding.hex(), "bound": bool(common_kind), "password": password and password.hex()}
    for label, me, other, mine, others in (("a", a, b, ca, cb), ("b", b, a, cb, ca)):
        signed, message = proof(me, other, mine, others)
        out[label] = {
            "seed": me.seed.hex(), "random": me.random.hex(), "channel": me.kind,
            "handshake": me.handshake.hex(), "challenge": mine.hex(), "signed": signed.hex(), "proof": message.hex(),
        }
    return out


def sides(n, kinds):
    def side(i):
        seed, random, more = (sha512(b"%s %d %d" % (what, n, i)) for what in (b"seed", b"random", b"more"))
        return Side(seed[:32], random + more[:32], kinds[i])

    both = [side(0), side(1)]
    low, high = sorted(both, key=lambda side: side.key)
    if low is not both[0]:
        low.kind, high.kind = high.kind, low.kind
    return low, high


value = hashlib.sha256(b"channel").digest()
cases = [
    case("plain", *sides(1, (0, 0)), b"", 0, None),
    case("noise", *sides(2, (1, 1)), value, 1, None),
    case("tls", *sides(3, (2, 2)), value, 2, None),
    case("tls that ends at a proxy of b", *sides(4, (2, 0)), b"", 0, None),
    case("plain with password", *sides(5, (0, 0)), b"", 0, b"correct horse battery staple"),
    case("noise with long password", *sides(6, (1, 1)), value, 1, bytes(range(33, 33 + 200))),
]
note = "written by peering_proof.py from docs/peering-proof.md; a has the lower key"
text = '{"meta":{"note":%s},\n"cases":[\n' % json.dumps(note)
text += ",\n".join(json.dumps(c, sort_keys=True, separators=(",", ":")) for c in cases) + "\n]}\n"
pathlib.Path(__file__).with_suffix(".json").write_text(text)
