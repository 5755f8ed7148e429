#!/usr/bin/env python3
"""Verifies Gatepost's envelopes with libraries that know nothing of Gatepost.

securesystemslib checks the DSSE envelope and its Ed25519 signature, rfc8785 the canonical form of the payload. What is
left to this file is to compare names. It prints one line for each file and ends with 0 only if every one of them is good.

    verify_envelope.py --key gateway.pub.pem run.json ...           each is a signed run of that gateway
    verify_envelope.py --key gateway.pub.pem --chain 1.json 2.json  and each follows the one before it
    verify_envelope.py --key gateway.pub.pem --rotation r.json ...  after the gateway rotated its key (one option for each)
    verify_envelope.py --key sink.pub.pem --receipt receipt.json    each is a signed receipt of that sink

The first word after "rejected:" is the cause: too_large, malformed, signature_count, payload_type, unknown_key, bad_signature,
not_canonical, not_a_run, not_a_receipt, other_gateway, chain, retired_key, early_key; of a rotation not_a_rotation,
no_possession, fork, key_reused, not_growing, too_many.
"""

import argparse
import base64
import hashlib
import json
import re
import sys
from datetime import datetime

import rfc8785
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

RUN_TYPE = "application/vnd.in-toto+json"
RECEIPT_TYPE = "application/vnd.gatepost.receipt+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:gatepost:run:v1"
ROTATION_TYPE = "application/vnd.gatepost.key-rotation+json"
POSSESSION_TYPE = "application/vnd.gatepost.key-possession+json"
MAX_ENVELOPE = 1024 * 1024
MAX_DEPTH = 127
MAX_ROTATIONS = 256
HEX = "[0-9a-f]{64}"
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,8}[1-9])?Z")
# Curve25519's prime, and the y of its points of small order.
PRIME = 2**255 - 19
EIGHTH = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
SMALL_ORDER = {0, 1, PRIME - 1, EIGHTH, PRIME - EIGHTH}


class Rejected(Exception):
    """Why a file is not good: a word for programs, and words for people."""

    def __init__(self, cause, words):
        super().__init__(f"{cause}: {words}")


# Shapes


def is_text(value):
    """Whether this is a text."""
    return isinstance(value, str)


def is_digest(value):
    """Whether this is a digest."""
    return is_text(value) and re.fullmatch(HEX, value) is not None


def is_count(value):
    """Whether this is a whole number of zero or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_time(value):
    """Whether this is a time, in the one form it has."""
    try:
        return datetime.fromisoformat(value) is not None and TIME.fullmatch(value) is not None
    except (TypeError, ValueError):
        return False


def or_null(is_right):
    """The same, or null."""
    return lambda value: value is None or is_right(value)


def one_of(*words):
    """One of these words."""
    return lambda value: is_text(value) and value in words


def listed(is_right):
    """A list of these."""
    return lambda value: isinstance(value, list) and all(map(is_right, value))


def members(**wanted):
    """An object with exactly these members, each as its predicate wants it."""
    return lambda value: (
        isinstance(value, dict)
        and set(value) == set(wanted)
        and all(is_right(value[name]) for name, is_right in wanted.items())
    )


IS_ENVELOPE = members(payload=is_text, payloadType=is_text, signatures=listed(members(keyid=is_text, sig=is_text)))
IS_RECORD = members(
    check=is_text,
    contract=lambda value: is_count(value) and value < 2**32,
    target=members(
        kind=one_of("broker", "ingest_edge", "gateway_service", "host", "device", "registry", "uplink"), name=is_text
    ),
    status=one_of("observed", "unreachable", "denied", "timed_out", "error", "skipped"),
    detail=or_null(is_text),
    observed_at=is_time,
    duration_ms=is_count,
    observation=lambda value: True,
)
IS_RUN = members(
    gateway=members(
        id=is_digest, name=is_text, labels=lambda value: isinstance(value, dict) and all(map(is_text, value.values()))
    ),
    seq=is_count,
    prev=or_null(is_digest),
    stage=one_of("audit", "sprint", "retainer"),
    bundle=members(name=is_text, version=is_text),
    agent=members(version=is_text),
    host=members(os=or_null(is_text), kernel=or_null(is_text), architecture=is_text, model=or_null(is_text)),
    clock=members(
        boot_id=or_null(is_text),
        uptime_ms=is_count,
        synchronised=or_null(lambda value: isinstance(value, bool)),
        source=or_null(is_text),
        sink_time=or_null(is_time),
    ),
    started_at=is_time,
    finished_at=is_time,
    records=listed(IS_RECORD),
)
IS_STATEMENT = members(
    _type=is_text,
    subject=listed(members(name=is_text, digest=members(sha256=is_digest))),
    predicateType=is_text,
    predicate=IS_RUN,
)
IS_ROTATION = members(
    gateway=is_digest,
    seq=is_count,
    prev=or_null(is_digest),
    old_key=is_digest,
    new_key=is_text,
    at=is_time,
    proof=is_text,
)


def load_key(path):
    """The public key, known by the SHA-256 of its SubjectPublicKeyInfo."""
    with open(path, "rb") as file:
        public = load_pem_public_key(file.read())
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SSlibKey.from_crypto(public, keyid=hashlib.sha256(spki).hexdigest(), scheme="ed25519")


class Ring:
    """The keys of one gateway: each a key, its SHA-256, and the first place that it signs."""

    def __init__(self, first):
        self.gateway = first.keyid
        self.keys = [(1, first)]

    def current(self):
        """The key that signs what comes next."""
        return self.keys[-1][1]

    def named(self, data):
        """The key that an envelope names; the current one if it names none of these, for the check to fail on."""
        try:
            keyid = read_json(data)["signatures"][0]["keyid"]
        except (ValueError, KeyError, IndexError, TypeError):
            keyid = None
        return next((key for _, key in self.keys if key.keyid == keyid), self.current())

    def check(self, key, seq, only_one=True):
        """That a key may sign for a place: a run is signed by one key only, a tombstone by any not given up before."""
        at = next(at for at, (_, known) in enumerate(self.keys) if known.keyid == key.keyid)
        if at + 1 < len(self.keys) and self.keys[at + 1][0] <= seq:
            raise Rejected("retired_key", f"{key.keyid} was given up at place {self.keys[at + 1][0]}, and signed for {seq}")
        if only_one and self.keys[at][0] > seq:
            raise Rejected("early_key", f"{key.keyid} signs from place {self.keys[at][0]}, and signed for {seq}")

    def add(self, data):
        """Adds the next rotation, and gives its place and what it says stands before that."""
        signer = self.named(data)
        rotation = value_of(open_payload(data, ROTATION_TYPE, signer))
        if not IS_ROTATION(rotation):
            raise Rejected("not_a_rotation", "it has another shape than a rotation")
        if rotation["gateway"] != self.gateway:
            raise Rejected("other_gateway", f"it speaks of {rotation['gateway']}")
        seq = rotation["seq"]
        try:
            if rotation["old_key"] != signer.keyid:
                raise ValueError("old_key is not the key that signed")
            if seq < 1 or (seq == 1) != (rotation["prev"] is None):
                raise ValueError(f"seq {seq} and prev do not fit")
            spki = from_base64(rotation["new_key"])
            public = load_der_public_key(spki)
            if not isinstance(public, Ed25519PublicKey):
                raise ValueError("new_key is not an Ed25519 key")
            proof = from_base64(rotation["proof"])
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Rejected("not_a_rotation", error) from error
        claim = rfc8785.dumps({name: value for name, value in rotation.items() if name != "proof"})
        signed = b"DSSEv1 %d %s %d %s" % (len(POSSESSION_TYPE), POSSESSION_TYPE.encode(), len(claim), claim)
        keyid = hashlib.sha256(spki).hexdigest()
        try:
            public.verify(proof, signed)
            if is_small(spki[-32:]) or is_small(proof[:32]):
                raise InvalidSignature
        except InvalidSignature as error:
            raise Rejected("no_possession", f"key {keyid} did not sign it") from error
        if signer.keyid != self.current().keyid:
            raise Rejected("fork", f"key {signer.keyid} was given up by another rotation already")
        if any(key.keyid == keyid for _, key in self.keys):
            raise Rejected("key_reused", f"key {keyid} has been a key of this gateway already")
        if len(self.keys) > 1 and seq <= self.keys[-1][0]:
            raise Rejected("not_growing", f"place {seq} after {self.keys[-1][0]}")
        if len(self.keys) > MAX_ROTATIONS:
            raise Rejected("too_many", f"more than {MAX_ROTATIONS} rotations")
        self.keys.append((seq, SSlibKey.from_crypto(public, keyid=keyid, scheme="ed25519")))
        return seq, rotation["prev"]


def once(pairs):
    """An object in which every name stands once."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return value


def number(digits):
    """A JSON number without a point. What 64 bits hold and a double cannot count exactly is refused; beyond, it is a double."""
    value = int(digits)
    if abs(value) < 2**53:
        return value
    if -(2.0**63) <= float(value) < 2.0**64:
        raise ValueError(f"{digits} is beyond 2^53 - 1")
    return float(value)


def no_constant(word):
    """NaN and Infinity, which Python would read."""
    raise ValueError(f"{word} is not JSON")


def read_json(data):
    """The value of JSON in UTF-8, nested no deeper than all readers go."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=once, parse_int=number, parse_constant=no_constant)
    except (RecursionError, OverflowError) as error:
        raise ValueError(repr(error)) from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [one for one in level if isinstance(one, (dict, list))]
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    if any(isinstance(one, (dict, list)) for one in level):
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    return value


def from_base64(text):
    """Bytes from the one form they have in base64."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not base64 in its one form")
    return data


def is_small(point):
    """Whether a key, or the first half of a signature, is a point of small order, which proves nothing."""
    return int.from_bytes(point, "little") % 2**255 % PRIME in SMALL_ORDER


def open_payload(data, expected_type, key):
    """The payload's bytes, after the signature was checked."""
    if len(data) > MAX_ENVELOPE:
        raise Rejected("too_large", f"{len(data)} bytes")
    try:
        document = read_json(data)
    except ValueError as error:
        raise Rejected("malformed", error) from error
    if not IS_ENVELOPE(document):
        raise Rejected("malformed", "it is not an envelope")
    if len(document["signatures"]) != 1:
        raise Rejected("signature_count", f"{len(document['signatures'])} signatures, not one")
    if document["payloadType"] != expected_type:
        raise Rejected("payload_type", f"{document['payloadType']!r}, not {expected_type!r}")
    [signature] = document["signatures"]
    if signature["keyid"] != key.keyid:
        raise Rejected("unknown_key", f"signed by {signature['keyid']}, not by {key.keyid}")
    try:
        from_base64(document["payload"])
        point = from_base64(signature["sig"])[:32]
    except ValueError as error:
        raise Rejected("malformed", error) from error
    try:
        envelope = Envelope.from_dict(document)
        envelope.verify([key], threshold=1)
        if is_small(point) or is_small(bytes.fromhex(key.keyval["public"])):
            raise VerificationError("a point of small order")
    except VerificationError as error:
        raise Rejected("bad_signature", error) from error
    return envelope.payload


def canonical(data, cause):
    """The value of canonical JSON."""
    try:
        value = read_json(data)
        if rfc8785.dumps(value) == data:
            return value
    except ValueError as error:
        raise Rejected(cause, error) from error
    raise Rejected(cause, "it is not the RFC 8785 form of what it holds")


def value_of(payload):
    """The value of a payload that is canonical JSON."""
    return canonical(payload, "not_canonical")


def open_envelope(path, expected_type, key):
    """The payload's bytes and the value they hold, after the signature was checked."""
    with open(path, "rb") as file:
        data = file.read()
    payload = open_payload(data, expected_type, key)
    return payload, value_of(payload)


def open_run(path, ring):
    """The run in an envelope, and the digest of its payload."""
    with open(path, "rb") as file:
        data = file.read()
    key = ring.named(data)
    run, digest = open_run_payload(open_payload(data, RUN_TYPE, key), ring.gateway)
    ring.check(key, run["seq"])
    return run, digest


def open_run_payload(payload, gateway):
    """The run of this gateway that a payload holds, and the payload's digest."""
    statement = value_of(payload)
    if not IS_STATEMENT(statement):
        raise Rejected("not_a_run", "it has another shape than a run")
    for name, wanted in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if statement[name] != wanted:
            raise Rejected("not_a_run", f"{name} is {statement[name]!r}")
    if len(statement["subject"]) != 1:
        raise Rejected("not_a_run", f"{len(statement['subject'])} subjects, not one")
    [subject] = statement["subject"]
    run = statement["predicate"]
    for named in (subject["digest"]["sha256"], run["gateway"]["id"]):
        if named != gateway:
            raise Rejected("other_gateway", f"it speaks of {named}, and {gateway} signed")
    if subject["name"] != run["gateway"]["name"]:
        raise Rejected("not_a_run", "the subject and the predicate name the gateway differently")
    if run["seq"] < 1 or (run["seq"] == 1) != (run["prev"] is None):
        raise Rejected("not_a_run", f"seq {run['seq']} and prev do not fit")
    records = run["records"]
    if any((record["status"] == "observed") != (record["observation"] is not None) for record in records):
        raise Rejected("not_a_run", "a record's status does not fit its observation")
    looks = [(record["check"], record["target"]["kind"], record["target"]["name"]) for record in records]
    if len(set(looks)) != len(looks):
        raise Rejected("not_a_run", "there are two records of one check and target")
    return run, hashlib.sha256(payload).hexdigest()


def open_receipt(path, key):
    """The receipt in an envelope."""
    _, receipt = open_envelope(path, RECEIPT_TYPE, key)
    if not isinstance(receipt, dict) or set(receipt) != {"gateway", "seq", "digest", "accepted_at"}:
        raise Rejected("not_a_receipt", "it has other members than a receipt")
    return receipt


def verify(path, ring, arguments, before):
    """One line about a good file, and what the next one in a chain must follow."""
    if arguments.receipt:
        receipt = open_receipt(path, ring.current())
        return f"receipt for run {receipt['seq']} {receipt['digest']}", None
    run, digest = open_run(path, ring)
    if arguments.chain and before is not None and (run["seq"] - 1, run["prev"]) != before:
        raise Rejected("chain", f"run {run['seq']} after {run['prev']} does not follow run {before[0]} {before[1]}")
    return f"run {run['seq']} of {run['gateway']['name']} {digest}", (run["seq"], digest)


def main():
    """See the words at the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key", required=True, help="public key of the signer, PEM")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--chain", action="store_true", help="each file must follow the one before it")
    kind.add_argument("--receipt", action="store_true", help="the files are receipts")
    parser.add_argument("--rotation", action="append", default=[], help="a rotation to the gateway's next key; in order")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    ring = Ring(load_key(arguments.key))
    for path in arguments.rotation:
        with open(path, "rb") as file:
            try:
                ring.add(file.read())
            except Rejected as rejected:
                print(f"{path}: rejected: {rejected}")
                return 1
    before, bad = None, 0
    for path in arguments.files:
        try:
            words, before = verify(path, ring, arguments, before)
            print(f"{path}: good: {words}")
        except Rejected as rejected:
            bad += 1
            print(f"{path}: rejected: {rejected}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
