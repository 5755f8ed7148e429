"""Judges a run by a pack, as docs/evidence-format.md says, with an evaluator of CEL that knows nothing of Gatepost.

It makes facts of `ingest_auth` alone, as far as the first requests over HTTP go, and understands expressions that name facts
by their path. For anything else it raises NotJudged: that is no verdict, neither good nor bad.
"""

import copy
import hashlib
import re

import celpy
import rfc8785
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError
from lark import Token

from verify_envelope import is_count, is_text, listed, members, one_of, or_null

SEVERITIES = ("low", "medium", "high", "critical")
OUTCOMES = ("pass", "fail", "unknown", "not_applicable")
FAILURES = {
    **{kind: kind.replace("_", " ") for kind in ("refused", "unreachable", "timed_out", "closed", "denied", "not_found")},
    **{kind: kind.replace("_", " ") for kind in ("too_large", "unparseable", "error")},
    "tls_alert": "TLS alert",
    "protocol": "not the protocol",
}
# What a server says that misses a client certificate (RFC 8446, section 6.2).
CERTIFICATE_ALERTS = (
    "certificate_required", "bad_certificate", "unsupported_certificate", "certificate_revoked", "certificate_expired",
    "certificate_unknown", "unknown_ca", "access_denied",
)
IS_ANSWER = members(
    status=lambda value: is_count(value) and value < 2**16,
    headers=lambda value: isinstance(value, dict) and all(map(is_text, value.values())),
    micros=is_count,
)
IS_FAILURE = members(kind=one_of(*FAILURES), detail=is_text)
IS_REQUEST = members(
    credentials=one_of("none", "wrong", "right"),
    plaintext=lambda value: isinstance(value, bool),
    answer=lambda value: members(seen=IS_ANSWER)(value) or members(failed=IS_FAILURE)(value),
)
IS_OBSERVATION = members(url=is_text, plaintext_url=or_null(is_text), requests=listed(IS_REQUEST))
# What a pack's tables may have, and what each check looks at.
PACK = {"name", "version", "tables", "standards", "control"}
TEXTS = ("key", "title", "severity", "domain", "target", "fail", "why", "remediation", "verify")
CONTROL = {*TEXTS, "for_each", "applies", "show", "mappings", "vector"}
VECTOR = {"name", "expect", "facts", "subject"}
TARGETS = {
    "broker_transport_posture": ("broker",),
    "broker_certificate_identity": ("broker",),
    "ingest_auth": ("ingest_edge",),
    "gateway_config_guardrails": ("gateway_service", "broker"),
    "device_certificate_hygiene": ("device", "registry"),
    "host_guardrails": ("host",),
    "link_posture": ("uplink",),
    "telemetry_integrity": ("broker",),
    "disclosure_readiness": ("host",),
}
ENVIRONMENT = celpy.Environment()


class NotJudged(Exception):
    """What this file does not know enough to judge."""


# Facts


def ingest_auth(observation):
    """Facts about an edge that was asked by HTTP, and why some are missing, by JSON pointer."""
    if not IS_OBSERVATION(observation):
        raise NotJudged("ingest_auth: questions, TLS, MQTT or an observation of another shape")
    first, plaintext, answers, unknown = {}, [], [], {}
    for request in observation["requests"]:
        [answer] = request["answer"].values()
        if "status" in answer:
            answers.append(answer)
        if request["plaintext"]:
            plaintext.append(answer)
        else:
            first.setdefault(request["credentials"], answer)
    facts = {
        "url_is_https": observation["url"].startswith("https://"),
        "credentials_configured": "right" in first,
        "plaintext_tried": bool(plaintext),
    }

    def learn(name, value):
        if value is not None:
            facts[name] = value

    def failed(place, answer):
        unknown[place] = f"{FAILURES[answer['kind']]}: {answer['detail']}"

    def accepted(place, answer, works=True):
        """Whether it was taken. Where nothing `works`, a refusal may be about something else than credentials."""
        if answer is None:
            return None
        status = answer.get("status")
        if status is None:
            if answer["kind"] == "tls_alert" and answer["detail"].startswith(CERTIFICATE_ALERTS):
                return False
            return failed(place, answer)
        if 400 <= status < 500 and not works and status not in (401, 403, 407):
            unknown[place] = f"the edge answered {status}, which says nothing about credentials"
        elif status == 429:
            unknown[place] = "the edge answered 429: it asked to slow down, which says nothing about credentials"
        elif status >= 500:
            unknown[place] = f"the edge failed with status {status}"
        else:
            return 200 <= status < 300
        return None

    none, wrong, right = (first.get(credentials) for credentials in ("none", "wrong", "right"))
    works = right is not None and 200 <= right.get("status", 0) < 300
    learn("unauthenticated_accepted", accepted("/unauthenticated_accepted", none, works))
    learn("wrong_credentials_accepted", accepted("/wrong_credentials_accepted", wrong, works))
    learn("right_credentials_accepted", accepted("/right_credentials_accepted", right))
    learn("unauthenticated_status", none and none.get("status"))
    learn("right_credentials_status", right and right.get("status"))
    learn("answer_micros", answers[0]["micros"] if answers else None)
    ranks = ("closed", "refuses", "redirects", "accepts")
    worst = []
    for answer in plaintext:
        if "status" in answer:
            worst.append({2: "accepts", 3: "redirects"}.get(answer["status"] // 100, "refuses"))
        elif answer["kind"] in ("refused", "closed", "protocol"):
            worst.append("closed" if answer["kind"] == "refused" else "refuses")
        else:
            failed("/plaintext", answer)
    learn("plaintext", max(worst, key=ranks.index, default=None))
    return facts, unknown


CHECKS = {("ingest_auth", 1): ingest_auth}


# Expressions


class Expression:
    """A condition on facts."""

    def __init__(self, source):
        self.references = []
        try:
            tree = ENVIRONMENT.compile(source)
            bounded(source, tree)
            self.walk(tree)
            self.program = ENVIRONMENT.program(tree)
        except CELParseError as error:
            raise ValueError(f"`{source}` is not CEL") from error
        except RecursionError as error:
            raise NotJudged("a deep expression") from error

    def walk(self, tree):
        """Finds the facts that are named, in order, and refuses what is not known here."""
        place = path_of(tree)
        if place is not None:
            return self.add(place, False)
        if isinstance(tree, Token):
            return None
        if tree.data == "ident_arg" and tree.children[0] == "has":
            [argument] = tree.children[1].children
            return self.add(path_of(argument), True)
        calls_size = tree.data == "ident_arg" and tree.children[0] == "size"
        if tree.data == "ident" or (not calls_size and tree.data in ("ident_arg", "dot_ident_arg", "dot_ident")):
            raise NotJudged(f"`{tree.children[0]}` in an expression")
        if tree.data.startswith("member_") or tree.data in ("map_lit", "fieldinits"):
            raise NotJudged("an index or a macro in an expression")
        return [self.walk(child) for child in tree.children]

    def add(self, place, tested):
        """One reference, once."""
        if not place:
            raise NotJudged("`facts` as a whole in an expression")
        if (place, tested) not in self.references:
            self.references.append((place, tested))

    def ask(self, facts, unknown):
        """True, false, or the reason why it cannot be known."""
        answer = self.evaluate(facts, unknown)
        # What has() asks for and is missing for a reason might be there.
        tested = [place for place, is_tested in self.references if is_tested]
        if any(len(place) > 1 and value_at(facts, place[:-1]) is None for place in tested):
            raise NotJudged("has() of a fact whose parent is missing")
        hidden = [place for place in tested if value_at(facts, place) is None and reason_of(unknown, place)]
        if hidden and isinstance(answer, bool):
            supposed = copy.deepcopy(facts)
            for place in hidden:
                value_at(supposed, place[:-1])[place[-1]] = {}
            if self.evaluate(supposed, unknown) != answer:
                return reason_of(unknown, hidden[0])
        return answer

    def evaluate(self, facts, unknown):
        """The same, as CEL alone sees it."""
        try:
            answer = self.program.evaluate({"facts": celpy.json_to_cel(facts)})
        except CELEvalError as error:
            absent = [place for place, tested in self.references if not tested and value_at(facts, place) is None]
            reasons = {reason_of(unknown, place) or f"the fact {pointer(place)} is missing" for place in absent}
            if len(reasons) != 1:
                raise NotJudged("which of several reasons counts") from error
            return reasons.pop()
        except RecursionError as error:
            raise NotJudged("a deep expression") from error
        if not isinstance(answer, celpy.celtypes.BoolType):
            raise NotJudged("an expression that is neither true nor false")
        return bool(answer)


LOOPS = ("all", "exists", "exists_one")


def bounded(source, tree):
    """Refuses what would take longer than the facts are long: a pack with it is none."""
    if len(source.encode()) > 1024:
        raise ValueError("an expression of more than 1024 bytes")
    for call in tree.find_data("member_dot_arg"):
        name = call.children[1]
        if name in ("map", "filter", "matches"):
            raise ValueError(f"there is no {name}()")
        inner = (other for child in call.children if not isinstance(child, Token) for other in child.find_data("member_dot_arg"))
        if name in LOOPS and any(other.children[1] in LOOPS for other in inner):
            raise ValueError("a loop in or over another")


def path_of(tree):
    """The names of a `facts.a.b`, none for `facts` itself; null for another expression."""
    while not isinstance(tree, Token) and len(tree.children) == 1 and tree.data not in ("ident", "list_lit", "exprlist"):
        [tree] = tree.children
    if isinstance(tree, Token):
        return None
    if tree.data == "ident" and tree.children[0] == "facts":
        return ()
    if tree.data == "member_dot":
        parent = path_of(tree.children[0])
        return None if parent is None else (*parent, str(tree.children[1]))
    return None


def value_at(facts, place):
    """What stands there; a null is not there."""
    for name in place:
        facts = facts.get(name) if isinstance(facts, dict) else None
    return facts


def pointer(place):
    """As a JSON pointer."""
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in place)


def reason_of(unknown, place):
    """Why a fact is missing: its own reason, or that of the nearest place above it."""
    return next((unknown[at] for end in range(len(place), -1, -1) if (at := pointer(place[:end])) in unknown), None)


# Packs


class Control:
    """A control whose facts this file can make."""

    def __init__(self, table):
        if "for_each" in table:
            raise NotJudged("for_each")
        self.applies = Expression(table.get("applies", "true"))
        self.fail = Expression(table["fail"])
        shown = [Expression(source).references for source in table.get("show", [])]
        named = [*self.applies.references, *self.fail.references, *(one for references in shown for one in references)]
        self.named = [place for place, _ in named]

    def judge(self, facts, unknown):
        """What comes out, why it is unknown, and the facts that were named."""
        outcome, reason = "not_applicable", None
        answer = self.applies.ask(facts, unknown)
        if answer is True:
            answer = self.fail.ask(facts, unknown)
            outcome = "fail" if answer is True else "pass"
        if isinstance(answer, str):
            outcome, reason = "unknown", answer
        values = {pointer(place): value_at(facts, place) for place in self.named}
        return outcome, reason, {place: value for place, value in values.items() if value is not None}


class Pack:
    """A pack, as far as it can be judged by. Raises ValueError for one that does not load."""

    def __init__(self, document, digest):
        try:
            self.reference = {"name": document["name"], "version": document["version"], "digest": digest}
            self.tables = document["control"]
            if not set(document) <= PACK or not is_text(document["name"]) or not self.tables:
                raise ValueError("it has other members, or no controls")
            if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", document["version"]):
                raise ValueError("its version is not three numbers")
            self.controls = {}
            for table in self.tables:
                self.test(table)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(repr(error)) from error

    def control(self, table):
        """The control of a table, made once."""
        if table["key"] not in self.controls:
            self.controls[table["key"]] = Control(table)
        return self.controls[table["key"]]

    def test(self, table):
        """That a control has its members, and that its vectors come out as they should, if it can be judged here."""
        key, vectors = table["key"], table["vector"]
        if not set(table) <= CONTROL or not all(is_text(table[name]) for name in TEXTS) or table["severity"] not in SEVERITIES:
            raise ValueError(f"{key} has other members than a control")
        if table["target"] not in TARGETS.get(key.split(".")[0], ()):
            raise ValueError(f"{key} is of no check, or its check does not look at this target")
        if sum(other["key"] == key for other in self.tables) > 1:
            raise ValueError(f"there are two controls {key}")
        if not {"pass", "fail"} <= {vector["expect"] for vector in vectors} or not all(set(one) <= VECTOR for one in vectors):
            raise ValueError(f"{key} lacks a vector that passes or fails, or one has other members")
        if key.split(".")[0] not in {check for check, _ in CHECKS}:
            return
        for vector in vectors:
            try:
                outcome = self.control(table).judge(vector["facts"], {})[0]
            except NotJudged:
                continue
            if outcome != vector["expect"]:
                raise ValueError(f"{table['key']}: vector {vector['name']} gave {outcome}")


def rows_of(record, pack):
    """The rows of one record."""
    name = record["target"]["name"]
    rows, normalised = [], None
    for table in pack.tables:
        if (table["key"].split(".")[0], table["target"]) != (record["check"], record["target"]["kind"]):
            continue
        if record["observation"] is None:
            detail = "no detail was recorded" if record["detail"] is None else record["detail"]
            found = "unknown", f"{record['status'].replace('_', ' ')}: {detail}", {}
        else:
            check = CHECKS.get((record["check"], record["contract"]))
            if check is None:
                raise NotJudged(f"{record['check']}, version {record['contract']}")
            normalised = normalised or check(record["observation"])
            found = pack.control(table).judge(*normalised)
        outcome, reason, evidence = found
        row = {"key": table["key"], "subject": name, "target": name, "severity": table["severity"], "title": table["title"]}
        row |= {"outcome": outcome, "evidence": evidence} | ({} if reason is None else {"reason": reason})
        rows.append(row)
    return rows


def assess(run, digest, pack):
    """The digest of the assessment of a run."""
    rows = [row for record in run["records"] for row in rows_of(record, pack)]
    rows.sort(key=lambda row: (row["key"], row["subject"], row["target"]))
    posture = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in OUTCOMES}
    failing = [row["severity"] for row in rows if row["outcome"] == "fail"]
    applicable = len(rows) - posture["not_applicable"]
    percent = (posture["pass"] + posture["fail"]) * 100 // applicable if applicable else 0
    state = "exposed" if failing else "unproven" if posture["unknown"] or not applicable else "hardened"
    posture |= {"state": state, "evidence_percent": percent, "failing": {one: failing.count(one) for one in failing}}
    decision = "pause" if percent < 80 else "continue"
    if {"high", "critical"} & set(failing):
        decision = "fix_first"
    of_run = {name: run[name] for name in ("seq", "stage", "bundle", "started_at")}
    of_run |= {"digest": digest, "gateway": run["gateway"]["id"], "name": run["gateway"]["name"]}
    assessment = {"run": of_run, "pack": pack.reference, "rows": rows, "posture": posture, "decision": decision}
    return hashlib.sha256(rfc8785.dumps(assessment)).hexdigest()
