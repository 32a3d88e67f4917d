"""Strict readers of JSON and of forms, written from RFC 8259 and from the rules of the contract alone."""

import re

DEPTH_MAX = 32
FIELDS_MAX = 1000

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
SPACE = re.compile(r"[ \t\n\r]*")
PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
HEX = re.compile(r"[0-9a-fA-F]{4}")
SHORT = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
WORDS = {"true": True, "false": False, "null": None}


class Malformed(Exception):
    """Not one strict document."""


class Number:
    """The literal text of a JSON number."""

    __slots__ = ("text",)

    def __init__(self, text):
        self.text = text


def read_json(data):
    """Exactly one object, as a dict."""
    text = utf8(data)
    value, at = read_value(text, SPACE.match(text).end(), 0)
    if SPACE.match(text, at).end() != len(text) or not isinstance(value, dict):
        raise Malformed
    return value


def utf8(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as why:
        raise Malformed from why


def read_value(text, at, depth):
    first = text[at : at + 1]
    if first == "{":
        return read_object(text, at + 1, depth + 1)
    if first == "[":
        return read_array(text, at + 1, depth + 1)
    if first == '"':
        return read_string(text, at + 1)
    number = NUMBER.match(text, at)
    if number:
        return Number(number.group()), number.end()
    for word, value in WORDS.items():
        if text.startswith(word, at):
            return value, at + len(word)
    raise Malformed


def members(text, at, depth, close):
    """The places where a member or an element starts; the reader of it sends back where it ended."""
    if depth > DEPTH_MAX:
        raise Malformed
    at = SPACE.match(text, at).end()
    if text[at : at + 1] == close:
        return at + 1
    while True:
        at = yield SPACE.match(text, at).end()
        at = SPACE.match(text, at).end()
        mark = text[at : at + 1]
        if mark == close:
            return at + 1
        if mark != ",":
            raise Malformed
        at += 1


def each(places, read):
    """Runs `read` at each place and returns where the whole ended."""
    try:
        at = next(places)
        while True:
            at = places.send(read(at))
    except StopIteration as end:
        return end.value


def read_object(text, at, depth):
    found = {}

    def member(at):
        if text[at : at + 1] != '"':
            raise Malformed
        name, at = read_string(text, at + 1)
        at = SPACE.match(text, at).end()
        if name in found or text[at : at + 1] != ":":
            raise Malformed
        found[name], at = read_value(text, SPACE.match(text, at + 1).end(), depth)
        return at

    return found, each(members(text, at, depth, "}"), member)


def read_array(text, at, depth):
    found = []

    def element(at):
        value, at = read_value(text, at, depth)
        found.append(value)
        return at

    return found, each(members(text, at, depth, "]"), element)


def read_string(text, at):
    parts = []
    while True:
        plain = PLAIN.match(text, at)
        parts.append(plain.group())
        at = plain.end()
        mark = text[at : at + 1]
        if mark == '"':
            return "".join(parts), at + 1
        if mark != "\\":
            raise Malformed
        part, at = read_escape(text, at + 1)
        parts.append(part)


def read_escape(text, at):
    kind = text[at : at + 1]
    if kind in SHORT:
        return SHORT[kind], at + 1
    if kind != "u":
        raise Malformed
    code, at = read_hex(text, at + 1)
    if 0xDC00 <= code <= 0xDFFF:
        raise Malformed
    if 0xD800 <= code <= 0xDBFF:
        if text[at : at + 2] != "\\u":
            raise Malformed
        low, at = read_hex(text, at + 2)
        if not 0xDC00 <= low <= 0xDFFF:
            raise Malformed
        code = 0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00
    return chr(code), at


def read_hex(text, at):
    digits = HEX.match(text, at)
    if not digits:
        raise Malformed
    return int(digits.group(), 16), digits.end()


def has_twins(value):
    """True when two names of one object are the same to a reader that does not mind case or stops at NUL."""
    if isinstance(value, list):
        return any(map(has_twins, value))
    if not isinstance(value, dict):
        return False
    names = {folded(name) for name in value}
    return len(names) < len(value) or any(map(has_twins, value.values()))


def folded(name):
    # Letter by letter: a sigma at the end of a word folds as any other.
    return "".join(letter.lower() for letter in name.split("\0")[0].upper())


def read_form(data):
    """The fields of a form, as a dict of texts."""
    fields = data.split(b"&")
    if len(fields) > FIELDS_MAX:
        raise Malformed
    found = {}
    for field in fields:
        name, equals, value = field.partition(b"=")
        name, value = unescaped(name), unescaped(value)
        if not equals or not name or name in found or "[" in name or "]" in name:
            raise Malformed
        found[name] = value
    # PHP drops blanks before a name and what follows a NUL, and takes `.` and blank for `_`.
    php = {name.split("\0")[0].lstrip(" ").replace(".", "_").replace(" ", "_") for name in found}
    if has_twins(found) or len(php) < len(found):
        raise Malformed
    return found


def unescaped(field):
    if not re.fullmatch(rb"(?:%[0-9a-fA-F]{2}|[!-$&-:<-~])*", field):
        raise Malformed
    plain = field.replace(b"+", b" ")
    return utf8(re.sub(rb"%(..)", lambda pair: bytes([int(pair.group(1), 16)]), plain, flags=re.DOTALL))
