#!/usr/bin/env python3
"""Verifies Gatepost's envelopes with libraries that know nothing of Gatepost.

securesystemslib checks the DSSE envelope and its Ed25519 signature, rfc8785 the canonical form of the payload. What is
left to this file is to compare names. It prints one line for each file and ends with 0 only if every one of them is good.

    verify_envelope.py --key gateway.pub.pem run.json ...           each is a signed run of that gateway
    verify_envelope.py --key gateway.pub.pem --chain 1.json 2.json  and each follows the one before it
    verify_envelope.py --key sink.pub.pem --receipt receipt.json    each is a signed receipt of that sink

The first word after "rejected:" is the cause: malformed, signature_count, payload_type, unknown_key, bad_signature,
not_canonical, not_a_run, not_a_receipt, other_gateway, chain.
"""

import argparse
import hashlib
import json
import sys

import rfc8785
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

RUN_TYPE = "application/vnd.in-toto+json"
RECEIPT_TYPE = "application/vnd.gatepost.receipt+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:gatepost:run:v1"


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


def open_run(path, key):
    """The run in an envelope, and the digest of its payload."""
    with open(path, "rb") as file:
        data = file.read()
    return open_run_payload(open_payload(data, RUN_TYPE, key), key)


def open_run_payload(payload, key):
    """The run that a payload holds, and the payload's digest."""
    statement = value_of(payload)
    try:
        if statement["_type"] != STATEMENT_TYPE:
            raise Rejected("not_a_run", f"_type is {statement['_type']!r}")
        if statement["predicateType"] != PREDICATE_TYPE:
            raise Rejected("not_a_run", f"predicateType is {statement['predicateType']!r}")
        [subject] = statement["subject"]
        run = statement["predicate"]
        for named in (subject["digest"]["sha256"], run["gateway"]["id"]):
            if named != key.keyid:
                raise Rejected("other_gateway", f"it speaks of {named}, and {key.keyid} signed")
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


def verify(path, key, arguments, before):
    """One line about a good file, and what the next one in a chain must follow."""
    if arguments.receipt:
        receipt = open_receipt(path, key)
        return f"receipt for run {receipt['seq']} {receipt['digest']}", None
    run, digest = open_run(path, key)
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
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    key = load_key(arguments.key)
    before, bad = None, 0
    for path in arguments.files:
        try:
            words, before = verify(path, key, arguments, before)
            print(f"{path}: good: {words}")
        except Rejected as rejected:
            bad += 1
            print(f"{path}: rejected: {rejected}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
