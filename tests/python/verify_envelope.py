#!/usr/bin/env python3
"""Verifies Gatepost's envelopes with libraries that know nothing of Gatepost.

securesystemslib checks the DSSE envelope and its Ed25519 signature, rfc8785 the canonical form of the payload. What is
left to this file is to compare names. It prints one line for each file and ends with 0 only if every one of them is good.

    verify_envelope.py --key gateway.pub.pem run.json ...           each is a signed run of that gateway
    verify_envelope.py --key gateway.pub.pem --chain 1.json 2.json  and each follows the one before it
    verify_envelope.py --key gateway.pub.pem --rotation r.json ...  after the gateway rotated its key (one option for each)
    verify_envelope.py --key sink.pub.pem --receipt receipt.json    each is a signed receipt of that sink

The first word after "rejected:" is the cause: malformed, signature_count, payload_type, unknown_key, bad_signature,
not_canonical, not_a_run, not_a_receipt, other_gateway, chain, retired_key, early_key; of a rotation not_a_rotation,
no_possession, fork, key_reused, not_growing.
"""

import argparse
import base64
import hashlib
import json
import sys

import rfc8785
from cryptography.exceptions import InvalidSignature
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


class Rejected(Exception):
    """Why a file is not good: a word for programs, and words for people."""

    def __init__(self, cause, words):
        super().__init__(f"{cause}: {words}")


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
            keyid = json.loads(data)["signatures"][0]["keyid"]
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
        members = {"gateway", "seq", "prev", "old_key", "new_key", "at", "proof"}
        if not isinstance(rotation, dict) or set(rotation) != members:
            raise Rejected("not_a_rotation", "it has other members than a rotation")
        if rotation["gateway"] != self.gateway:
            raise Rejected("other_gateway", f"it speaks of {rotation['gateway']}")
        seq = rotation["seq"]
        try:
            if rotation["old_key"] != signer.keyid:
                raise ValueError("old_key is not the key that signed")
            if not isinstance(seq, int) or seq < 1 or (seq == 1) != (rotation["prev"] is None):
                raise ValueError(f"seq {seq} and prev do not fit")
            spki = base64.b64decode(rotation["new_key"], validate=True)
            public = load_der_public_key(spki)
            if not isinstance(public, Ed25519PublicKey):
                raise ValueError("new_key is not an Ed25519 key")
            proof = base64.b64decode(rotation["proof"], validate=True)
        except (ValueError, TypeError) as error:
            raise Rejected("not_a_rotation", error) from error
        claim = rfc8785.dumps({name: value for name, value in rotation.items() if name != "proof"})
        signed = b"DSSEv1 %d %s %d %s" % (len(POSSESSION_TYPE), POSSESSION_TYPE.encode(), len(claim), claim)
        keyid = hashlib.sha256(spki).hexdigest()
        try:
            public.verify(proof, signed)
        except InvalidSignature as error:
            raise Rejected("no_possession", f"key {keyid} did not sign it") from error
        if signer.keyid != self.current().keyid:
            raise Rejected("fork", f"key {signer.keyid} was given up by another rotation already")
        if any(key.keyid == keyid for _, key in self.keys):
            raise Rejected("key_reused", f"key {keyid} has been a key of this gateway already")
        if len(self.keys) > 1 and seq <= self.keys[-1][0]:
            raise Rejected("not_growing", f"place {seq} after {self.keys[-1][0]}")
        self.keys.append((seq, SSlibKey.from_crypto(public, keyid=keyid, scheme="ed25519")))
        return seq, rotation["prev"]


def once(pairs):
    """An object in which every name stands once."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return value


def number(digits):
    """A JSON number without a point. RFC 8785 knows doubles only, so what a double cannot count exactly is one."""
    value = int(digits)
    return value if abs(value) < 2**53 else float(digits)


def open_payload(data, expected_type, key):
    """The payload's bytes, after the signature was checked."""
    try:
        document = json.loads(data, object_pairs_hook=once)
        count = len(document["signatures"])
        envelope = Envelope.from_dict(document) if count == 1 else None
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected("malformed", error) from error
    if envelope is None:
        raise Rejected("signature_count", f"{count} signatures, not one")
    if envelope.payload_type != expected_type:
        raise Rejected("payload_type", f"{envelope.payload_type!r}, not {expected_type!r}")
    if key.keyid not in envelope.signatures:
        raise Rejected("unknown_key", f"signed by {', '.join(envelope.signatures)}, not by {key.keyid}")
    try:
        envelope.verify([key], threshold=1)
    except VerificationError as error:
        raise Rejected("bad_signature", error) from error
    return envelope.payload


def value_of(payload):
    """The value of a payload that is canonical JSON."""
    try:
        value = json.loads(payload, object_pairs_hook=once, parse_int=number)
        canonical = rfc8785.dumps(value)
    except ValueError as error:
        raise Rejected("not_canonical", error) from error
    if canonical != payload:
        raise Rejected("not_canonical", "the payload is not the RFC 8785 form of what it holds")
    return value


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
    try:
        if statement["_type"] != STATEMENT_TYPE:
            raise Rejected("not_a_run", f"_type is {statement['_type']!r}")
        if statement["predicateType"] != PREDICATE_TYPE:
            raise Rejected("not_a_run", f"predicateType is {statement['predicateType']!r}")
        [subject] = statement["subject"]
        run = statement["predicate"]
        for named in (subject["digest"]["sha256"], run["gateway"]["id"]):
            if named != gateway:
                raise Rejected("other_gateway", f"it speaks of {named}, and {gateway} signed")
        if subject["name"] != run["gateway"]["name"]:
            raise Rejected("not_a_run", "the subject and the predicate name the gateway differently")
        if run["seq"] < 1 or (run["seq"] == 1) != (run["prev"] is None):
            raise Rejected("not_a_run", f"seq {run['seq']} and prev do not fit")
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected("not_a_run", repr(error)) from error
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
