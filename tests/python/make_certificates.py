"""Makes fixtures/certificates: certificates that are good, and certificates with one defect each, with what has to be found.

    python3 tests/python/make_certificates.py           makes the folder
    python3 tests/python/make_certificates.py --check   exit code 1 if the folder is not what this makes, byte for byte

Each sample is `<name>.pem`: a chain as a broker would send it, leaf first. `samples.json` says of each what it is, which
controls of `broker_certificate_identity` must find something, and the facts that make the defect. (`facts.json` beside it has
every fact in which a sample differs from `good`; it is written by the test that compares them, and read by people.) All are seen
on 2026-03-01 at 10:00 UTC by a client that dials `broker.example` and trusts `anchors.pem`, unless the table says otherwise.
"""

import json
import math
import pathlib
import sys

from x509_by_hand import *

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "certificates"
FILES, SAMPLES = {}, []

ROOT = Authority("Corpus Root", Ec("root"))
RSA_ROOT = Authority("Corpus RSA Root", Rsa(prime("rsa root p", 1024), prime("rsa root q", 1024)), begin="20260101")
MIDDLE = Authority("Corpus Middle", Ec("middle"), ROOT)
STRANGER = Authority("Somebody Else", Ec("stranger"))
IMPOSTOR = Authority("Corpus Root", Ec("impostor"))
SHORT_ROOT = Authority("Corpus Short Root", Rsa(prime("short p", 512), prime("short q", 512)))
ENDED_ROOT = Authority("Corpus Ended Root", Ec("ended root"), begin="20200101", end="20260201")
ENDING_ROOT = Authority("Corpus Ending Root", Ec("ending root"), begin="20200101", end="20260401")
FILES["anchors.pem"] = "".join(pem(one.der) for one in (ROOT, RSA_ROOT, SHORT_ROOT, ENDED_ROOT, ENDING_ROOT))
KEY = Ec("leaf")
# With it the certificates can be served: most have this key.
FILES["leaf.key"] = pem(KEY.private(), "PRIVATE KEY")


def add_sample(title, what, ders, findings=(), facts=None, anchors=True, dialled="broker.example", crl=None):
    """`facts` are those that make it what it is, by JSON pointer; null for one that is absent."""
    FILES[f"{title}.pem"] = "".join(map(pem, ders))
    sample = {"name": title, "what": what, "findings": sorted(findings), "facts": facts or {}}
    if not anchors:
        sample["anchors"] = False
    if dialled != "broker.example":
        sample["dialled"] = dialled
    if crl is not None:
        FILES[f"{title}.crl"] = "".join(pem(one, "X509 CRL") for one in (crl if isinstance(crl, list) else [crl]))
        sample["crl"] = f"{title}.crl"
    SAMPLES.append(sample)


def leaf(title, what, findings=(), facts=None, issuer=ROOT, key=KEY, behind=(), patch=None, dialled="broker.example", crl=None, **options):
    """One leaf below an anchor; `patch` changes its bytes after it was signed."""
    der = certificate(title, issuer, key, **options)
    add_sample(title, what, [patch(der) if patch else der, *behind], findings, facts, dialled=dialled, crl=crl)


def rsa(title, size=2048, e=65537):
    return Rsa(prime(title + " p", size // 2, e), prime(title + " q", size - size // 2, e), e)


def cert(facts):
    return {"/certificate/" + fact: value for fact, value in facts.items()}


def rsa_facts(bits=2048, exponent="65537", weaknesses=()):
    facts = {"key_algorithm": "rsa", "key_bits": bits, "key_curve": None, "rsa_exponent": exponent}
    if weaknesses != ():
        facts["key_weaknesses"] = weaknesses
    return cert(facts)


UNTRUSTED = {"/chain_trusted": False, "/chain/trusted": False}


def untrusted(problem, words, told=False):
    return {
        **UNTRUSTED,
        **({"/chain_error": words, "/chain/error": words} if words else {}),
        "/chain/problem": problem,
        "/chain/problem_is_told": told,
    }


def unchecked(words):
    """The path cannot be judged here, since a signature on it cannot."""
    facts = untrusted("signature_algorithm", words)
    return {**facts, "/chain_trusted": None, "/chain/trusted": None}


# --- good ------------------------------------------------------------------------------------------------------------

leaf("good", "P-256, a year, serverAuth and clientAuth, one name")
leaf("good-p384", "P-384", facts=cert({"key_bits": 384, "key_curve": "P-384"}), key=Ec("p384", "P-384"))
leaf("good-p521", "P-521", facts=cert({"key_bits": 521, "key_curve": "P-521"}), key=Ec("p521", "P-521"))
for size in (2048, 3072, 4096):
    leaf(f"good-rsa{size}", f"RSA with {size} bits", facts=rsa_facts(size), key=rsa(f"rsa{size}", size))
leaf("good-rsa-e3", "RSA with e = 3, which is small and sound", facts=rsa_facts(exponent="3"), key=rsa("e3", e=3))
ED25519 = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
leaf(
    "good-ed25519",
    "Ed25519 (the first key of RFC 8032, section 7.1)",
    facts=cert({"key_algorithm": "ed25519", "key_curve": None}),
    key=Raw([oid("1.3.101.112")], ED25519),
)
BY_RSA = {
    "/certificate/issuer": "CN=Corpus RSA Root",
    "/chain/issuer_subject": "CN=Corpus RSA Root",
    "/chain/issuer_rsa_bits": 2048,
    "/chain/issuer_curves": None,
}
for kind, number in (("sha256", "11"), ("sha384", "12"), ("sha512", "13"), ("pss-sha256", "10")):
    signature = cert({"signature_algorithm": f"1.2.840.113549.1.1.{number}"})
    leaf(f"good-signed-{kind}", f"signed by an RSA root with {kind}", facts={**BY_RSA, **signature}, issuer=RSA_ROOT, kind=kind)
BELOW = {"/certificate/issuer": "CN=Corpus Middle", "/chain/issuers": 2, "/chain/issuer_subject": "CN=Corpus Middle"}
leaf(
    "good-intermediate",
    "below an intermediate certificate, which is sent",
    facts={**BELOW, "/chain_length": 2, "/chain/length": 2},
    issuer=MIDDLE,
    behind=[MIDDLE.der],
)
leaf(
    "good-root-sent",
    "the root's own certificate is sent as well, which is needless",
    facts={**BELOW, "/chain_length": 3, "/chain/length": 3, "/chain/root_sent": True},
    issuer=MIDDLE,
    behind=[MIDDLE.der, ROOT.der],
)
ADDRESS = cert({"alternative_names": ["broker.example", "192.0.2.7"]})
leaf("good-address", "dialled by its address", facts=ADDRESS, extensions=with_names("broker.example", bytes([192, 0, 2, 7])), dialled="192.0.2.7")
SIX = bytes.fromhex("20010db8000000000000000000000007")
leaf("good-address-6", "dialled by its IPv6 address", facts=cert({"alternative_names": ["2001:db8::7"]}), extensions=with_names(SIX), dialled="2001:db8::7")
leaf("good-name-case", "a name in other letters", facts=cert({"alternative_names": ["BROKER.Example"]}), extensions=with_names("BROKER.Example"))
leaf(
    "good-no-usages",
    "without usages, which restricts nothing",
    facts=cert({"key_usage": None}),
    extensions=[basic(), names("broker.example")],
)
leaf("any-usage", "anyExtendedKeyUsage, which webpki and OpenSSL do not take for serverAuth", ["not_server_auth"], facts={**cert({"server_auth": False, "client_auth": False}), **untrusted("usage", None, True)}, extensions=USUAL[:2] + [extended(ANY), USUAL[3]])
leaf("good-server-only", "serverAuth alone", facts=cert({"client_auth": False}), extensions=USUAL[:2] + [extended(SERVER), USUAL[3]])
leaf("good-serial-20", "a serial number of 20 bytes", facts=cert({"serial_bytes": 20}), serial=tlv(2, b"\x7f" * 20))
leaf("good-serial-high-bit", "a serial number whose first bit is set, behind the zero that this needs", facts=cert({"serial_bytes": 9}), serial=tlv(2, b"\0" + b"\x80" * 8))
leaf("good-subject-printable", "a subject as PrintableString", subject=name("broker.example", 0x13))
leaf(
    "good-no-subject",
    "without a subject, with a critical alternative name",
    facts=cert({"subject": "", "common_name": None}),
    subject=name(),
    extensions=with_names("broker.example", critical=True),
)
leaf("good-unknown-extension", "an extension that nobody knows, not critical", extensions=USUAL + [extension("1.2.3.4", NULL)])
leaf("good-825-days", "825 days, the most there should be", facts=cert({"not_after": "2028-04-05T00:00:00Z", "lifetime_days": 825, "days_to_expiry": 765}), end="20280405")
leaf("good-60-days-left", "60 days left", facts=cert({"not_after": "2026-04-30T10:00:00Z", "lifetime_days": 119, "days_to_expiry": 60}), end="20260430100000")
CRL = {"/revocation_configured": True}
REVOCATION = {
    "/revocation/lists": 1,
    "/revocation/unreadable": 0,
    "/revocation/covered": True,
    "/revocation/signed": True,
    "/revocation/fresh": True,
    "/revocation/next_update": "2026-04-01T00:00:00Z",
    "/revocation/revoked": False,
    "/revocation/issuer_revoked": False,
}
leaf("good-not-revoked", "a revocation list that names another", facts={**CRL, **REVOCATION}, crl=revocation_list(ROOT, ROOT.key, [b"\1"]))
leaf("good-compressed-point", "P-256 with a compressed point, which is not tried on its curve", facts=cert({"key_weaknesses": None}), key=Ec("compressed", change=lambda point: bytes([2 + point[-1] % 2]) + point[1:33]))
PERMITTED = extension("2.5.29.30", seq(tlv(0xA0, seq(tlv(0x82, b"example")))), True)
NARROW = Authority("Corpus Narrow", Ec("narrow"), ROOT, extras=[basic(True), key_usage(CERT_SIGN), PERMITTED])
NARROW_FACTS = {"/certificate/issuer": "CN=Corpus Narrow", "/chain/issuers": 2, "/chain/issuer_subject": "CN=Corpus Narrow", "/chain_length": 2, "/chain/length": 2}
leaf("good-name-constraint", "below an intermediate that may only speak of .example", facts=NARROW_FACTS, issuer=NARROW, behind=[NARROW.der])

# --- dates -----------------------------------------------------------------------------------------------------------


def until(text, days, left, **more):
    return cert({"not_after": text, "lifetime_days": days, "days_to_expiry": left, **more})


leaf("expired", "expired", ["expired"], until("2026-02-01T00:00:00Z", 31, -29, expired=True), end="20260201")
leaf("expiring-29-days", "29 days left", ["expiring_30d"], until("2026-03-30T10:00:00Z", 88, 29), end="20260330100000")
leaf("expiring-59-days", "59 days left", ["expiring_60d"], until("2026-04-29T10:00:00Z", 118, 59), end="20260429100000")
leaf("not-yet-valid", "begins next month", ["not_yet_valid"], cert({"not_before": "2026-04-01T00:00:00Z", "lifetime_days": 274, "not_yet_valid": True}), begin="20260401")
leaf(
    "end-before-start",
    "ends before it begins; it follows that it has expired",
    ["end_before_start", "expired"],
    {
        **cert({"not_before": "2026-02-10T00:00:00Z", "not_after": "2026-02-01T00:00:00Z", "lifetime_days": -9, "days_to_expiry": -29, "expired": True, "violations": ["end_before_start"]}),
        **untrusted("validity", "InvalidCertValidity", True),
    },
    begin="20260210",
    end="20260201",
)
OUTLIVES = {"/chain/leaf_outlives_issuer": True}
leaf("lifetime-826-days", "826 days", ["long_lifetime"], until("2028-04-06T00:00:00Z", 826, 766), end="20280406")
leaf("lifetime-without-end", "no end at all (RFC 5280's 9999)", ["long_lifetime", "outlives_issuer"], {**until("9999-12-31T23:59:59Z", 2912442, 2912383, never_expires=True), **OUTLIVES}, end="99991231235959")
leaf("start-1970", "a clock that was never set", ["clock_never_set", "long_lifetime"], cert({"not_before": "1970-01-01T00:00:00Z", "lifetime_days": 20818}), begin="19700101")
leaf("start-2000", "the reset value of a real-time clock", ["clock_never_set", "long_lifetime"], cert({"not_before": "2000-01-01T00:00:00Z", "lifetime_days": 9861}), begin="20000101")
leaf("start-1066", "a start before 1970, which webpki does not read", ["clock_never_set", "long_lifetime", "untrusted_chain"], cert({"not_before": "1066-10-14T00:00:00Z", "lifetime_days": 350711}), begin=tlv(0x18, b"10661014000000Z"))
leaf("generalized-time", "a GeneralizedTime before 2050", ["not_as_rfc5280"], cert({"violations": ["wrong_time_type"]}), end=tlv(0x18, b"20261231235959Z"))

# --- keys ------------------------------------------------------------------------------------------------------------

for size in (512, 1024):
    leaf(f"rsa{size}", f"RSA with {size} bits", ["weak_key"], rsa_facts(size), key=rsa(f"rsa{size}", size))
SHORT = prime_from(Stream("2047").number(1023) | 3 << 1021)
leaf("rsa2047", "RSA with 2047 bits", ["weak_key"], rsa_facts(2047), key=Rsa(SHORT, prime("2047 q", 1024)))
P, Q = prime("weak p", 1024), prime("weak q", 1024)
leaf("exponent-one", "e = 1", ["exponent_one"], rsa_facts(exponent="1", weaknesses=["exponent_one"]), key=Rsa(P, Q, 1))
leaf("exponent-even", "an even exponent", ["malformed_key"], rsa_facts(exponent="65536", weaknesses=["malformed"]), key=Rsa(P, Q, 65536))
TOO_LARGE = P * Q + 2
leaf("exponent-too-large", "an exponent above the modulus", ["malformed_key"], rsa_facts(exponent=str(TOO_LARGE), weaknesses=["malformed"]), key=Rsa(P, Q, TOO_LARGE))
leaf("close-primes", "primes that share their upper half and more", ["factorable_key"], rsa_facts(weaknesses=["close_primes"]), key=Rsa(P, prime_from(P + (1 << 500))))
leaf("square", "one prime twice", ["factorable_key"], rsa_facts(weaknesses=["close_primes"]), key=Rsa(P, P))
for factor in (3, 65521, 65537):
    key = Rsa(factor, prime_from(Stream(f"factor {factor}").number(2048 - factor.bit_length() + 1) | 3 << (2047 - factor.bit_length())), 17)
    leaf(f"small-factor-{factor}", f"a modulus that {factor} divides", ["factorable_key"] + ([] if key.n.bit_length() >= 2048 else ["weak_key"]), rsa_facts(key.n.bit_length(), exponent="17", weaknesses=["small_factor"]), key=key)
leaf("even-modulus", "an even modulus", ["factorable_key"], rsa_facts(exponent="17", weaknesses=["small_factor"]), key=Rsa(2, prime("half", 2047), 17))


def roca_prime(title, e=65537):
    """As the library made primes of 1024 bits: k * M + 65537^a mod M, with M the product of the first 126 primes."""
    product = math.prod(([2] + SMALL)[:126])
    base = pow(65537, Stream(title).number(200), product)
    k = (3 << 1022) // product + Stream(title + " k").number(40)
    while not is_prime(k * product + base):
        k += 1
    return k * product + base


leaf("roca", "primes as Infineon's library made them (ROCA)", ["roca_key"], rsa_facts(weaknesses=["roca"]), key=Rsa(roca_prime("roca p"), roca_prime("roca q")))
PRIVATE = prime_from(Stream("wiener").number(400) | 3 << 398)
WIENER = Rsa(P, Q, pow(PRIVATE, -1, (P - 1) * (Q - 1)))
leaf("small-private-exponent", "a private exponent of 400 bits (Wiener)", ["factorable_key"], rsa_facts(exponent=str(WIENER.e), weaknesses=["small_private_exponent"]), key=WIENER)
NEGATIVE = Rsa(P, Q)
NEGATIVE.info = seq(seq(oid("1.2.840.113549.1.1.1"), NULL), bits(seq(tlv(2, (P * Q).to_bytes(256, "big")), integer(65537))))
leaf("negative-modulus", "a modulus without its leading zero, so that it is negative", ["malformed_key"], cert({"key_algorithm": "rsa", "key_bits": None, "key_curve": None, "key_weaknesses": ["malformed"]}), key=NEGATIVE)
SHARED = prime("shared", 1024)
for which in ("a", "b"):
    leaf(f"shared-prime-{which}", "shares a prime with the other, which neither shows alone", facts=rsa_facts(), key=Rsa(SHARED, prime(f"shared {which}", 1024)))
# Made by Debian's OpenSSL between 2006 and 2008 (CVE-2008-0166). Nothing in such a key says so: it has to be looked up.
DEBIAN = int(
    "D673252AF6723C3F72529403EAB7C30DEF3C52F97E799825F4A70191C616ADCF1ECE1113F1625971074C492C592025FDEADB"
    "DB146A081826BDF0D77C3C913DCF1B6F0B3B78F5108D2E493AD0EEE8CA5C021711ADC13D358E61133870FCD19C8E5C224039"
    "59782AA82E72AEE53A3D491E3912CE27B27E1A85EA69C19A527D28F7934C9823B7E56FDD657DAC83FDC65BB22A98D843DF73"
    "238919781B714C81A5E2AFEC71F5C54AA2A27C590AD94C03C1062D50EFCFFAC743E3C8A3AE056846A1D756EB862BF4224169"
    "D467C35215ADE0AFCC11E85FE629AFB802C4786FF2E9C929BCCF502B3D3B8876C6A11785CC398B389F1D86BDD9CB0BD4EC13"
    "956EC3FA270D",
    16,
)
leaf("debian-weak", "a key of Debian's that was one of some 32,000 (CVE-2008-0166), which a list tells and the key does not", facts=rsa_facts(), key=Raw([oid("1.2.840.113549.1.1.1"), NULL], seq(integer(DEBIAN), integer(65537))))
leaf("p192", "P-192", ["weak_key"], cert({"key_bits": 192, "key_curve": "P-192", "key_weaknesses": None}), key=Ec("p192", "P-192"))
leaf("p224", "P-224", ["weak_key"], cert({"key_bits": 224, "key_curve": "P-224", "key_weaknesses": None}), key=Ec("p224", "P-224"))
for curve in ("secp256k1", "brainpoolP256r1"):
    leaf(curve.lower(), curve, ["curve_not_allowed"], cert({"key_curve": curve, "key_weaknesses": None}), key=Ec(curve, curve))
leaf("explicit-curve", "P-256 with its numbers in full", ["curve_not_allowed"], cert({"key_curve": "explicit", "key_weaknesses": None}), key=Ec("explicit", explicit=True))
leaf("point-off-curve", "a point beside the curve", ["malformed_key"], cert({"key_weaknesses": ["not_on_curve"]}), key=Ec("off", change=lambda point: point[:-1] + bytes([point[-1] ^ 1])))
leaf("point-too-short", "half a point", ["malformed_key"], cert({"key_weaknesses": ["malformed"]}), key=Ec("short", change=lambda point: point[:40]))
leaf("ed25519-small-order", "Ed25519, a point of order 8", ["malformed_key"], cert({"key_algorithm": "ed25519", "key_curve": None, "key_weaknesses": ["small_order"]}), key=Raw([oid("1.3.101.112")], bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")))
ED448 = bytes.fromhex("5fd7449b59b461fd2ce787ec616ad46a1da1342485a70e1f8a0ea75d80e96778edf124769b46c7061bd6783df1e50f6cd1fa1abeafe8256180")
leaf("ed448", "Ed448, for which there is no test (the first key of RFC 8032, section 7.4)", facts=cert({"key_algorithm": "ed448", "key_bits": 456, "key_curve": None, "key_weaknesses": None}), key=Raw([oid("1.3.101.113")], ED448))
DSA = seq(integer(prime("dsa p", 1024)), integer(prime("dsa q", 160)), integer(4))
leaf("dsa", "DSA", ["weak_key"], cert({"key_algorithm": "1.2.840.10040.4.1", "key_bits": None, "key_curve": None, "key_weaknesses": None}), key=Raw([oid("1.2.840.10040.4.1"), DSA], integer(Stream("dsa").number(1000))))

# --- signatures ------------------------------------------------------------------------------------------------------

for kind, number in (("md5", "1.2.840.113549.1.1.4"), ("sha1", "1.2.840.113549.1.1.5"), ("pss-sha1", "1.2.840.113549.1.1.10")):
    leaf(f"signed-{kind}", f"signed with {kind}", ["weak_signature"], {**BY_RSA, **cert({"signature_algorithm": number, "weak_signature": True}), **unchecked(None)}, issuer=RSA_ROOT, kind=kind)
leaf("signed-ecdsa-sha1", "signed with ECDSA and SHA-1", ["weak_signature"], {**cert({"signature_algorithm": "1.2.840.10045.4.1", "weak_signature": True}), **unchecked(None)}, kind="sha1")
BAD = untrusted("bad_signature", "InvalidSignatureForPublicKey")
leaf("bad-signature", "one bit of the signature is wrong", ["untrusted_chain"], BAD, spoil=lambda value: value[:-1] + bytes([value[-1] ^ 1]))
leaf("signature-algorithms-differ", "the signed part names another algorithm than the signature", ["not_as_rfc5280"], {**cert({"violations": ["signature_algorithms_differ"]}), **untrusted("unreadable", "SignatureAlgorithmMismatch", True)}, inner=seq(oid("1.2.840.10045.4.3.3")))

# --- usages and extensions -------------------------------------------------------------------------------------------

leaf("client-only", "clientAuth and no serverAuth", ["not_server_auth"], {**cert({"server_auth": False}), **untrusted("usage", None, True)}, extensions=USUAL[:2] + [extended(CLIENT), USUAL[3]])
CA_LEAF = untrusted("leaf_is_ca", "CaUsedAsEndEntity", True)
leaf("ca-leaf", "CA:TRUE", ["leaf_is_ca"], {**cert({"is_ca": True, "key_usage": ["digital_signature", "key_cert_sign"]}), **CA_LEAF}, extensions=[basic(True), key_usage(DIGITAL_SIGNATURE, CERT_SIGN)] + USUAL[2:])
leaf("ca-leaf-path-length", "CA:TRUE with a path length", ["leaf_is_ca"], {**cert({"is_ca": True, "path_length": 0, "key_usage": ["digital_signature", "key_cert_sign"]}), **CA_LEAF}, extensions=[basic(True, 0), key_usage(DIGITAL_SIGNATURE, CERT_SIGN)] + USUAL[2:])
leaf("no-digital-signature", "a key usage without digitalSignature", ["not_for_signing"], cert({"key_usage": ["key_agreement"], "digital_signature": False}), extensions=[basic(), key_usage(KEY_AGREEMENT)] + USUAL[2:])
leaf("cert-sign-without-ca", "keyCertSign without being a CA", ["leaf_with_ca_rights"], cert({"key_usage": ["digital_signature", "key_cert_sign"], "violations": ["cert_sign_without_ca"]}), extensions=[basic(), key_usage(DIGITAL_SIGNATURE, CERT_SIGN)] + USUAL[2:])
leaf("path-length-without-ca", "a path length without being a CA", ["leaf_with_ca_rights"], cert({"path_length": 3, "violations": ["path_length_without_ca"]}), extensions=[basic(False, 3)] + USUAL[1:])
leaf("unknown-critical-extension", "a critical extension that nobody knows", ["unknown_critical_extension"], {**cert({"unknown_critical_extensions": ["1.2.3.4"]}), **untrusted("critical_extension", "UnsupportedCriticalExtension", True)}, extensions=USUAL + [extension("1.2.3.4", NULL, True)])
leaf("duplicate-extension", "the alternative name twice", ["not_as_rfc5280"], None, extensions=USUAL + [names("broker.example")])
leaf("duplicate-unknown-extension", "an unknown extension twice", ["not_as_rfc5280"], cert({"violations": ["duplicate_extension"]}), extensions=USUAL + [extension("1.2.3.4", NULL)] * 2)
leaf("unreadable-key-usage", "a key usage that is a null, and so allows nothing", ["not_as_rfc5280", "not_for_signing"], None, extensions=[basic(), extension("2.5.29.15", NULL)] + USUAL[2:])
leaf("unreadable-alternative-name", "an alternative name that is a null", ["not_as_rfc5280"], None, extensions=USUAL[:3] + [extension("2.5.29.17", NULL)])
leaf("must-staple", "demands a stapled answer, which does not come", ["staple_missing"], cert({"must_staple": True}), extensions=USUAL + [extension("1.3.6.1.5.5.7.1.24", seq(integer(5)))])

# --- names -----------------------------------------------------------------------------------------------------------

NO_NAME = {"/name_matches": False}
OTHER = {**cert({"subject": "CN=other", "common_name": "other"}), **NO_NAME}
leaf("other-name", "another name", ["name_mismatch"], {**cert({"alternative_names": ["other.example"]}), **OTHER}, subject=name("other"), extensions=with_names("other.example"))
leaf("common-name-only", "the name as common name alone", ["name_only_in_common_name"], {**cert({"alternative_names": []}), **NO_NAME, "/name_only_in_common_name": True}, extensions=USUAL[:3])
leaf("wildcard", "a star", ["wildcard_name"], {**cert({"alternative_names": ["*.site.example"], "wildcard": True, "subject": "CN=other", "common_name": "other"}), "/name_only_by_wildcard": True}, subject=name("other"), extensions=with_names("*.site.example"), dialled="broker.site.example")
leaf("wildcard-in-the-middle", "a star within a name", ["malformed_name", "name_mismatch"], None, subject=name("other"), extensions=with_names("bro*er.example"))
leaf("address-as-dns-name", "an address as a DNS name", ["malformed_name", "name_mismatch"], {**cert({"alternative_names": ["192.0.2.7"], "violations": ["address_as_dns_name"]}), **OTHER}, subject=name("other"), extensions=with_names("192.0.2.7"), dialled="192.0.2.7")
leaf("other-address", "another address", ["name_mismatch"], {**cert({"alternative_names": ["192.0.2.8"]}), **OTHER}, subject=name("other"), extensions=with_names(bytes([192, 0, 2, 8])), dialled="192.0.2.7")
leaf("space-in-name", "a name with a space", ["malformed_name"], cert({"alternative_names": ["broker.example", "bro ker"], "violations": ["malformed_dns_name"]}), extensions=with_names("broker.example", "bro ker"))
leaf("no-name", "neither subject nor alternative name", ["malformed_name", "name_mismatch"], {**cert({"subject": "", "common_name": None, "alternative_names": [], "violations": ["no_name"]}), **NO_NAME}, subject=name(), extensions=USUAL[:3])
leaf("empty-alternative-name", "an alternative name extension without names", ["malformed_name", "name_only_in_common_name"], None, extensions=USUAL[:3] + [names()])

# --- form ------------------------------------------------------------------------------------------------------------

leaf("version-1", "version 1, without extensions, which webpki does not read", ["untrusted_chain"], None, version=0, extensions=[])
leaf("version-1-with-extensions", "version 1, with extensions", ["not_as_rfc5280"], None, version=0)
leaf("negative-serial", "a negative serial number", ["malformed_serial"], None, serial=tlv(2, b"\xff\x01"))
leaf("zero-serial", "a serial number of zero", ["malformed_serial"], None, serial=integer(0))
leaf("long-serial", "a serial number of 21 bytes", ["malformed_serial"], None, serial=tlv(2, b"\x7f" * 21))
leaf("padded-serial", "a serial number with a zero too many", ["not_as_rfc5280"], None, serial=tlv(2, b"\0\1"))
leaf("boolean-01", "a boolean that is 01", ["not_as_rfc5280"], None, extensions=[seq(oid("2.5.29.19"), tlv(1, b"\1"), tlv(4, seq()))] + USUAL[1:])
leaf("long-length", "a length in more bytes than it needs", ["not_as_rfc5280"], None, subject=b"\x30\x81" + name("broker.example")[1:])
leaf("empty-issuer", "an issuer without a name", ["not_as_rfc5280", "untrusted_chain"], None, issuer_name=name())
leaf("trailing-bytes", "bytes behind the certificate", ["unparseable"], None, patch=lambda der: der + b"\0\0")
leaf("cut-off", "the second half is missing", ["unparseable"], None, patch=lambda der: der[: len(der) // 2])
leaf("indefinite-length", "an indefinite length", ["unparseable"], None, patch=lambda der: b"\x30\x80" + der[4:] + b"\0\0")
leaf("bad-length", "a length that goes beyond the end", ["unparseable"], None, patch=lambda der: der[:2] + b"\xff\xff" + der[4:])
add_sample("empty-sequence", "a sequence with nothing in it", [b"\x30\0"], ["unparseable"], None)
add_sample("garbage", "no DER at all", [b"this is not a certificate"], ["unparseable"], None)
leaf("bad-date", "a date that is none", ["unparseable"], None, end=tlv(0x17, b"269931235959Z"))

# --- chains ----------------------------------------------------------------------------------------------------------

ALONE = Authority("broker.example", Ec("alone"), begin="20260101", end="20261231235959", extras=USUAL)
add_sample("self-signed", "signed with its own key", [ALONE.der], ["untrusted_chain"], None)
leaf("other-root", "another authority, which is not sent", ["untrusted_chain"], None, issuer=STRANGER)
leaf("other-root-sent", "another authority, which is sent", ["untrusted_chain"], None, issuer=STRANGER, behind=[STRANGER.der])
leaf("impostor", "an authority of the same name with another key", ["untrusted_chain"], None, issuer=IMPOSTOR)
leaf("missing-intermediate", "the intermediate certificate is not sent", ["untrusted_chain"], None, issuer=MIDDLE)
LOW = Authority("Corpus Low", Ec("low"), MIDDLE)
leaf("wrong-order", "two intermediate certificates the wrong way round", ["chain_out_of_order"], None, issuer=LOW, behind=[MIDDLE.der, LOW.der])
leaf("stranger-in-chain", "a certificate that does not belong there", ["surplus_certificates"], None, issuer=MIDDLE, behind=[MIDDLE.der, STRANGER.der])
leaf("garbage-in-chain", "garbage behind the leaf", ["surplus_certificates"], None, behind=[b"\x30\3\2\1\1"])
PLAIN = Authority("Corpus Plain", Ec("plain"), ROOT, extras=[basic(), key_usage(DIGITAL_SIGNATURE)])
leaf("issuer-is-no-ca", "issued by a certificate that is no CA", ["untrusted_chain"], None, issuer=PLAIN, behind=[PLAIN.der])
TIGHT = Authority("Corpus Tight", Ec("tight"), ROOT, extras=[basic(True, 0), key_usage(CERT_SIGN)])
BELOW_TIGHT = Authority("Corpus Below Tight", Ec("below tight"), TIGHT)
leaf("path-too-long", "a CA below one that allows none", ["untrusted_chain"], None, issuer=BELOW_TIGHT, behind=[BELOW_TIGHT.der, TIGHT.der])
ELSEWHERE = extension("2.5.29.30", seq(tlv(0xA0, seq(tlv(0x82, b"elsewhere.example")))), True)
NARROWER = Authority("Corpus Elsewhere", Ec("elsewhere"), ROOT, extras=[basic(True), key_usage(CERT_SIGN), ELSEWHERE])
leaf("name-constraint", "below an intermediate that may only speak of others", ["untrusted_chain"], None, issuer=NARROWER, behind=[NARROWER.der])
FOR_CLIENTS = Authority("Corpus Clients", Ec("clients"), ROOT, extras=[basic(True), key_usage(CERT_SIGN), extended(CLIENT)])
leaf("issuer-for-clients", "below an intermediate for clients alone", ["untrusted_chain"], None, issuer=FOR_CLIENTS, behind=[FOR_CLIENTS.der])
OLD_HASH = Authority("Corpus Old Hash", Ec("old hash"), RSA_ROOT, kind="sha1", begin="20260101")
leaf("issuer-signed-sha1", "below an intermediate that is signed with SHA-1", ["issuer_weak_signature"], None, issuer=OLD_HASH, behind=[OLD_HASH.der])
leaf("issuer-rsa1024", "below a root with RSA of 1024 bits", ["issuer_weak_key"], None, issuer=SHORT_ROOT)
WEAK = Authority("Corpus Weak", Rsa(roca_prime("roca p"), roca_prime("roca q")), ROOT)
leaf("issuer-roca", "below an intermediate with a ROCA key", ["issuer_weak_key"], None, issuer=WEAK, behind=[WEAK.der])
ENDED = Authority("Corpus Ended", Ec("ended"), ROOT, end="20260201")
leaf("issuer-expired", "below an intermediate that has expired", ["issuer_expired"], None, issuer=ENDED, behind=[ENDED.der])
leaf("root-expired", "below a root that has expired, to which webpki gives no date", ["issuer_expired"], None, issuer=ENDED_ROOT)
leaf("issuer-expiring", "below a root with 31 days left", ["issuer_expiring_60d"], None, issuer=ENDING_ROOT)
BRIEF = Authority("Corpus Brief", Ec("brief"), ROOT, end="20260901")
leaf("outlives-issuer", "below an intermediate that ends first", ["outlives_issuer"], None, issuer=BRIEF, behind=[BRIEF.der])

# --- revocation ------------------------------------------------------------------------------------------------------

SERIAL = b"\x2a" + hashlib.sha256(b"revoked").digest()[:11]
leaf("revoked", "its issuer's list names it", ["revoked"], {**CRL, **REVOCATION, "/revocation/revoked": True}, crl=revocation_list(ROOT, ROOT.key, [b"\1", SERIAL]))
leaf("list-overdue", "the next list is overdue", ["revocation_list_stale"], {**CRL, **REVOCATION, "/revocation/fresh": False, "/revocation/next_update": "2026-02-20T00:00:00Z"}, crl=revocation_list(ROOT, ROOT.key, [b"\1"], due="20260220"))
leaf("list-of-another", "a list by another authority", ["revocation_list_unusable"], None, crl=revocation_list(STRANGER, STRANGER.key, [b"\1"]))
leaf("list-forged", "a list in its issuer's name by another key", ["revocation_list_unusable"], None, crl=revocation_list(ROOT, IMPOSTOR.key, [SERIAL]))
GONE = Authority("Corpus Gone", Ec("gone"), ROOT)
GONE_SERIAL = b"\x2a" + hashlib.sha256(b"Corpus Gone").digest()[:11]
leaf("issuer-revoked", "below an intermediate that the root's list names", ["issuer_revoked"], None, issuer=GONE, behind=[GONE.der], crl=[revocation_list(GONE, GONE.key, [b"\1"]), revocation_list(ROOT, ROOT.key, [GONE_SERIAL])])

FILES["samples.json"] = "[\n" + ",\n".join(json.dumps(sample, ensure_ascii=False) for sample in SAMPLES) + "\n]\n"


def is_made(path):
    """`facts.json` is a test's."""
    return path.suffix in (".pem", ".crl", ".json", ".key") and path.name != "facts.json"


def main():
    if sys.argv[1:] == ["--check"]:
        there = {path.name: path.read_text() for path in FOLDER.iterdir() if is_made(path)}
        wrong = sorted(name for name in FILES.keys() | there.keys() if FILES.get(name) != there.get(name))
        print("\n".join(["not as made here:", *wrong]) if wrong else f"{len(SAMPLES)} samples, all as made here")
        return 1 if wrong else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in FOLDER.iterdir():
        if is_made(path):
            path.unlink()
    for title, text in FILES.items():
        (FOLDER / title).write_text(text)
    print(f"{len(SAMPLES)} samples in {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
