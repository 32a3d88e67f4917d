#!/usr/bin/env python3
"""Verifies evidence of Permyx without Permyx: a second reader of docs/evidence.md, in one file.

usage: verify_evidence.py PATH [--trust FILE] [--key VKEY]... [--checkpoint FILE]... [--require CHECK,..] [--json]
       verify_evidence.py --batch      one JSON object {"path", "keys", "checkpoints"} a line in, a report a line out

It needs Python 3.9 and the package `cryptography` (apt-get install python3-cryptography). Keys come from you and never
from what is verified. Exit code 0: all that is required passed, 1: something is wrong, 3: it cannot be said, 2: usage.
"""
import argparse
import base64
import binascii
import hashlib
import json
import os
import re
import struct
import sys
import zlib

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.exit("the package `cryptography` is missing: apt-get install -y --no-install-recommends python3-cryptography")

PASS, FAIL, UNKNOWN, NA = "PASS", "FAIL", "UNKNOWN", "N-A"
CHECKS = ["signature", "manifest", "tree", "inclusion", "consistency", "continuity", "canonical", "burn", "join", "intent"]
USUAL = {"signature", "manifest", "tree", "inclusion", "continuity", "canonical", "burn"}
NOT_PROVEN = [
    "that the producer told the truth when it wrote",
    "anything about traffic that never crossed an interception point",
    "that history before the first witness or the first checkpoint that you kept was not rewritten",
    "that goods or services were delivered",
    "that the clocks were right",
]
TOLD_MAX, NUMBER_MAX, DEPTH_MAX = 16, 2**53 - 1, 32
NOTE_MAX, BUNDLE_MAX, EVENTS_MAX = 128 << 10, 512 << 20, 50_000
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")


class Wrong(Exception):
    """What is wrong, and where: file, index, source, sequence, byte."""

    def __init__(self, what, **where):
        super().__init__(what)
        self.finding = {"what": what, **where}


class Outcome:
    def __init__(self, check):
        self.check, self.verdict, self.count, self.detail, self.failures, self.findings = check, UNKNOWN, 0, "", 0, []

    def wrong(self, what, **where):
        self.failures += 1
        if len(self.findings) < TOLD_MAX:
            self.findings.append({"what": what, **where})

    def end(self, verdict, count, detail):
        self.verdict, self.count, self.detail = FAIL if self.failures else verdict, count, detail
        self.findings.sort(key=lambda finding: ("index" not in finding, finding.get("index", 0)))
        return self

    def told(self):
        return {"check": self.check, "verdict": self.verdict, "count": self.count, "detail": self.detail,
                "failures": self.failures, "findings": self.findings}


# --- Hashes and proofs: RFC 6962, RFC 9162 -----------------------------------------------------------------------------

def leaf_hash(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(peaks):
    """The root over complete subtrees, from left to right."""
    if not peaks:
        return hashlib.sha256().digest()
    node = peaks[-1]
    for left in reversed(peaks[:-1]):
        node = node_hash(left, node)
    return node


def root_from_inclusion(leaf, index, size, path):
    if index >= size:
        raise Wrong(f"leaf {index} is not in a tree of {size}")
    fn, sn, node = index, size - 1, leaf
    for beside in path:
        if sn == 0:
            raise Wrong("the path is too long")
        if fn & 1 or fn == sn:
            node = node_hash(beside, node)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, beside)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise Wrong("the path is too short")
    return node


def check_consistency(old, old_root, new, new_root, path):
    if old == 0 or old == new:
        expected = new_root if old == new else root_of([])
        if path or old_root != expected:
            raise Wrong("the proof leads to another root")
        return
    if old & (old - 1) == 0 and path:
        path = [old_root] + path
    if not path:
        raise Wrong("the proof is too short")
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for beside in path[1:]:
        if sn == 0:
            raise Wrong("the proof is too long")
        if fn & 1 or fn == sn:
            first, second = node_hash(beside, first), node_hash(beside, second)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, beside)
        fn, sn = fn >> 1, sn >> 1
    if sn or first != old_root or second != new_root:
        raise Wrong("the proof leads to another root")


# --- Notes and checkpoints: C2SP signed-note, tlog-checkpoint ----------------------------------------------------------

def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def decimal(text):
    return int(text) if re.fullmatch(r"0|[1-9][0-9]{0,18}", text) else None


def is_name(text):
    legal = not any(c.isspace() or ord(c) < 32 or 127 <= ord(c) < 160 or c == "+" for c in text)
    return 1 <= len(text.encode()) <= 200 and legal


class Key:
    def __init__(self, text):
        name, _, rest = text.partition("+")
        key_id, _, key = rest.partition("+")
        raw = unbase64(key)
        if not is_name(name) or raw is None or len(raw) != 33 or raw[0] != 1:
            raise ValueError("not a verifier key")
        self.name, self.id = name, hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
        if self.id.hex() != key_id:
            raise ValueError("not a verifier key: its id is another")
        self.public = Ed25519PublicKey.from_public_bytes(raw[1:])

    def verifies(self, signature, text):
        try:
            self.public.verify(signature, text.encode())
            return True
        except InvalidSignature:
            return False


def read_note(data):
    """The text of a note and its signatures: (name, id, signature)."""
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Wrong("it is not UTF-8") from None
    head, parted, tail = note.rpartition("\n\n")
    if len(data) > NOTE_MAX or not parted or not tail.endswith("\n") or re.search(r"[\x00-\x09\x0b-\x1f]", note):
        raise Wrong("it is not a signed note")
    signatures = []
    for line in tail[:-1].split("\n"):
        name, _, text = line[2:].partition(" ")
        raw = unbase64(text)
        if not line.startswith("\u2014 ") or not is_name(name) or raw is None or len(raw) < 5:
            raise Wrong("a line of a signature has another form")
        signatures.append((name, raw[:4], raw[4:]))
    if len(signatures) > 16:
        raise Wrong("it has too many signatures")
    return head + "\n", signatures


def signers(note, keys):
    """The keys that signed. One bad signature in the name of a known key spoils the note."""
    text, signatures = note
    signed = []
    for name, key_id, signature in signatures:
        for key in keys:
            if (key.name, key.id) == (name, key_id):
                if not key.verifies(signature, text):
                    raise Wrong(f"a signature in the name of {name} does not verify")
                signed.append(key)
                break
    if not signed:
        raise Wrong("no trusted key signed it")
    return signed


class Checkpoint:
    def __init__(self, text):
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not is_name(lines[0]):
            raise Wrong("it is not the three lines origin, size and root")
        self.origin, self.size, self.root = lines[0], decimal(lines[1]), unbase64(lines[2])
        if self.size is None or self.size > 2**63 - 1 or self.root is None or len(self.root) != 32:
            raise Wrong("it is not the three lines origin, size and root")
        if self.size == 0 and self.root != root_of([]):
            raise Wrong("an empty log has one root")


def open_checkpoint(data, keys, outcome):
    """The checkpoint as far as it can be read, and whether it is verified."""
    try:
        note = read_note(data)
        checkpoint = Checkpoint(note[0])
    except Wrong as wrong:
        outcome.wrong(str(wrong), file="checkpoint")
        outcome.end(FAIL, 1, "the checkpoint cannot be believed")
        return None, False
    if not keys:
        outcome.end(UNKNOWN, 1, "no key was given")
        return checkpoint, False
    try:
        signed = signers(note, [key for key in keys if key.name == checkpoint.origin])
    except Wrong as wrong:
        outcome.wrong(str(wrong), file="checkpoint")
        outcome.end(FAIL, 1, "the checkpoint cannot be believed")
        return checkpoint, False
    names = ", ".join(f"{key.name}+{key.id.hex()}" for key in signed)
    outcome.end(PASS, len(signed), f"checkpoint size {checkpoint.size} signed by {names} (pinned)")
    return checkpoint, True


# --- Events ------------------------------------------------------------------------------------------------------------

def once_in_order(pairs):
    names = [name for name, _ in pairs]
    if any(not name.isascii() for name in names):
        names = [name.encode("utf-16-be", "surrogatepass") for name in names]
    if any(left >= right for left, right in zip(names, names[1:])):
        raise Wrong("the members are not in order, or one stands twice")
    return dict(pairs)


def whole_number(text):
    value = int(text) if len(text) < 20 else NUMBER_MAX + 1
    if abs(value) > NUMBER_MAX:
        raise Wrong("a number is beyond 2^53-1")
    return value


def no_fraction(text):
    raise Wrong(f"a number has a fraction or an exponent: {text[:20]}")


def depth(value):
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if below is None else 1 + max(map(depth, below), default=0)


def read_event(data):
    """The event in these bytes, which must be the only ones that it has."""
    try:
        text = data.decode("utf-8")
        event = json.loads(text, object_pairs_hook=once_in_order, parse_int=whole_number, parse_float=no_fraction,
                           parse_constant=no_fraction)
        again = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Wrong(f"it is not JSON: {error}", byte=getattr(error, "pos", getattr(error, "start", 0))) from None
    if again != data:
        differs = (at for at, (left, right) in enumerate(zip(again, data)) if left != right)
        raise Wrong("it is not the canonical form of RFC 8785", byte=next(differs, min(len(again), len(data))))
    members = ["correlationid", "id", "pmxprev", "sequence", "source", "time", "type"]
    if not isinstance(event, dict) or not isinstance(event.get("data"), dict) \
            or any(not isinstance(event.get(name), str) for name in members):
        raise Wrong("a member that every event has is missing or of another kind", byte=0)
    if data.count(b"{") + data.count(b"[") > DEPTH_MAX and depth(event) > DEPTH_MAX:
        raise Wrong("it is nested too deep", byte=0)
    return event


def text_of(value):
    return value if isinstance(value, str) else None


def number_of(value):
    return value if type(value) is int and value >= 0 else None


def short_name(event):
    name = event["type"]
    return name[10:-3] if name.startswith("io.permyx.") and name.endswith(".v1") and len(name) >= 13 else name


def place(event):
    """Its place in its stream; 0 where it has none."""
    return int(event["sequence"]) if re.fullmatch(r"[0-9]{20}", event["sequence"], re.ASCII) and \
        int(event["sequence"]) < 2**64 else 0


class Streams:
    """extent: whole (from the first event), part (from somewhere), filtered (holes say nothing)."""

    def __init__(self, extent, only=None):
        self.extent, self.only, self.outcome = extent, only, Outcome("continuity")
        self.streams, self.declared, self.went_back, self.back, self.breaks = {}, {}, {}, {}, []
        self.events = self.links = 0

    def take(self, index, leaf, event):
        source, sequence = event["source"], place(event)
        if sequence == 0:
            self.outcome.wrong("the sequence is not twenty digits, counted from 1", index=index, source=source)
            return
        self.declare(event)
        following, last = self.streams.get(source, (None, None))
        expected = None
        if following == sequence:
            expected = last
        elif following is None and sequence == 1:
            expected = hashlib.sha256(source.encode()).digest()
        elif following is None and self.extent == "whole":
            self.breaks.append((source, 1, sequence - 1, index, 0))
        elif following is not None and sequence > following:
            self.breaks.append((source, following, sequence - 1, index, 0))
        elif following is not None:
            self.back[source] = self.back.get(source, 0) + 1
            self.breaks.append((source, sequence, sequence, index, self.back[source]))
        if expected is not None:
            if event["pmxprev"] == "sha256:" + expected.hex():
                self.links += 1
            else:
                self.outcome.wrong("pmxprev is not the hash of the event before it in its stream", index=index,
                                   source=source, sequence=sequence)
        self.streams[source] = (sequence + 1, leaf)
        self.events += 1

    def declare(self, event):
        data = event["data"]
        of = text_of(data.get("of"))
        if short_name(event) != "evidence.gap" or of is None:
            return
        first, last = number_of(data.get("fromSequence")), number_of(data.get("toSequence"))
        if data.get("cause") == "went_back":
            self.went_back[of] = self.went_back.get(of, 0) + 1
        elif first is not None and last is not None:
            self.declared.setdefault(of, []).append((first, last))

    def end(self, complete):
        judged = [] if self.extent == "filtered" else self.breaks
        for source, first, last, index, nth in judged:
            if self.only is not None and source != self.only:
                continue
            if nth:
                if nth > self.went_back.get(source, 0):
                    self.outcome.wrong("the sequence goes back and no evidence.gap says that the spool was set back",
                                       index=index, source=source, sequence=first)
                continue
            for low, high in sorted(self.declared.get(source, [])):
                if low <= first <= high:
                    first = high + 1
            if first <= last:
                self.outcome.wrong(f"sequences from {first} are missing and no evidence.gap declares them", index=index,
                                   source=source, sequence=first)
        verdict = UNKNOWN if not complete or not self.events else NA if self.extent == "filtered" else PASS
        return self.outcome.end(verdict, self.events, f"{len(self.streams)} streams, {self.links} links")


class Tokens:
    """Burned once, reserved before; joined by execution and token, never by traceId."""

    def __init__(self, extent):
        self.extent, self.burn, self.join = extent, Outcome("burn"), Outcome("join")
        self.reserved, self.burned, self.twice, self.unreserved = set(), {}, [], []
        self.settlements = self.gaps = 0

    def take(self, index, event):
        name = short_name(event)
        self.gaps += name == "evidence.gap"
        step = name[10:] if name.startswith("execution.") else ""
        settles = step in ("validated", "released", "indeterminate")
        if not settles and step not in ("reserved", "resolved"):
            return
        where = {"index": index, "source": event["source"], "sequence": place(event)}
        token, execution = text_of(event["data"].get("tokenId")) or "", event["correlationid"]
        if not UUID.fullmatch(token):
            self.burn.wrong("it names no token by its canonical UUID", **where)
            return
        if not execution.startswith("exec_") or not UUID.fullmatch(execution[5:]):
            self.join.wrong("its correlationid is not `exec_` and a UUID", **where)
            return
        self.settlements += settles
        if step == "reserved":
            self.reserved.add((execution, token))
        elif settles and (execution, token) not in self.reserved:
            self.unreserved.append((execution, token, where))
        if step in ("validated", "indeterminate", "resolved"):
            counts = self.burned.setdefault(token, {"validated": 0, "indeterminate": 0, "resolved": 0})
            counts[step] += 1
            if self.times(token) > 1:
                self.twice.append((token, where))

    def times(self, token):
        counts = self.burned[token]
        return counts["validated"] + max(0, counts["indeterminate"] - counts["resolved"])

    def end(self, complete):
        for token, where in self.twice:
            if self.times(token) > 1:
                self.burn.wrong(f"the token {token} is burned a second time", **where)
        unclear, elsewhere = 0, {token for _, token in self.reserved}
        for execution, token, where in self.unreserved:
            if (execution, token) in self.reserved:
                continue
            if token in elsewhere:
                self.join.wrong("its token is reserved in another execution: only correlationid joins the two", **where)
            elif self.extent == "whole" and not self.gaps:
                self.burn.wrong("it settles a token that nothing reserved", **where)
            elif self.extent != "filtered":
                unclear += 1
        self.burn.end(PASS if complete and not unclear else UNKNOWN, len(self.burned),
                      f"{len(self.burned)} tokens burned; {unclear} settlements without a reservation here")
        self.join.end(UNKNOWN if not complete else PASS if self.settlements else NA, self.settlements,
                      f"{self.settlements} settlements joined by correlationid")
        return [self.burn, self.join]


class Events:
    """Everything that is asked of each event, in the order of the log."""

    def __init__(self, streams="filtered", only=None, tokens="filtered"):
        self.streams, self.tokens = Streams(streams, only), Tokens(tokens)
        self.canonical, self.intent, self.count, self.intents = Outcome("canonical"), Outcome("intent"), 0, 0

    def take(self, index, data, leaf):
        self.count += 1
        try:
            event = read_event(data)
        except Wrong as wrong:
            self.canonical.wrong(**{"index": index, **wrong.finding})
            return None
        if index == 0 and short_name(event) == "evidence.log_opened" and text_of(event["data"].get("checkpoint")) is not None:
            for part in (self.streams, self.tokens):
                part.extent = "part" if part.extent == "whole" else part.extent
        self.streams.take(index, leaf, event)
        self.tokens.take(index, event)
        self.check_intent(index, event)
        return event

    def check_intent(self, index, event):
        data = event["data"]
        store, variant, price, scope, said = (
            text_of(data.get(name)) for name in ("storeId", "variantId", "price", "scope", "intentHash"))
        quantity = number_of(data.get("quantity"))
        if None in (store, variant, price, scope, said, quantity):
            return
        self.intents += 1
        amount, _, currency = price.partition(" ")
        text = f"{store}|{variant}|{quantity}|{amount}|{currency}|{scope}"
        hashed = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
        if hashed != said or not ID.fullmatch(store) or not ID.fullmatch(variant):
            self.intent.wrong("intentHash is not the hash of the intent beside it", index=index, source=event["source"],
                              sequence=place(event))

    def end(self, complete):
        some = complete and self.count > 0
        self.canonical.end(PASS if some else UNKNOWN, self.count, f"{self.count} events")
        self.intent.end(NA if not self.intents else PASS if complete else UNKNOWN, self.intents, f"{self.intents} intents")
        return [self.streams.end(some), self.canonical, *self.tokens.end(some), self.intent]


# --- What the auditor knew before ----------------------------------------------------------------------------------------

class Known:
    def __init__(self, kept, keys, now):
        self.outcome, self.sizes, self.count, self.unclear, self.agreed = Outcome("consistency"), [], len(kept), 0, []
        for name, data in kept:
            try:
                note = read_note(data)
                old = Checkpoint(note[0])
                if keys:
                    signers(note, keys)
            except Wrong as wrong:
                self.outcome.wrong(f"your checkpoint cannot be believed: {wrong}", file=name)
                continue
            if now is None:
                self.unclear += 1
            elif old.origin != now.origin:
                self.outcome.wrong("your checkpoint is of another log", file=name)
            elif old.size > now.size:
                what = f"the tail is cut: your checkpoint has {old.size} leaves, this log {now.size}"
                self.outcome.wrong(what, file=name, index=now.size)
            else:
                self.sizes.append((name, old))

    def judge(self, begins):
        """begins(old) raises Wrong, or says whether it could be compared."""
        for name, old in self.sizes:
            try:
                if begins(old):
                    self.agreed.append(old.size)
                else:
                    self.unclear += 1
            except Wrong as wrong:
                self.outcome.wrong(f"the first {old.size} leaves are not those that you know: {wrong}", file=name)

    def end(self, verified):
        verdict = PASS if verified and self.count and not self.unclear else UNKNOWN
        return self.outcome.end(verdict, self.count, f"checkpoints {self.agreed}" if self.count else "no checkpoint given")


# --- A log directory: C2SP tlog-tiles ------------------------------------------------------------------------------------

def read_file(path, limit):
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"it is longer than {limit} bytes")
    return data


def tile_name(kind, index, width):
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    return f"tile/{kind}/{'/'.join(groups)}" + ("" if width == 256 else f".p/{width}")


def read_edge(path):
    """The checkpoint and the partial tiles that it names. A log may be published while it is read: then what it
    named before is gone, and a newer one is read."""
    for _ in range(5):
        edge = {"checkpoint": read_file(os.path.join(path, "checkpoint"), NOTE_MAX)}
        lines = edge["checkpoint"].split(b"\n")
        size = int(lines[1]) if len(lines) > 1 and lines[1].isdigit() and len(lines[1]) < 20 else 0
        kinds = [("entries", size, 255 * 65537)] + [(level, size >> 8 * level, 255 * 32) for level in range(8)]
        gone = False
        for kind, count, limit in kinds:
            if count % 256:
                name = tile_name(kind, count // 256, count % 256)
                try:
                    edge[name] = read_file(os.path.join(path, name), limit)
                except (FileNotFoundError, NotADirectoryError):
                    gone = True
                except OSError:
                    pass  # Told where it is needed.
        if not gone:
            break
    return edge


class Log:
    def __init__(self, path, edge, size, outcome):
        self.path, self.edge, self.size, self.outcome = path, edge, size, outcome
        self.done, self.peaks, self.roots, self.above = 0, [], {}, {}

    def tile(self, kind, index, width, limit):
        """The name, the width and the bytes of a tile: a full one where the log has grown since."""
        for has in dict.fromkeys((width, 256)):
            name = tile_name(kind, index, has)
            if name in self.edge:
                return name, has, self.edge[name]
            try:
                return name, has, read_file(os.path.join(self.path, name), limit)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise Wrong(f"it cannot be read: {error}", file=name) from None
        raise Wrong("the file is missing", file=tile_name(kind, index, width))

    def compare(self, level, index, hashes, first=None):
        try:
            name, has, data = self.tile(level, index, len(hashes), 256 * 32)
            if len(data) != has * 32:
                raise Wrong(f"it is not a tile of {has} hashes", file=name)
        except Wrong as wrong:
            self.outcome.wrong(**wrong.finding)
            return
        expected = b"".join(hashes)
        if data.startswith(expected):
            return
        byte = next(at for at in range(len(expected)) if expected[at] != data[at])
        where = {} if first is None else {"index": first + byte // 32}
        self.outcome.wrong("the tile does not hold the hashes of what is below it", file=name, byte=byte, **where)

    def entries(self):
        """Index, bytes and hash of each leaf, as far as they can be read."""
        while self.done < self.size:
            index, width = self.done // 256, min(256, self.size - self.done)
            try:
                name, has, data = self.tile("entries", index, width, 256 * 65537)
                entries, at = [], 0
                while at + 2 <= len(data):
                    length = int.from_bytes(data[at:at + 2], "big")
                    entries.append(data[at + 2:at + 2 + length])
                    at += 2 + length
                if at != len(data) or len(entries) != has:
                    raise Wrong(f"its bytes are not {has} entries", file=name, index=self.done)
            except Wrong as wrong:
                self.outcome.wrong(**wrong.finding)
                return
            hashes = [leaf_hash(entry) for entry in entries[:width]]
            first = self.done
            self.compare(0, index, hashes, first)
            for offset, leaf in enumerate(hashes):
                self.grow(leaf)
                yield first + offset, entries[offset], leaf
        for level, (index, hashes) in sorted(self.above.items()):
            if hashes:
                self.compare(level, index, hashes)

    def grow(self, leaf):
        node, level, count = leaf, 0, self.done
        while count & 1:
            node, level, count = node_hash(self.peaks.pop(), node), level + 1, count >> 1
            if level % 8 == 0:
                index, hashes = self.above.setdefault(level // 8, (0, []))
                hashes.append(node)
                if len(hashes) == 256:
                    self.compare(level // 8, index, hashes)
                    self.above[level // 8] = (index + 1, [])
        self.peaks.append(node)
        self.done += 1
        if self.done in self.roots:
            self.roots[self.done] = root_of(self.peaks)


def verify_log(path, keys, kept):
    signature, tree, events = Outcome("signature"), Outcome("tree"), Events("whole", None, "whole")
    checkpoint, verified, edge = None, False, {}
    try:
        edge = read_edge(path)
        checkpoint, verified = open_checkpoint(edge["checkpoint"], keys, signature)
    except OSError as error:
        signature.wrong(f"it cannot be read: {error}", file="checkpoint")
        signature.end(FAIL, 0, "there is no checkpoint")
    known = Known(kept, keys, checkpoint)
    if checkpoint is None:
        outcomes = [signature, tree.end(UNKNOWN, 0, "there is no checkpoint"), known.end(False), *events.end(False)]
        return report("log", None, 0, outcomes)
    log = Log(path, edge, checkpoint.size, tree)
    log.roots = {old.size: root_of([]) if old.size == 0 else None for _, old in known.sizes}
    for index, data, leaf in log.entries():
        events.take(index, data, leaf)
    complete = log.done == checkpoint.size
    if complete and root_of(log.peaks) != checkpoint.root:
        tree.wrong("the leaves hash to another root than that of the checkpoint", file="checkpoint")

    def begins(old):
        root = log.roots[old.size]
        if root is not None and root != old.root:
            raise Wrong("they hash to another root")
        return root is not None
    known.judge(begins)
    tree.end(PASS if verified and checkpoint.size else UNKNOWN, log.done, f"{log.done} leaves hash to the root")
    return report("log", checkpoint, log.done, [signature, tree, known.end(verified), *events.end(complete)])


# --- A bundle ------------------------------------------------------------------------------------------------------------

def write_zip(files):
    """The one archive that these files have."""
    body, central = bytearray(), bytearray()
    for name, data in files:
        raw = name.encode()
        head = struct.pack("<HHHHHIIIHH", 10, 0, 0, 0, 0x21, zlib.crc32(data), len(data), len(data), len(raw), 0)
        central += b"PK\x01\x02" + struct.pack("<H", 10) + head + bytes(10) + struct.pack("<I", len(body)) + raw
        body += b"PK\x03\x04" + head + raw + data
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(central), len(body), 0)
    return bytes(body + central + b"PK\x05\x06" + end)


def read_zip(data):
    files, at = [], 0
    while data[at:at + 4] == b"PK\x03\x04":
        if len(data) < at + 30:
            raise Wrong("a file is cut", byte=at)
        size, length = struct.unpack_from("<IH", data, at + 22)
        begins = at + 30 + length
        try:
            name = data[at + 30:begins].decode("ascii")
        except UnicodeDecodeError:
            raise Wrong("a name is not plain", byte=at) from None
        parts = name.split("/")
        if len(name) > 100 or any(not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", part) for part in parts) \
                or any(name == known for known, _ in files[-1:]) or begins + size > len(data):
            raise Wrong("a file is cut, or its name is not plain", byte=at)
        files.append((name, data[begins:begins + size]))
        at = begins + size
    if len({name for name, _ in files}) != len(files) or len(files) > 0xffff or write_zip(files) != data:
        raise Wrong("this is not how a bundle is written", byte=at)
    return files


def read_lines(name, data):
    if data and not data.endswith(b"\n"):
        raise Wrong("its last line does not end", file=name)
    lines = data.split(b"\n")[:-1]
    if len(lines) > EVENTS_MAX:
        raise Wrong("it has too many lines", file=name)
    return lines


class Bundle:
    def __init__(self, data):
        listed = read_zip(data)
        if not listed or listed[0][0] != "manifest":
            raise Wrong("it does not begin with its manifest", file="manifest")
        self.manifest, listed = listed[0][1], listed[1:]
        if [name for name, _ in listed] != sorted(name for name, _ in listed):
            raise Wrong("its files are not in the order of their names")
        self.files = dict(listed)
        for name in ("checkpoint", "events.jsonl", "indices", "VERIFY.md"):
            if name not in self.files:
                raise Wrong("the file is missing", file=name)
        events = read_lines("events.jsonl", self.files["events.jsonl"])
        indices = [decimal(line.decode("latin-1")) for line in read_lines("indices", self.files["indices"])]
        if None in indices or any(left >= right for left, right in zip(indices, indices[1:])):
            raise Wrong("its lines are not indices in ascending order", file="indices")
        if len(indices) != len(events):
            raise Wrong(f"{len(indices)} indices for {len(events)} events", file="indices")
        self.events = list(zip(indices, events))
        expected = {f"proofs/{index}.tlog-proof" for index in indices}
        for name in self.files:
            old = decimal(name[12:]) if name.startswith("consistency/") else None
            if name not in expected and old is None and name not in ("checkpoint", "events.jsonl", "indices", "VERIFY.md"):
                raise Wrong("the file belongs to no event of the bundle", file=name)


class Manifest:
    KINDS = {"all", "source", "execution", "store", "agent", "order"}

    def __init__(self, text):
        head = re.fullmatch(
            r"permyx\.dev/evidence-bundle@v1\norigin ([^\n]+)\nsize (\d+)\nscope ([a-z]+) ([^\x00-\x1f\x7f-\x9f]+)\n"
            r"range (\d+) (\d+)\nevents (\d+)\n((?:file [0-9a-f]{64} [^\n ]+\n)*)", text, re.ASCII)
        if not head or head[3] not in self.KINDS or (head[3] == "all") != (head[4] == "-") or len(head[4].encode()) > 512:
            raise Wrong("its lines are not those of a manifest", file="manifest")
        numbers = [decimal(head[at]) for at in (2, 5, 6, 7)]
        if None in numbers or not is_name(head[1]):
            raise Wrong("its lines are not those of a manifest", file="manifest")
        self.origin, self.kind, self.value = head[1], head[3], head[4]
        self.size, self.first, self.last, self.count = numbers
        self.hashes = [tuple(line.split(" ")[:0:-1]) for line in head[8].split("\n")[:-1]]

    def belongs(self, event):
        data = event["data"]
        if self.kind == "source":
            return event["source"] == self.value or (short_name(event) == "evidence.gap" and data.get("of") == self.value)
        found = {"all": self.value, "execution": event["correlationid"], "store": data.get("storeId"),
                 "agent": data.get("agentId"), "order": data.get("orderId")}[self.kind]
        return found == self.value

    def parts(self):
        """How much of the streams and tokens there is."""
        start = "whole" if self.first == 0 else "part"
        if self.kind == "all":
            return Events(start, None, "whole" if self.first == 0 else "filtered")
        return Events(start, self.value) if self.kind == "source" else Events()


def judge_manifest(bundle, keys, checkpoint, outcome):
    try:
        note = read_note(bundle.manifest)
        manifest = Manifest(note[0])
    except Wrong as wrong:
        outcome.wrong(**{"file": "manifest", **wrong.finding})
        outcome.end(FAIL, 0, "the manifest cannot be read")
        return None
    try:
        if keys and any(key.name != manifest.origin for key in signers(note, keys)):
            raise Wrong("it is signed by the key of another log")
    except Wrong as wrong:
        outcome.wrong(str(wrong), file="manifest")
    if checkpoint and (checkpoint.origin, checkpoint.size) != (manifest.origin, manifest.size):
        outcome.wrong("origin and size are not those of the checkpoint", file="manifest")
    inside = all(manifest.first <= index < manifest.last for index, _ in bundle.events)
    if manifest.first > manifest.last or manifest.last > manifest.size or not inside:
        outcome.wrong("the range is not one of this tree, or does not hold the events", file="manifest")
    if manifest.count != len(bundle.events):
        outcome.wrong("it tells another number of events", file="manifest")
    if manifest.kind == "all" and manifest.count != max(0, manifest.last - manifest.first):
        outcome.wrong("not every event of the range is there", file="manifest")
    if [name for name, _ in manifest.hashes] != list(bundle.files):
        outcome.wrong("it names other files than there are", file="manifest")
    else:
        for name, said in manifest.hashes:
            if hashlib.sha256(bundle.files[name]).hexdigest() != said:
                outcome.wrong("the file does not have the hash that the manifest says", file=name)
    outcome.end(PASS if keys else UNKNOWN, len(manifest.hashes), f"{len(manifest.hashes)} files")
    return manifest


def check_inclusion(bundle, index, leaf, checkpoint):
    name = f"proofs/{index}.tlog-proof"
    if name not in bundle.files:
        raise Wrong("the file is missing", file=name)
    head, parted, note = bundle.files[name].partition(b"\n\n")
    lines = head.decode("latin-1").split("\n")
    if not parted or lines[0] != "c2sp.org/tlog-proof@v1":
        raise Wrong("it is not a tlog-proof", file=name)
    if len(lines) > 1 and lines[1].startswith("extra "):
        extra = unbase64(lines.pop(1)[6:])
        if not extra or len(extra) > 4096:
            raise Wrong("its extra data are not base64", file=name)
    path = [unbase64(line) for line in lines[2:]]
    if len(path) > 64 or any(node is None or len(node) != 32 for node in path):
        raise Wrong("a line of the path is no hash", file=name)
    # What a proof says of the tree is not looked at: size and root are those of the checkpoint.
    if lines[1:2] != [f"index {index}"] or note != bundle.files["checkpoint"]:
        raise Wrong("it is the proof of another index or checkpoint", file=name)
    try:
        root = root_from_inclusion(leaf, index, checkpoint.size, path)
    except Wrong as wrong:
        raise Wrong(str(wrong), file=name) from None
    if root != checkpoint.root:
        raise Wrong("the proof leads to another root", file=name)


def verify_bundle(data, keys, kept):
    signature, outcome, inclusion = Outcome("signature"), Outcome("manifest"), Outcome("inclusion")
    try:
        bundle = Bundle(data)
    except Wrong as wrong:
        outcome.wrong(**wrong.finding)
        outcome.end(FAIL, 0, "it cannot be read as a bundle")
        rest = [signature, outcome, inclusion, Outcome("consistency"), *Events().end(False)]
        return report("bundle", None, 0, rest)
    checkpoint, verified = open_checkpoint(bundle.files["checkpoint"], keys, signature)
    manifest = judge_manifest(bundle, keys, checkpoint, outcome)
    events = manifest.parts() if manifest else Events()
    for index, line in bundle.events:
        leaf = leaf_hash(line)
        try:
            if checkpoint:
                check_inclusion(bundle, index, leaf, checkpoint)
        except Wrong as wrong:
            inclusion.wrong(**{"index": index, **wrong.finding})
        event = events.take(index, line, leaf)
        if event is not None and manifest and not manifest.belongs(event):
            events.tokens.join.wrong("it does not share what the events of this bundle share", index=index,
                                     source=event["source"], sequence=place(event))
    count = len(bundle.events)
    inclusion.end(PASS if verified and count else UNKNOWN, count, f"{count} leaves")
    known = Known(kept, keys, checkpoint)

    def begins(old):
        name = f"consistency/{old.size}"
        if name not in bundle.files and old.size not in (0, checkpoint.size):
            return False
        path = [unbase64(line.decode("latin-1")) for line in read_lines(name, bundle.files.get(name, b""))]
        if len(path) > 64 or any(node is None or len(node) != 32 for node in path):
            raise Wrong(f"{name} does not hold hashes")
        check_consistency(old.size, old.root, checkpoint.size, checkpoint.root, path)
        return True
    if checkpoint:
        known.judge(begins)
    outcomes = [signature, outcome, inclusion, known.end(verified), *events.end(True)]
    scope = manifest and f"{manifest.kind} {manifest.value}, range {manifest.first}..{manifest.last}"
    return report("bundle", checkpoint, count, outcomes, scope)


# --- What it came to -----------------------------------------------------------------------------------------------------

def report(kind, checkpoint, events, outcomes, scope=None):
    told = {"kind": kind, "origin": checkpoint and checkpoint.origin, "size": checkpoint and checkpoint.size,
            "events": events, "checks": [outcome.told() for outcome in outcomes], "notProven": NOT_PROVEN}
    if scope:
        told["scope"] = scope
    return told


def exit_code(told, required):
    verdicts = {check["check"]: check["verdict"] for check in told["checks"]}
    if FAIL in verdicts.values():
        return 1
    if required is None:
        return 3 if any(verdicts.get(check) == UNKNOWN for check in USUAL) else 0
    return 3 if any(verdicts.get(check, PASS) != PASS for check in required) else 0


def verify(path, keys, kept, required=None):
    told = verify_log(path, keys, kept) if os.path.isdir(path) else verify_bundle(read_file(path, BUNDLE_MAX), keys, kept)
    told["exit"] = exit_code(told, required)
    return told


def trust_file(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.split(" #")[0].strip() for line in file]
    return [line for line in lines if line and not line.startswith("#")]


def print_text(path, told):
    scope = f"   {told['scope']}" if "scope" in told else ""
    print(f"{told['kind']:12} {path}   {told['origin']}   events {told['events']} of {told['size']}{scope}")
    for check in told["checks"]:
        print(f"{check['check']:12} {check['verdict']:8} {check['detail']}")
        for finding in check["findings"]:
            where = ", ".join(f"{name} {value}" for name, value in finding.items() if name != "what")
            print(f"{'':21} {where}: {finding['what']}")
        if check["failures"] > len(check["findings"]):
            print(f"{'':21} and {check['failures'] - len(check['findings'])} more")
    print(f"NOT PROVEN: {'; '.join(NOT_PROVEN)}; anything newer than checkpoint {told['size']}.")
    print(f"exit {told['exit']}")


def batch():
    for line in sys.stdin:
        asked = json.loads(line)
        keys = [Key(text) for text in asked["keys"]]
        kept = [(path, read_file(path, NOTE_MAX)) for path in asked["checkpoints"]]
        print(json.dumps(verify(asked["path"], keys, kept)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?")
    parser.add_argument("--trust", action="append", default=[], metavar="FILE")
    parser.add_argument("--key", action="append", default=[], metavar="VKEY")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="FILE")
    parser.add_argument("--require", metavar="CHECKS")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--batch", action="store_true")
    args = parser.parse_args()
    if args.batch:
        return batch()
    required = args.require.split(",") if args.require else None
    if not args.path or any(check not in CHECKS for check in required or []):
        parser.error(f"name what is to be verified; checks are: {', '.join(CHECKS)}")
    try:
        keys = [Key(text) for text in args.key + [line for path in args.trust for line in trust_file(path)]]
        kept = [(path, read_file(path, NOTE_MAX)) for path in args.checkpoint]
        told = verify(args.path, keys, kept, required)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(json.dumps(told)) if args.json else print_text(args.path, told)
    return told["exit"]


if __name__ == "__main__":
    sys.exit(main())
