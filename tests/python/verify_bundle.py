#!/usr/bin/env python3
"""Verifies Gatepost's evidence bundles from docs/evidence-format.md alone, with libraries that know nothing of Gatepost.

It checks what `gatepost verify` checks, verdicts as far as judge.py knows how: where it does not, a line begins with
"not judged:", with the reason, and the exit code is that of the rest. The first word after "broken:" or "not a bundle:" is the
reason, the same as that of `gatepost verify`.

    verify_bundle.py BUNDLE [--gateway-key PEM | --gateway ID] [--sink-key PEM]

Exit codes: 0 what was checked holds, 1 something is broken, 2 the file cannot be read or is not a bundle.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import sys
import tomllib
from collections import Counter

import rfc8785
import zstandard
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import SSlibKey

# Python's isolated mode does not look beside the script.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from verify_envelope import (
    HEX, MAX_ENVELOPE, RECEIPT_TYPE, Rejected, Ring, canonical, from_base64, is_count, is_digest, is_text, is_time, listed,
    members, one_of, open_payload, open_run_payload, or_null, read_json,
)

MAX_BYTES = 64 * 1024 * 1024
MAX_FILES = 100_000
BLOCK = 512
SEAL_TYPE = "application/vnd.gatepost.bundle+json"
TOMBSTONE_TYPE = "application/vnd.gatepost.tombstone+json"
SEQ = "[1-9][0-9]{0,15}"
KINDS = {
    "key": re.compile(r"keys/(gateway|sink)\.pem"),
    "run": re.compile(rf"runs/({SEQ})\.json"),
    "tombstone": re.compile(rf"tombstones/({SEQ})-({SEQ})\.json"),
    "rotation": re.compile(rf"rotations/({SEQ})\.json"),
    "receipt": re.compile(rf"receipts/({SEQ})\.json"),
    "consistency": re.compile(rf"consistency/({SEQ})-({SEQ})\.json"),
    "pack": re.compile(rf"packs/({HEX})\.toml"),
    "claim": re.compile(rf"assessments/({SEQ})\.({HEX})\.json"),
}
CAUSES = ("acknowledged_expired", "quarantined_expired", "too_old", "no_room", "damaged")


class NotABundle(Exception):
    """Why the container was not read: a word for programs, and words for people."""


def broken(cause, words):
    """Ends the verification: the first reason is the answer."""
    raise Rejected(cause, words)


# The container


def decompress(data):
    """The one zstd frame, of bounded size."""
    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 26).decompressobj()
    out, total = [], 0
    try:
        for at in range(0, len(data), 1024):
            out.append(decoder.decompress(data[at : at + 1024]))
            total += len(out[-1])
            if total > MAX_BYTES:
                raise NotABundle("too_large: beyond 64 MiB")
            if decoder.eof:
                if decoder.unused_data or at + 1024 < len(data):
                    raise NotABundle("trailing_data: bytes behind the frame")
                return b"".join(out)
    except zstandard.ZstdError as error:
        raise NotABundle(f"not_zstd: {error}") from error
    raise NotABundle("not_zstd: the frame is cut short")


def is_name(name):
    """Whether a name leads nowhere else."""
    parts = name.split(b"/")
    return re.fullmatch(rb"[a-z0-9./-]{1,100}", name) and all(part and part[:1] != b"." for part in parts)


def header(name, size):
    """The one header that a file of this name and size has."""
    block = bytearray(BLOCK)
    block[0 : len(name)] = name
    block[100:124] = b"0000644\0" + b"0000000\0" * 2
    block[124:156] = b"%011o\0" % size + b"00000000000\0" + b" " * 8
    block[156:157] = b"0"
    block[257:265] = b"ustar\x0000"
    block[329:345] = b"0000000\0" * 2
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def unpack(tar):
    """The files of an archive that is written in the one way."""
    files, at, last = {}, 0, b""
    while True:
        block = tar[at : at + BLOCK]
        if len(block) < BLOCK:
            raise NotABundle("truncated: no end")
        at += BLOCK
        if not any(block):
            if len(tar) - at < BLOCK:
                raise NotABundle("truncated: half an end")
            if len(tar) - at > BLOCK or any(tar[at:]):
                raise NotABundle("not_tar: it goes on behind its end")
            return files
        if block[257:265] != b"ustar\x0000":
            raise NotABundle("not_tar: not a header of ustar")
        name = block[:100].split(b"\0")[0]
        if block[156:157] != b"0":
            raise NotABundle(f"not_a_file: {name!r}")
        if not is_name(name):
            raise NotABundle(f"path: {name!r}")
        if not re.fullmatch(rb"[0-7]{11}", block[124:135]):
            raise NotABundle("not_tar: a size is not a number")
        size = int(block[124:135], 8)
        padded = -(-size // BLOCK) * BLOCK
        if len(tar) - at < padded:
            raise NotABundle("truncated: a file is cut short")
        if block != header(name, size) or any(tar[at + size : at + padded]):
            raise NotABundle("not_tar: written in another way")
        if name.decode() in files:
            raise NotABundle(f"duplicate: {name!r}")
        if name < last:
            raise NotABundle(f"order: {name!r}")
        if len(files) == MAX_FILES:
            raise NotABundle("too_many_files: beyond 100,000")
        files[name.decode()] = tar[at : at + size]
        last, at = name, at + padded


# What is inside


def sha256(data):
    """A digest as it is written."""
    return hashlib.sha256(data).hexdigest()


def shape(value, cause, /, **wanted):
    """That an object has exactly these members, each as its predicate wants it."""
    if not isinstance(value, dict) or set(value) != set(wanted):
        broken(cause, "it has other members")
    for name, is_right in wanted.items():
        if not is_right(value[name]):
            broken(cause, f"{name} is {value[name]!r}")


def of_kind(files, kind):
    """The files of one kind in the order of what their names say."""
    found = []
    for name, data in files.items():
        if match := KINDS[kind].fullmatch(name):
            found.append((tuple(int(part) if len(part) < 17 else part for part in match.groups()), name, data))
    return sorted(found)


def load_pem(data):
    """A key in the plain PEM of Ed25519, known by the SHA-256 of its SubjectPublicKeyInfo."""
    try:
        public = load_pem_public_key(data)
        if not isinstance(public, Ed25519PublicKey):
            raise ValueError("not an Ed25519 key")
        if public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) != data:
            raise ValueError("not the plain PEM of its key")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Rejected("bad_key", error) from error
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public, SSlibKey.from_crypto(public, keyid=sha256(spki), scheme="ed25519")


def check_manifest(files):
    """The manifest, when its files and no others are there."""
    if "manifest.json" not in files:
        broken("missing_manifest", "there is none")
    manifest = canonical(files["manifest.json"], "bad_manifest")
    shape(
        manifest,
        "bad_manifest",
        format=is_count,
        gateway=is_digest,
        maker=one_of("agent", "sink"),
        created_at=is_time,
        first_seq=is_count,
        last_seq=is_count,
        files=listed(members(path=is_text, sha256=is_digest, size=is_count)),
    )
    if manifest["format"] != 1:
        broken("format_version", manifest["format"])
    paths = [entry["path"] for entry in manifest["files"]]
    if paths != sorted(set(paths)):
        broken("bad_manifest", "its files are not sorted, or one stands twice")
    for entry in manifest["files"]:
        path = entry["path"]
        if not any(kind.fullmatch(path) for kind in KINDS.values()):
            broken("unknown_file", path)
        if path not in files:
            broken("missing_file", path)
        if (sha256(files[path]), len(files[path])) != (entry["sha256"], entry["size"]):
            broken("wrong_digest", path)
    for path in files:
        if path not in paths and path not in ("manifest.json", "seal.json"):
            broken("extra_file", path)
    return manifest


def check_keys(files, manifest, gateway_id, sink_given):
    """The gateway's key, and the sink's if there is one."""
    if "keys/gateway.pem" not in files:
        broken("missing_key", "keys/gateway.pem")
    gateway = load_pem(files["keys/gateway.pem"])
    if gateway[1].keyid != manifest["gateway"]:
        broken("other_gateway", f"the key of {gateway[1].keyid}")
    if gateway_id not in (None, gateway[1].keyid):
        broken("unknown_key", f"the key of {gateway[1].keyid}, and {gateway_id} was to be expected")
    sink = load_pem(files["keys/sink.pem"]) if "keys/sink.pem" in files else None
    if sink and sink_given and sink[1].keyid != sink_given[1].keyid:
        broken("unknown_key", f"the sink's key is {sink[1].keyid}")
    sink = sink or sink_given
    if manifest["maker"] == "sink" and sink is None:
        broken("missing_key", "keys/sink.pem")
    return gateway, sink


def check_rotations(files, first):
    """The ring of the gateway's keys, and what each rotation says stands before its place."""
    ring, before = Ring(first), []
    for (seq,), name, data in of_kind(files, "rotation"):
        found, prev = ring.add(data)
        if found != seq:
            broken("other_seq", f"{name} is for place {found}")
        before.append((found, prev))
    return ring, before


def check_seal(files, key):
    """That the maker sealed the manifest."""
    if "seal.json" not in files:
        broken("missing_seal", "nobody sealed the manifest")
    data = files["seal.json"]
    payload = open_payload(data, SEAL_TYPE, key)
    document = read_json(data)
    [signature] = document["signatures"]
    plain = {
        "payload": document["payload"],
        "payloadType": document["payloadType"],
        "signatures": [{"keyid": signature["keyid"], "sig": signature["sig"]}],
    }
    if json.dumps(plain, separators=(",", ":")).encode() != data:
        broken("malformed", "the seal is not written as it should be")
    seal = canonical(payload, "malformed")
    shape(seal, "malformed", manifest=is_digest)
    if seal["manifest"] != sha256(files["manifest.json"]):
        broken("other_manifest", f"it seals {seal['manifest']}")


def check_runs(files, ring):
    """Each run by its place, and its digest."""
    runs = {}
    for (seq,), name, data in of_kind(files, "run"):
        key = ring.named(data)
        run, digest = open_run_payload(open_payload(data, "application/vnd.in-toto+json", key), ring.gateway)
        ring.check(key, run["seq"])
        if run["seq"] != seq:
            broken("other_seq", f"{name} is run {run['seq']}")
        runs[seq] = (run, digest)
    return runs


def check_tombstones(files, ring):
    """Each tombstone: its places, the runs it names before, first and last, itself if it knows no last one, and its fold."""
    places = []
    for place, name, data in of_kind(files, "tombstone"):
        key = ring.named(data)
        payload = open_payload(data, TOMBSTONE_TYPE, key)
        stone = canonical(payload, "malformed")
        digests = ("prev", "digest", "first_digest", "last_digest")
        shape(
            stone,
            "malformed",
            gateway=lambda gateway: gateway == ring.gateway,
            from_seq=is_count,
            to_seq=is_count,
            count=or_null(is_count),
            cause=one_of(*CAUSES),
            at=is_time,
            **{member: or_null(is_digest) for member in digests},
        )
        first, last, count, prev = stone["from_seq"], stone["to_seq"], stone["count"], stone["prev"]
        known = [stone[member] for member in (*digests[1:], "count")]
        if first == 0 or last < first or count not in (None, last - first + 1):
            broken("malformed", "it is not a range of places")
        if (stone["cause"] != "damaged" and None in known) or (first == 1 and prev is not None):
            broken("malformed", "it contradicts itself")
        ring.check(key, last, only_one=False)
        if (first, last) != place:
            broken("other_range", f"{name} stands for {first} to {last}")
        own = sha256(payload) if stone["last_digest"] is None else None
        places.append((first, last, prev, stone["first_digest"], stone["last_digest"], own, stone["digest"]))
    return places


def check_chain(manifest, rotations, runs, tombstones):
    """That every place from first to last has a run or a tombstone, and that nothing names another run than is there."""
    pieces = [(seq, seq, run["prev"], digest, digest, None) for seq, (run, digest) in runs.items()]
    pieces += [stone[:6] for stone in tombstones]
    upcoming = manifest["first_seq"]
    for first, last, *_ in sorted(pieces, key=lambda piece: piece[:2]):
        if first > upcoming:
            broken("gap", f"{upcoming} to {first - 1} are missing")
        upcoming = max(upcoming, last + 1)
    if upcoming != manifest["last_seq"] + 1:
        broken("gap", f"it should end with {manifest['last_seq']}")
    pieces += [(seq, seq, prev, None, None, None) for seq, prev in rotations]
    there, stands_in, named = {}, {}, {}
    for first, last, prev, first_run, last_run, own in pieces:
        for place, digest, said in ((first, first_run, there), (last, last_run, there), (last, own, stands_in),
                                    (first - 1, prev, named)):
            if digest is not None:
                said.setdefault(place, set()).add(digest)
    for place in sorted({*there, *stands_in, *named}):
        is_there, known = there.get(place, set()), there.get(place, set()) | stands_in.get(place, set())
        if len(is_there) > 1 or (known and not named.get(place, set()) <= known):
            broken("fork", f"different runs are named for place {place}")
    for first, last, *_, folded in tombstones:
        digests = [digest for seq, (_, digest) in sorted(runs.items()) if first <= seq <= last]
        if folded is not None and len(digests) == last - first + 1 and fold(digests) != folded:
            broken("fork", f"the tombstone of {first} to {last} folds other runs")


def fold(digests):
    """What a tombstone has as `digest` for these runs."""
    so_far = b""
    for digest in digests:
        so_far = hashlib.sha256(so_far + bytes.fromhex(digest)).digest()
    return so_far.hex()


def check_receipts(files, runs, gateway, sink):
    """The proofs that stand beside receipts that are good."""
    proofs = {}
    for (seq,), name, data in of_kind(files, "receipt"):
        if len(data) > MAX_ENVELOPE:
            broken("too_large", name)
        try:
            word = read_json(data)
        except ValueError as error:
            raise Rejected("malformed", error) from error
        if isinstance(word, dict) and set(word) == {"receipt", "log"}:
            receipt, proof = json.dumps(word["receipt"]).encode(), word["log"]
        else:
            receipt, proof = data, None
        receipt = canonical(open_payload(receipt, RECEIPT_TYPE, sink), "malformed")
        shape(receipt, "malformed", gateway=is_digest, seq=is_count, digest=is_digest, accepted_at=is_time)
        if seq not in runs:
            broken("no_run", name)
        if (receipt["gateway"], receipt["seq"], receipt["digest"]) != (gateway, seq, runs[seq][1]):
            broken("other_run", f"{name} is for run {receipt['seq']}")
        if proof is not None:
            shape(proof, "malformed", index=is_count, inclusion=listed(is_text), checkpoint=is_text)
            proofs[seq] = (proof["index"], hashes(proof["inclusion"]), proof["checkpoint"])
    return proofs


def hashes(path):
    """The hashes of a proof."""
    try:
        found = [from_base64(part) for part in path]
    except ValueError as error:
        raise Rejected("malformed", error) from error
    if len(found) > 64 or any(len(part) != 32 for part in found):
        broken("malformed", "it is not a proof")
    return found


def open_checkpoint(note, sink):
    """Size and root of a checkpoint that the sink signed."""
    public, key = sink
    origin = f"gatepost-sink/{key.keyid[:16]}"
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    key_id = hashlib.sha256(origin.encode() + b"\n\x01" + raw).digest()[:4]
    try:
        text, signatures = note.split("\n\n", 1)
        text += "\n"
        for line in signatures.splitlines():
            dash, name, signature = line.split(" ")
            signature = base64.b64decode(signature, validate=True)
            if dash == "\u2014" and name == origin and signature[:4] == key_id:
                public.verify(signature[4:], text.encode())
                said, size, root, rest = text.split("\n")
                if said == origin and rest == "" and re.fullmatch("0|[1-9][0-9]*", size):
                    return int(size), base64.b64decode(root, validate=True)
    except (ValueError, AttributeError, InvalidSignature) as error:
        raise Rejected("bad_checkpoint", repr(error)) from error
    return broken("bad_checkpoint", "the sink did not sign it")


def node(left, right):
    """The hash of two nodes."""
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(leaf, index, size, path):
    """RFC 9162, section 2.1.3.2: the root that a proof leads to, or none."""
    at, last = index, size - 1
    value = hashlib.sha256(b"\0" + leaf).digest()
    for sibling in path:
        if last == 0:
            return None
        if at % 2 or at == last:
            value = node(sibling, value)
            while at % 2 == 0 and at:
                at, last = at >> 1, last >> 1
        else:
            value = node(value, sibling)
        at, last = at >> 1, last >> 1
    return value if last == 0 else None


def is_consistent(first, first_root, second, second_root, path):
    """RFC 9162, section 2.1.4.2: whether the log of `second` leaves continues the smaller one of `first`."""
    path = list(path)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    at, last = first - 1, second - 1
    while at % 2:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at % 2 or at == last:
            old, new = node(sibling, old), node(sibling, new)
            while at % 2 == 0 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node(new, sibling)
        at, last = at >> 1, last >> 1
    return (old, new, last) == (first_root, second_root, 0)


def check_links(files, roots, sink):
    """That each proof connects its two checkpoints, and no two checkpoints speak of different logs. Gives the sizes connected."""
    links = []
    for sizes, name, data in of_kind(files, "consistency"):
        link = canonical(data, "malformed")
        shape(
            link,
            "malformed",
            **{"from": is_text},
            to=is_text,
            consistency=listed(is_text),
        )
        path = hashes(link["consistency"])
        ends = [open_checkpoint(link[end], sink) for end in ("from", "to")]
        if tuple(size for size, _ in ends) != sizes or sizes[0] >= sizes[1]:
            broken("other_range", name)
        for size, root in ends:
            if roots.setdefault(size, root) != root:
                broken("log_forked", f"two logs of {size} leaves")
        if not is_consistent(*ends[0], *ends[1], path):
            broken("not_consistent", name)
        links.append(sizes)
    return links


def histories(roots, links):
    """The sizes of the checkpoints, those that proofs connect together."""
    found = [{size} for size in sorted(roots)]
    for ends in links:
        touched = [history for history in found if history & set(ends)]
        found = [history for history in found if not history & set(ends)] + [set().union(*touched)]
    return sorted(found, key=min)


def check_log(runs, proofs, sink):
    """That runs are in the log, and that no two proofs speak of different logs. Gives the sizes seen."""
    roots, leaves = {}, {}
    for seq, (index, path, note) in sorted(proofs.items()):
        size, root = open_checkpoint(note, sink)
        digest = runs[seq][1]
        if index >= size or root_of(bytes.fromhex(digest), index, size, path) != root:
            broken("not_included", f"receipt {seq}")
        if roots.setdefault(size, root) != root:
            broken("log_forked", f"two logs of {size} leaves")
        if leaves.setdefault(index, digest) != digest:
            broken("log_forked", f"two runs for leaf {index}")
    return roots


def check_claims(files, runs):
    """That packs are those they are named, claims name what is there, and verdicts come out again."""
    # Here, since it takes longer to load than most bundles to be refused.
    from judge import NotJudged, Pack, assess

    packs = {}
    for (digest,), name, data in of_kind(files, "pack"):
        try:
            document = tomllib.loads(data.decode())
            found = sha256(rfc8785.dumps(document))
            packs[digest] = Pack(document, digest)
        except (ValueError, RecursionError) as error:
            raise Rejected("bad_pack", error) from error
        if found != digest:
            broken("wrong_pack", f"{name} is {found}")
    judged, not_judged = 0, Counter()
    for (seq, pack), name, data in of_kind(files, "claim"):
        claim = canonical(data, "malformed")
        shape(claim, "malformed", run=is_digest, pack=is_digest, assessment=is_digest)
        if seq not in runs:
            broken("no_run", name)
        run, digest = runs[seq]
        if (claim["run"], claim["pack"]) != (digest, pack):
            broken("other_run", name)
        if pack not in packs:
            broken("missing_pack", name)
        try:
            found = assess(run, digest, packs[pack])
        except NotJudged as why:
            not_judged[str(why)] += 1
            continue
        if found != claim["assessment"]:
            broken("other_verdict", f"{name}: judged again it comes out as {found}")
        judged += 1
    if judged or not not_judged:
        print(f"holds: {judged} verdicts came out the same")
    for why, count in sorted(not_judged.items()):
        print(f"not judged: {why} ({count} verdicts)")


def verify(files, arguments):
    """Every check in order."""
    gateway_id = arguments.gateway
    if arguments.gateway_key:
        with open(arguments.gateway_key, "rb") as file:
            gateway_id = load_pem(file.read())[1].keyid
    sink_given = None
    if arguments.sink_key:
        with open(arguments.sink_key, "rb") as file:
            sink_given = load_pem(file.read())
    manifest = check_manifest(files)
    gateway, sink = check_keys(files, manifest, gateway_id, sink_given)
    ring, rotations = check_rotations(files, gateway[1])
    check_seal(files, sink[1] if manifest["maker"] == "sink" else ring.current())
    runs = check_runs(files, ring)
    tombstones = check_tombstones(files, ring)
    check_chain(manifest, rotations, runs, tombstones)
    if rotations:
        print(f"holds: {len(rotations)} rotations, to key {ring.current().keyid}")
    print(f"holds: {len(runs)} runs and {len(tombstones)} tombstones of gateway {gateway[1].keyid}")
    if sink:
        proofs = check_receipts(files, runs, gateway[1].keyid, sink[1])
        roots = check_log(runs, proofs, sink)
        print(f"holds: {len(proofs)} receipts and proofs of sink {sink[1].keyid}")
        found = histories(roots, check_links(files, roots, sink))
        if len(found) == 1 and len(roots) > 1:
            print(f"holds: {len(roots)} checkpoints are one history")
        if len(found) > 1:
            print(f"not checked: whether {len(roots)} checkpoints are one history: they are {len(found)}")
    else:
        print("not checked: receipts and log, for want of a sink's key")
    check_claims(files, runs)


def main():
    """See the words at the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--gateway-key", help="the gateway's public key, PEM")
    whose.add_argument("--gateway", help="the gateway's id")
    parser.add_argument("--sink-key", help="the sink's public key, PEM")
    parser.add_argument("bundle")
    arguments = parser.parse_args()
    try:
        with open(arguments.bundle, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        files = unpack(decompress(data))
    except (NotABundle, OSError) as error:
        print(f"not a bundle: {error}")
        return 2
    try:
        verify(files, arguments)
    except Rejected as rejected:
        print(f"broken: {rejected}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
