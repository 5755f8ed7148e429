"""Keys, DER and certificates by hand, for make_certificates.py: no library makes certificates that are wrong on purpose.

Only the standard library, and no randomness: every key and signature follows from a name. The keys are known to everybody
who reads this and are good for nothing else.
"""

import base64
import hashlib
import math

# --- numbers ---------------------------------------------------------------------------------------------------------


class Stream:
    """Bytes that follow from a name: SHA-256 in counter mode."""

    def __init__(self, name):
        self.name, self.count, self.rest = name.encode(), 0, b""

    def bytes(self, size):
        while len(self.rest) < size:
            self.rest += hashlib.sha256(self.name + self.count.to_bytes(8, "big")).digest()
            self.count += 1
        out, self.rest = self.rest[:size], self.rest[size:]
        return out

    def number(self, bits):
        return int.from_bytes(self.bytes((bits + 7) // 8), "big") % (1 << bits)


SMALL = [p for p in range(3, 2000, 2) if all(p % q for q in range(3, int(p**0.5) + 1, 2))]


def is_prime(number):
    if number < 4 or number % 2 == 0:
        return number in (2, 3)
    if any(number % p == 0 for p in SMALL if p < number):
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19):
        x = pow(base, odd, number)
        if x in (1, number - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % number
            if x == number - 1:
                break
        else:
            return False
    return True


def prime_from(number, e=1):
    number |= 1
    while not (is_prime(number) and (e == 1 or math.gcd(number - 1, e) == 1)):
        number += 2
    return number


def prime(name, bits, e=65537):
    """A prime whose two highest bits are set, so that two of them have a product of twice the size."""
    return prime_from(Stream(name).number(bits) | 3 << (bits - 2), e)


# --- DER -------------------------------------------------------------------------------------------------------------


def tlv(tag, *parts):
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(digits)]) + digits + content


def seq(*parts):
    return tlv(0x30, *parts)


def integer(number):
    return tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def oid(text):
    arcs = [int(arc) for arc in text.split(".")]
    out = bytearray([arcs[0] * 40 + arcs[1]])
    for arc in arcs[2:]:
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(arc & 0x7F | 0x80)
        out += bytes(reversed(digits))
    return tlv(6, bytes(out))


def bits(content, unused=0):
    return tlv(3, bytes([unused]), content)


NULL = tlv(5)


def when(text):
    """`20260101` or with a time behind it, as UTCTime through 2049 (RFC 5280, section 4.1.2.5)."""
    text = text if len(text) > 8 else text + "000000"
    if "1950" <= text[:4] < "2050":
        return tlv(0x17, text[2:].encode() + b"Z")
    return tlv(0x18, text.encode() + b"Z")


def name(common=None, kind=0x0C):
    if common is None:
        return seq()
    return seq(tlv(0x31, seq(oid("2.5.4.3"), tlv(kind, common.encode()))))


def extension(number, content, critical=False):
    return seq(oid(number), tlv(1, b"\xff") if critical else b"", tlv(4, content))


# --- keys ------------------------------------------------------------------------------------------------------------


class Rsa:
    def __init__(self, p, q, e=65537, n=None):
        self.n, self.e = n or p * q, e
        phi = (p - 1) * (q - 1)
        self.d = pow(e, -1, phi) if math.gcd(e, phi) == 1 else None
        self.info = seq(seq(oid("1.2.840.113549.1.1.1"), NULL), bits(seq(integer(self.n), integer(self.e))))

    def sign(self, data, kind):
        digest = hashlib.new(kind.split("-")[-1], data).digest()
        size = (self.n.bit_length() + 7) // 8
        padded = pss(digest, self.n.bit_length() - 1, kind[4:]) if kind.startswith("pss") else pkcs1(digest, kind, size)
        return pow(int.from_bytes(padded, "big"), self.d, self.n).to_bytes(size, "big")


HASHES = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}


def pkcs1(digest, kind, size):
    info = seq(seq(oid(HASHES[kind]), NULL), tlv(4, digest))
    return b"\0\1" + b"\xff" * (size - len(info) - 3) + b"\0" + info


def pss(digest, bit_size, kind):
    """EMSA-PSS with a salt of the digest's size (RFC 8017, section 9.1.1)."""
    salt, size = hashlib.new(kind, b"salt" + digest).digest(), (bit_size + 7) // 8
    hashed = hashlib.new(kind, b"\0" * 8 + digest + salt).digest()
    block = b"\0" * (size - 2 * len(salt) - 2) + b"\1" + salt
    mask, count = b"", 0
    while len(mask) < len(block):
        mask += hashlib.new(kind, hashed + count.to_bytes(4, "big")).digest()
        count += 1
    masked = bytearray(a ^ b for a, b in zip(block, mask))
    masked[0] &= 0xFF >> (8 * size - bit_size)
    return bytes(masked) + hashed + b"\xbc"


CURVES = {
    # name: OID, p, a, b, Gx, Gy, order
    "P-192": (
        "1.2.840.10045.3.1.1",
        2**192 - 2**64 - 1,
        -3,
        0x64210519E59C80E70FA7E9AB72243049FEB8DEECC146B9B1,
        0x188DA80EB03090F67CBF20EB43A18800F4FF0AFD82FF1012,
        0x07192B95FFC8DA78631011ED6B24CDD573F977A11E794811,
        0xFFFFFFFFFFFFFFFFFFFFFFFF99DEF836146BC9B1B4D22831,
    ),
    "P-224": (
        "1.3.132.0.33",
        2**224 - 2**96 + 1,
        -3,
        0xB4050A850C04B3ABF54132565044B0B7D7BFD8BA270B39432355FFB4,
        0xB70E0CBD6BB4BF7F321390B94A03C1D356C21122343280D6115C1D21,
        0xBD376388B5F723FB4C22DFE6CD4375A05A07476444D5819985007E34,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFF16A2E0B8F03E13DD29455C5C2A3D,
    ),
    "P-256": (
        "1.2.840.10045.3.1.7",
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        -3,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    ),
    "P-384": (
        "1.3.132.0.34",
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        -3,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
        0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    ),
    "P-521": (
        "1.3.132.0.35",
        2**521 - 1,
        -3,
        int(
            "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf07"
            "3573df883d2c34f1ef451fd46b503f00",
            16,
        ),
        int(
            "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de"
            "3348b3c1856a429bf97e7e31c2e5bd66",
            16,
        ),
        int(
            "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761"
            "353c7086a272c24088be94769fd16650",
            16,
        ),
        int(
            "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d0"
            "3bb5c9b8899c47aebb6fb71e91386409",
            16,
        ),
    ),
    "secp256k1": (
        "1.3.132.0.10",
        2**256 - 2**32 - 977,
        0,
        7,
        0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
        0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    ),
    "brainpoolP256r1": (
        "1.3.36.3.3.2.8.1.1.7",
        0xA9FB57DBA1EEA9BC3E660A909D838D726E3BF623D52620282013481D1F6E5377,
        0x7D5A0975FC2C3057EEF67530417AFFE7FB8055C126DC5C6CE94A4B44F330B5D9,
        0x26DC5C6CE94A4B44F330B5D9BBD77CBF958416295CF7E1CE6BCCDC18FF8C07B6,
        0x8BD2AEB9CB7E57CB2C4B482FFC81B7AFB9DE27E1E3BD23C23A4453BD9ACE3262,
        0x547EF835C3DAC4FD97F8461A14611DC9C27745132DED8E545C1D54C72F046997,
        0xA9FB57DBA1EEA9BC3E660A909D838D718C397AA3B561A6F7901E0E82974856A7,
    ),
}


def add(one, other, p, a):
    if one is None or other is None:
        return one or other
    if one[0] == other[0] and (one[1] + other[1]) % p == 0:
        return None
    if one == other:
        slope = (3 * one[0] * one[0] + a) * pow(2 * one[1], -1, p) % p
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, p) % p
    x = (slope * slope - one[0] - other[0]) % p
    return x, (slope * (one[0] - x) - one[1]) % p


class Ec:
    def __init__(self, key, curve="P-256", change=None, explicit=False):
        self.oid, self.p, self.a, self.b, gx, gy, self.order = CURVES[curve]
        self.g, self.size = (gx, gy), (self.p.bit_length() + 7) // 8
        self.d = 1 + Stream(key).number(self.order.bit_length() + 64) % (self.order - 1)
        x, y = self.times(self.d)
        point = b"\4" + x.to_bytes(self.size, "big") + y.to_bytes(self.size, "big")
        parameters = self.explicit() if explicit else oid(self.oid)
        self.info = seq(seq(oid("1.2.840.10045.2.1"), parameters), bits(change(point) if change else point))

    def private(self):
        """The private half, with the public one in it: PKCS #8 (RFC 5958) around RFC 5915."""
        x, y = self.times(self.d)
        point = b"\4" + x.to_bytes(self.size, "big") + y.to_bytes(self.size, "big")
        inner = seq(integer(1), tlv(4, self.d.to_bytes(self.size, "big")), tlv(0xA1, bits(point)))
        return seq(integer(0), seq(oid("1.2.840.10045.2.1"), oid(self.oid)), tlv(4, inner))

    def times(self, number):
        out, step = None, self.g
        while number:
            if number & 1:
                out = add(out, step, self.p, self.a)
            step, number = add(step, step, self.p, self.a), number >> 1
        return out

    def explicit(self):
        def field(x):
            return tlv(4, (x % self.p).to_bytes(self.size, "big"))

        base = tlv(4, b"\4" + b"".join(x.to_bytes(self.size, "big") for x in self.g))
        prime_field = seq(oid("1.2.840.10045.1.1"), integer(self.p))
        return seq(integer(1), prime_field, seq(field(self.a), field(self.b)), base, integer(self.order), integer(1))

    def sign(self, data, kind):
        digest = hashlib.new(kind, data).digest()
        e = int.from_bytes(digest, "big") >> max(0, len(digest) * 8 - self.order.bit_length())
        secret = self.d.to_bytes(80, "big") + digest
        k = 1 + Stream(secret.hex()).number(self.order.bit_length() + 64) % (self.order - 1)
        r = self.times(k)[0] % self.order
        return seq(integer(r), integer(pow(k, -1, self.order) * (e + r * self.d) % self.order))


class Raw:
    """A key of which there is only the public half."""

    def __init__(self, algorithm, data):
        self.info = seq(seq(*algorithm), bits(data))


def algorithm(key, kind):
    if isinstance(key, Ec):
        return seq(oid({"sha1": "1.2.840.10045.4.1", "sha256": "1.2.840.10045.4.3.2"}[kind]))
    if kind == "pss-sha256":
        sha = seq(oid(HASHES["sha256"]), NULL)
        mask = seq(oid("1.2.840.113549.1.1.8"), sha)
        parameters = seq(tlv(0xA0, sha), tlv(0xA1, mask), tlv(0xA2, integer(32)))
        return seq(oid("1.2.840.113549.1.1.10"), parameters)
    if kind == "pss-sha1":
        return seq(oid("1.2.840.113549.1.1.10"), seq())
    last = {"md5": 4, "sha1": 5, "sha256": 11, "sha384": 12, "sha512": 13}[kind]
    return seq(oid(f"1.2.840.113549.1.1.{last}"), NULL)


# --- certificates ----------------------------------------------------------------------------------------------------

SERVER, CLIENT, ANY = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "2.5.29.37.0"
DIGITAL_SIGNATURE, KEY_AGREEMENT, CERT_SIGN, CRL_SIGN = 0, 4, 5, 6


def key_usage(*numbers):
    flags = sum(0x80 >> number for number in numbers)
    return extension("2.5.29.15", bits(bytes([flags]), 7 - max(numbers)), True)


def extended(*usages):
    return extension("2.5.29.37", seq(*map(oid, usages)))


def basic(ca=False, path=None):
    parts = [tlv(1, b"\xff")] if ca else []
    return extension("2.5.29.19", seq(*parts, *([integer(path)] if path is not None else [])), True)


def names(*items, critical=False):
    def one(item):
        if isinstance(item, bytes):
            return tlv(0x87, item)
        return tlv(0x82, item.encode())

    return extension("2.5.29.17", seq(*map(one, items)), critical)


def key_id(info):
    return hashlib.sha1(info).digest()


class Authority:
    def __init__(self, common, key, issuer=None, **options):
        self.common, self.key, self.name = common, key, name(common)
        self.id = key_id(key.info)
        options.setdefault("begin", "20250101")
        options.setdefault("end", "20350101")
        extras = options.pop("extras", [basic(True), key_usage(CERT_SIGN, CRL_SIGN)])
        self.der = certificate(common, issuer or self, key, subject=self.name, extensions=extras, **options)


def certificate(
    sample,
    issuer,
    key,
    subject=None,
    begin="20260101",
    end="20261231235959",
    extensions=None,
    serial=None,
    kind="sha256",
    version=2,
    issuer_name=None,
    inner=None,
    identifiers=True,
    spoil=None,
):
    """A certificate; `extensions` replaces the usual ones of a server for broker.example."""
    if extensions is None:
        extensions = USUAL
    if identifiers and extensions:
        extensions = extensions + [
            extension("2.5.29.14", tlv(4, key_id(key.info))),
            extension("2.5.29.35", seq(tlv(0x80, issuer.id))),
        ]
    signature = algorithm(issuer.key, kind)
    if serial is None:
        serial = tlv(2, b"\x2a" + hashlib.sha256(sample.encode()).digest()[:11])
    body = seq(
        tlv(0xA0, integer(version)) if version else b"",
        serial,
        inner or signature,
        issuer.name if issuer_name is None else issuer_name,
        seq(when(begin) if isinstance(begin, str) else begin, when(end) if isinstance(end, str) else end),
        name("broker.example") if subject is None else subject,
        key.info,
        tlv(0xA3, seq(*extensions)) if extensions else b"",
    )
    value = issuer.key.sign(body, kind)
    if spoil:
        value = spoil(value)
    return seq(body, signature, bits(value))


def revocation_list(issuer, key, serials, this="20260201", due="20260401"):
    revoked = [seq(tlv(2, serial), when("20260115")) for serial in serials]
    signature = algorithm(key, "sha256")
    body = seq(
        integer(1),
        signature,
        issuer.name,
        when(this),
        when(due),
        seq(*revoked) if revoked else b"",
        tlv(0xA0, seq(extension("2.5.29.35", seq(tlv(0x80, issuer.id))), extension("2.5.29.20", integer(1)))),
    )
    return seq(body, signature, bits(key.sign(body, "sha256")))


USUAL = [basic(), key_usage(DIGITAL_SIGNATURE), extended(SERVER, CLIENT), names("broker.example")]


def with_names(*items, **options):
    return USUAL[:3] + [names(*items, **options)]


def pem(der, label="CERTIFICATE"):
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"
