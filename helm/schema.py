#!/usr/bin/env python3
"""Writes values.schema.json of both charts: what values.schema.base.json says, and under `config`
what `permyx config schema` prints.

    helm/schema.py [PERMYX]         the program; by default target/debug/permyx
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHARTS = ("permyx", "permyx-lib")
# The program needs it; the chart may set it, from an existing secret.
MAY_BE_LEFT_OUT = {"key_file"}


def moved(node):
    """Points at `#/definitions/config.X` what points at `#/$defs/X`, and needs no more than the chart does."""
    if isinstance(node, dict):
        needed = {"required": [name for name in node["required"] if name not in MAY_BE_LEFT_OUT]} if "required" in node else {}
        return {key: moved(value) for key, value in (node | needed).items()}
    if isinstance(node, list):
        return [moved(value) for value in node]
    if isinstance(node, str):
        return node.replace("#/$defs/", "#/definitions/config.")
    return node


def schemas(program):
    """The text of each chart's schema."""
    printed = subprocess.run([program, "config", "schema"], check=True, capture_output=True, text=True).stdout
    config = moved(json.loads(printed))
    base = json.loads((HERE / "values.schema.base.json").read_text())
    del config["$schema"]
    definitions = base["definitions"] | {f"config.{name}": of for name, of in config.pop("$defs").items()}
    return {chart: text(base, chart, config, definitions) for chart in CHARTS}


def text(base, chart, config, definitions):
    schema = {
        # The draft that older engines of Helm read too.
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"Values of {chart}",
        "type": "object",
        "additionalProperties": False,
        "properties": base["shared"] | base[chart] | {"config": config},
        "definitions": used(base["shared"] | base[chart] | {"config": config}, definitions),
    }
    return json.dumps(schema, indent=2) + "\n"


def used(node, definitions):
    """The definitions that are needed, with those that they need."""
    found, text = set(), json.dumps(node)
    while more := {name for name in definitions if f'"#/definitions/{name}"' in text} - found:
        found |= more
        text += "".join(json.dumps(definitions[name]) for name in more)
    return {name: definitions[name] for name in definitions if name in found}


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else HERE.parent / "target/debug/permyx"
    for chart, schema in schemas(program).items():
        (HERE / chart / "values.schema.json").write_text(schema)


if __name__ == "__main__":
    main()
