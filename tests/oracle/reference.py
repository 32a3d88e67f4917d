#!/usr/bin/env python3
"""An independent judge of purchases: what a body says, against what was authorised.

    reference.py --count N --seed S [--preset NAME]…

Writes one JSON line for each generated body: `{preset, basis, body_b64, authorized, verdict}`. It shares no
code with the product: where the two differ, one of them does not keep the contract.
"""

import argparse
import base64
import json
import random
import sys

from facts import ABSENT, NOT_BOUND, PRESETS, Preset, Reading, Unknown, find, stated
from generator import Generator
from readers import Malformed, has_twins, read_form, read_json

LEFT_OVER_MAX = 20


def verdict(preset, basis, body, authorized):
    """`allowed`, `malformed`, `unknown` with its cause, or `mismatch` with the places that differ."""
    try:
        document = read_document(preset, body)
        if preset.is_session:
            document = find(preset.root, document)
            if document is ABSENT or document is None:
                raise Unknown("session_not_found")
        lines = Reading(preset, basis, document).lines()
    except Malformed:
        return {"is": "malformed"}
    except Unknown as why:
        return {"is": "unknown", "cause": str(why)}
    places = differences(authorized, lines)
    assert bool(places) != is_same_purchase(authorized, lines), (authorized, lines, places)
    return {"is": "mismatch", "places": sorted(places)} if places else {"is": "allowed"}


def read_document(preset, body):
    """A request is one strict document; of a session's answer only its JSON is judged."""
    if preset.is_session:
        return read_json(body)
    document = read_form(body) if preset.is_form else read_json(body)
    if has_twins(document):
        raise Malformed
    return document


def agrees(authorized, fact):
    return fact in (NOT_BOUND, stated(authorized))


def wanted(intent):
    """What a line has to say, in the order of its facts."""
    price = (intent["minor"], intent["currency"])
    return [intent["variant"], intent["quantity"], price, intent["currency"]]


def is_same(intent, line):
    return all(agrees(want, fact) for want, fact in zip(wanted(intent), line))


def is_same_purchase(authorized, lines):
    """Each line has one token and each token one line; found by trying, not by the order of the lists."""
    if len(authorized) != len(lines):
        return False
    if not authorized:
        return True
    first, rest = authorized[0], authorized[1:]
    return any(
        is_same(first, line) and is_same_purchase(rest, lines[:at] + lines[at + 1 :]) for at, line in enumerate(lines)
    )


def differences(authorized, lines):
    """The places that a diff names."""
    if len(authorized) == len(lines) == 1:
        return line_differences("", authorized[0], lines[0])
    places = ["/lines"] if len(authorized) != len(lines) else []
    if len(authorized) == 1:
        return places
    left, pairs = list(lines), {}
    for same in passes(len(authorized) == len(lines)):
        for at, intent in enumerate(authorized):
            line = next((line for line in left if same(intent, line)), None) if at not in pairs else None
            if line is not None:
                pairs[at] = line
                left = [other for other in left if other is not line]
    alone = [f"/lines/{at}" for at in range(len(authorized)) if at not in pairs]
    alone += [f"/lines/{len(authorized) + nth}" for nth in range(len(left))]
    for at, line in pairs.items():
        places += line_differences(f"/lines/{at}", authorized[at], line)
    return places + alone[:LEFT_OVER_MAX]


def passes(as_many):
    """Lines of the same item belong together, then those of the same variant, then what is left."""
    return [same_item, same_variant, same_nothing] if as_many else [same_item, same_variant]


def same_variant(intent, line):
    return agrees(wanted(intent)[0], line[0])


def same_item(intent, line):
    return same_variant(intent, line) and agrees(wanted(intent)[2], line[2])


def same_nothing(_intent, _line):
    return True


def line_differences(start, intent, line):
    names = ["/sourceVariantId", "/quantity", "/price/amount", "/price/currency"]
    return [start + name for name, want, fact in zip(names, wanted(intent), line) if not agrees(want, fact)]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--count", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--preset", action="append")
    options = options.parse_args()
    presets = [Preset(path) for folder in PRESETS for path in sorted(folder.glob("*.toml")) if ".test" not in path.suffixes]
    presets = [preset for preset in presets if preset.name in (options.preset or [preset.name])]
    generator = Generator(random.Random(options.seed))
    for nth in range(options.count):
        preset = presets[nth % len(presets)]
        basis, authorized, body = generator.case(preset)
        line = {
            "preset": preset.name,
            "basis": basis,
            "body_b64": base64.b64encode(body).decode(),
            "authorized": authorized,
            "verdict": verdict(preset, basis, body, authorized),
        }
        sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
