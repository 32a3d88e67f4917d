"""Writes trees as JSON or as forms, in the many ways that mean the same, and spoils what is written."""

from readers import Number

SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
SPACES = ["", "", " ", "\n", "\t", "\r\n  "]
LONE = [b"\\ud800", b"\\udc00", b"\\udc00\\ud800", b"\\ud800\\u0041", b"\\ud83d\\ude00"]
NOISE = [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\0", b"\x01", b"\x7f", b"\xc2\xa0"]
NOISE.append(b"\xef\xbb\xbf")


class Writer:
    def __init__(self, rng):
        self.rng = rng
        self.spaces = rng.choice([[""], [""], SPACES, SPACES, [" "], [*SPACES, "\x0c"] if rng.random() < 0.3 else [""]])
        self.escapes = rng.choice([0, 0, 0, 0.1, 1])

    def space(self):
        return self.rng.choice(self.spaces)

    def json(self, tree):
        return (self.space() + self.value(tree) + self.space()).encode("utf-8")

    def value(self, value):
        if isinstance(value, Number):
            return value.text
        if isinstance(value, str):
            return self.text(value)
        if not isinstance(value, list):
            return {None: "null", True: "true", False: "false"}[value]
        pairs = type(value) is not list
        parts = map(self.pair, value) if pairs else map(self.value, value)
        inner = ",".join(self.space() + part + self.space() for part in parts) or self.space()
        return "{" + inner + "}" if pairs else "[" + inner + "]"

    def pair(self, pair):
        name, value = pair
        return f"{self.text(name)}{self.space()}:{self.space()}{self.value(value)}"

    def text(self, text):
        return '"' + "".join(self.letter(letter) for letter in text) + '"'

    def letter(self, letter):
        must = letter in '"\\' or letter < " "
        if letter in SHORT and (must or self.rng.random() < self.escapes):
            return SHORT[letter]
        if letter == "/" and self.rng.random() < self.escapes / 2:
            return "\\/"
        if not must and self.rng.random() >= self.escapes:
            return letter
        units = letter.encode("utf-16-be").hex()
        units = units.upper() if self.rng.random() < 0.5 else units
        return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))

    def form(self, tree):
        fields = [f"{self.field(name)}={self.field(self.plain(value))}" for name, value in tree]
        return "&".join(fields).encode("ascii")

    def plain(self, value):
        """A form holds texts alone."""
        if isinstance(value, Number):
            return value.text
        return value if isinstance(value, str) else self.value(value)

    def field(self, text):
        out = []
        for byte in text.encode("utf-8"):
            letter = chr(byte)
            if letter == " " and self.rng.random() < 0.5:
                out.append("+")
            elif (letter.isascii() and letter.isalnum() or letter in "-._~:/") and self.rng.random() >= self.escapes:
                out.append(letter)
            else:
                out.append(f"%{byte:02x}" if self.rng.random() < 0.5 else f"%{byte:02X}")
        return "".join(out)

    def spoiled(self, body):
        """The bytes with one thing done to them that a strict reader may mind."""
        rng = self.rng
        at = rng.randint(0, len(body))
        how = rng.randrange(12)
        if how == 0:
            return body[:at]
        if how == 1:
            return body[:at] + rng.choice(NOISE) + body[at:]
        if how == 2:
            return b"\xef\xbb\xbf" + body
        if how == 3:
            return body + rng.choice([b"x", b"{}", b"\0", b"// x", b",", b"&", b"&a", b";b=1", b"&=1"])
        if how == 4:
            return body.replace(b'"', rng.choice([b"'", b""]), rng.choice([1, 2, -1]))
        if how == 5:
            return body.replace(b":", b"=", 1)
        if how == 6:
            return body.replace(b"}", b",}", 1).replace(b"=", b"", 1)
        if how == 7:
            return body[:at] + rng.choice(LONE) + body[at:]
        if how == 8:
            return body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :]
        if how == 9:
            return body.decode("utf-8").encode("utf-16-le")
        if how == 10:
            return body[:at] + rng.choice([b"[1]", b"%5b", b"%zz", b"%4", b"%ff", b"+", b"\\u00zz", b"\\x"]) + body[at:]
        return rng.choice([b"", b" ", b"null", b"[]", b"{}", b"[" + body + b"]", b"{" * 40, b"[" * 40 + b"]" * 40])
