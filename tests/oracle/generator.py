"""Bodies of checkouts: a good cart, written where the preset has it, then changed at any level.

A document is built as a tree of `Members`, lists, texts, `Number`s and words. `Members` may hold a name twice,
which a dict cannot.
"""

from facts import EXPONENTS, MINOR_MAX, as_list, steps
from readers import Number
from writer import Writer

VARIANTS = ["shopify:variant:123456", "mug_blue", "sku/7.a-B", "42", "v" * 128]
CODES = ["USD", "USD", "EUR", "JPY", "KWD", "KRW", "CLF"]
MINORS = [0, 1, 99, 100, 2999, 2990, 5000, 120000, 1250, 10**9, MINOR_MAX]
ODD_CODES = ["usd", "Usd", "US$", "USD ", "USDX", "", "ZZZ", "XXX", "840", "\uff35SD", "jpy", "USD\0", *CODES]
OTHER_NAMES = ["note", "__proto__", "caf\u00e9", "\u017f", "\U0001f600", "0"]
ODD_IDS = ["", " mug_blue", "a|b", "v" * 129, "mug_blue\0", "MUG_BLUE", "m\u00fcg", "0042", "mug_blue\u200b"]
ODD_NUMBERS = (
    "0 -0 -1 1.5 0.5 1e400 1e-400 1E36 1e37 1e-36 1e-37 1.0000000000000000001 0.9999999999999999999 2 50 51 "
    "9007199254740991 9007199254740992 9223372036854775807 9223372036854775808 18446744073709551617 4294967297 "
    "256.0 1e18 0e99 0e0 2e0 9999999999999999999999999999999999999999 29.991 0.2999 120.001"
).split() + ["9" * 96, "1." + "0" * 38, "2." + "0" * 38, "2." + "0" * 39]
NO_NUMBERS = ["01", "+1", "0x1", "NaN", "Infinity", "1.", ".5", "1e", "1_0", "--1", "\uff11", "-", "1e+", "00"]
ODD_VALUES = [None, True, False, [], "", "1", "29.99", "null", "x" * 129, "\u00e9" * 65]


class Members(list):
    """The members of an object: pairs, in their order."""


def put(tree, pointer, value):
    """Writes a value where a pointer leads, making what is missing on the way."""
    where = list(steps(pointer))
    for step, after in zip(where, where[1:] + [None]):
        new = value if after is None else [] if isinstance(after, tuple) else Members()
        if isinstance(step, tuple):
            new = Members([(step[0], step[1])])
            tree.append(new)
            tree = new
            continue
        there = [child for name, child in tree if name == step]
        if after is None or not there:
            tree[:] = [pair for pair in tree if pair[0] != step] + [(step, new)]
        tree = new if after is None or not there else there[0]


def walk(tree, depth=0):
    """Every object and list, with its depth."""
    if isinstance(tree, list):
        yield tree, depth
        for child in tree:
            yield from walk(child[1] if isinstance(tree, Members) else child, depth + 1)


class Generator:
    def __init__(self, rng):
        self.rng = rng

    def case(self, preset):
        """`(basis, what was authorised, body)`."""
        rng = self.rng
        self.preset, self.basis = preset, rng.choice(["net", "gross"])
        authorized = self.intents()
        self.currency = authorized[0]["currency"]
        tree = self.document(authorized)
        for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 3])):
            self.change(tree)
        if preset.root and rng.random() < 0.97:
            root, tree = tree, Members()
            put(tree, preset.root, root)
        writer = Writer(rng)
        body = writer.form(tree) if preset.is_form else writer.json(tree)
        return self.basis, authorized, writer.spoiled(body) if rng.random() < 0.12 else body

    def intents(self):
        rng = self.rng
        count = 1 if self.preset.is_one_line else rng.choice([1, 1, 1, 1, 2, 3, 5])
        code = rng.choice(CODES)
        before, after = self.preset.template.split("{id}")
        return [
            {
                "variant": before + rng.choice(VARIANTS)[: 128 - len(before + after)] + after,
                "quantity": rng.choice([1, 1, 2, 3, 50]),
                "minor": rng.choice(MINORS),
                "currency": code if rng.random() < 0.97 else rng.choice(CODES),
            }
            for _ in range(count)
        ]

    def document(self, authorized):
        rng, preset, tree = self.rng, self.preset, Members()
        lines = [dict(intent) for intent in authorized]
        if rng.random() < 0.2:
            split = rng.randrange(len(lines))
            lines[split : split + 1] = self.split(lines[split])
        if rng.random() < 0.3:
            rng.shuffle(lines)
        small = preset.letters == "lower" or (preset.letters == "either" and rng.random() < 0.5)
        self.put_all(tree, preset.currency, self.currency.lower() if small else self.currency)
        if isinstance(preset.decimals, str):
            self.decimals = EXPONENTS[self.currency] + rng.choice([0, 0, 0, 1])
            put(tree, preset.decimals, Number(str(self.decimals)))
        elif preset.decimals is not None:
            self.decimals = preset.decimals
        else:
            self.decimals = EXPONENTS[self.currency]
        if preset.is_one_line:
            self.line(tree, lines[0])
        else:
            items = [self.line(Members(), line) for line in lines]
            put(tree, rng.choice(preset.items), items)
        self.extra(tree)
        rng.shuffle(tree)
        return tree

    def split(self, line):
        """The same line as two that are equal, at times with one that is none or less."""
        if self.preset.is_one_line:
            return [line]
        whole = line["quantity"]
        some = self.rng.choice([whole, whole + 1] + [self.rng.randint(1, whole - 1)] * 6 if whole > 1 else [whole])
        return [{**line, "quantity": some}, {**line, "quantity": whole - some}]

    def put_all(self, tree, places, value):
        """At one of the places, at times at all of them."""
        for place in places if self.rng.random() < 0.2 else [self.rng.choice(places)] if places else []:
            put(tree, place, value)

    def line(self, item, line):
        rng, preset = self.rng, self.preset
        before, after = preset.template.split("{id}")
        name = line["variant"][len(before) :].removesuffix(after)
        self.put_all(item, preset.variant, Number(name) if name.isdigit() and rng.random() < 0.3 else name)
        self.put_all(item, preset.quantity, self.number(line["quantity"], 0, preset.is_form))
        if preset.inclusive is not None:
            put(item, preset.inclusive, self.basis == "gross")
        if preset.price is not None:
            for place in preset.prices(self.basis):
                self.price(item, place, line)
        self.extra(item)
        rng.shuffle(item)
        return item

    def price(self, item, place, line):
        parts = [place] if isinstance(place, str) else as_list(place["line"])
        whole = line["minor"] * (1 if isinstance(place, str) else max(1, line["quantity"]))
        for left in range(len(parts), 0, -1):
            part = whole if left == 1 else self.rng.randint(0, whole)
            whole -= part
            put(item, parts[left - 1], self.money(part))

    def money(self, minor):
        """An amount as the preset writes it."""
        as_text = self.preset.money not in ("major", "minor")
        if self.preset.money.startswith("major"):
            return self.number(minor, EXPONENTS[self.currency], as_text)
        more = self.decimals - EXPONENTS[self.currency]
        return self.number(minor * 10**more if more >= 0 else minor // 10**-more, 0, as_text)

    def number(self, units, digits, as_text):
        """`units / 10^digits`, spelled in one of many ways."""
        rng, shift = self.rng, 0
        minus, units = "-" if units < 0 else "", abs(units)
        if rng.random() < 0.3:
            shift = rng.choice([-3, -2, -1, 1, 2, 5])
        point = digits + shift
        text = str(units) + "0" * max(0, -point)
        if point > 0:
            text = text.rjust(point + 1, "0")
            text = f"{text[:-point]}.{text[-point:]}"
        if rng.random() < 0.2:
            text = text + ("" if "." in text else ".") + "0" * rng.choice([1, 2, 20, 38])
        if shift or rng.random() < 0.05:
            sign = rng.choice(["+", ""]) if shift >= 0 else ""
            text += rng.choice("eE") + sign + (rng.choice(["", "0", "00"]) if shift >= 0 else "") + str(shift)
        return minus + text if as_text else Number(minus + text)

    def extra(self, tree):
        """Members that the preset does not name."""
        if self.rng.random() < 0.25:
            self.put_pair(tree, self.rng.choice(OTHER_NAMES), self.odd())

    def put_pair(self, tree, name, value):
        tree.insert(self.rng.randint(0, len(tree)), (name, value))

    def odd(self):
        kind = self.rng.random()
        if kind < 0.5:
            return self.rng.choice(ODD_VALUES)
        if kind < 0.8:
            return Number(self.rng.choice(ODD_NUMBERS))
        return Members([("a", Number("1")), ("b", ["x", None])])

    def change(self, tree):
        """One change, anywhere."""
        rng = self.rng
        nodes = list(walk(tree))
        node, depth = rng.choice(nodes)
        if not node:
            return
        at = rng.randrange(len(node))
        if not isinstance(node, Members):
            self.change_list(node, at)
            return
        name, value = node[at]
        how = rng.randrange(12)
        if how < 5:
            node[at] = (name, self.other(value))
        elif how == 5:
            del node[at]
        elif how == 6:
            self.put_pair(node, self.twin(name), rng.choice([value, self.odd()]))
        elif how == 7:
            node[at] = (self.twin(name), value)
        elif how == 8:
            node[at] = (name, [value])
        elif how == 9:
            node[at] = (name, self.deep(depth))
        elif how == 10:
            node[at] = (name, Number(rng.choice(NO_NUMBERS)) if rng.random() < 0.3 else None)
        else:
            self.put_pair(node, "more", self.deep(depth))

    def change_list(self, items, at):
        how = self.rng.randrange(7)
        if how == 0:
            del items[at]
        elif how == 1:
            items.append(items[at])
        elif how == 2:
            items.append(self.odd())
        elif how == 3:
            items[at] = self.odd()
        elif how == 4:
            self.rng.shuffle(items)
        elif how == 5:
            items.extend([items[at]] * self.rng.choice([20, 99, 100, 101]))
        else:
            items.append(Members([pair for pair in items[at]][1:] if isinstance(items[at], Members) else []))

    def twin(self, name):
        """A name that is the same, or the same to some readers, or nearly."""
        odd = {"s": "\u017f", "k": "\u212a", "i": "\u0131"}
        swapped = "".join(odd.get(letter, letter) for letter in name)
        return self.rng.choice([name, name.upper(), name.title(), name + "\0x", swapped, name + " ", name + "s", "\0"])

    def other(self, value):
        """Another value in the place of this one."""
        rng = self.rng
        if rng.random() < 0.15:
            return self.odd()
        if isinstance(value, Number):
            return rng.choice([Number(rng.choice(ODD_NUMBERS)), value.text, self.money(rng.choice(MINORS))])
        if isinstance(value, str):
            texts = [*ODD_CODES, *ODD_IDS, *VARIANTS, *(ODD_NUMBERS if self.preset.is_form else [])]
            return rng.choice([rng.choice(texts), rng.choice(texts), [value], Number("7")])
        return self.odd()

    def deep(self, depth):
        """Nested up to the limit, one less or one more."""
        levels = max(1, 32 - depth + self.rng.choice([-3, -2, -1, 0, 1]))
        value = []
        for _ in range(levels - 1):
            value = [value] if self.rng.random() < 0.5 else Members([("d", value)])
        return value
