"""What a document says is being bought, read as a preset declares it (`[lines]` of conf/presets/*.toml)."""

import re
import tomllib
from fractions import Fraction
from pathlib import Path

from readers import NUMBER, Number

HERE = Path(__file__).resolve().parent
PRESETS = [HERE.parents[1] / "conf" / "presets", HERE / "presets"]
LINES_MAX = 100
MINOR_MAX = 2**53 - 1
NUMBER_TEXT_MAX = 40
EXPONENT_MAX = 36
# What a diff may repeat: nothing that may be the number of a card or an address.
TELLING = re.compile(r"[A-Za-z0-9+\-., ]{0,12}")
ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
# ISO 4217: the digits behind the point, for the currencies that are generated.
DIGITS = {0: "JPY KRW CLP VND ISK", 2: "USD EUR GBP CHF CAD", 3: "KWD BHD TND OMR JOD", 4: "CLF UYW"}
EXPONENTS = {code: digits for digits, codes in DIGITS.items() for code in codes.split()}

NOT_BOUND = ("not bound",)


class Unknown(Exception):
    """The document does not say what the preset declares."""


def stated(value):
    return ("stated", value)


def senseless(text):
    return ("senseless", text)


def as_list(one_or_many):
    return one_or_many if isinstance(one_or_many, list) else [one_or_many]


class Preset:
    """A preset file, as far as it says where facts stand."""

    def __init__(self, path):
        doc = tomllib.loads(path.read_text())
        lines = doc["lines"]
        self.name = path.stem
        self.is_session = doc.get("facts", "request") == "session"
        # A session is JSON, however its commit is written.
        self.is_form = doc.get("body", "json") == "form" and not self.is_session
        self.root = doc.get("session", {}).get("root", "")
        self.template = doc.get("variant", "{id}")
        self.items = as_list(lines["items"])
        self.variant = as_list(lines["variant"])
        self.quantity = as_list(lines["quantity"])
        self.currency = as_list(lines.get("currency", []))
        self.letters = lines.get("currency_case", "upper")
        self.money = lines.get("money", "major")
        self.decimals = lines.get("decimals")
        self.inclusive = lines.get("inclusive")
        self.price = lines.get("price")

    def prices(self, basis):
        """The places of the unit price on this basis."""
        by_basis = isinstance(self.price, dict) and "line" not in self.price
        return as_list(self.price.get(basis, []) if by_basis else self.price)

    @property
    def is_one_line(self):
        return "" in self.items


def steps(pointer):
    """The steps of a JSON Pointer; `(member, text)` picks the one element that has it."""
    for part in pointer.split("/")[1:]:
        picks = re.fullmatch(r"\[([^=]+)=(.*)\]", part, re.DOTALL)
        yield picks.groups() if picks else part.replace("~1", "/").replace("~0", "~")


ABSENT = object()


def find(pointer, value):
    for step in steps(pointer):
        if isinstance(step, tuple):
            member, text = step
            items = value if isinstance(value, list) else []
            found = [item for item in items if isinstance(item, dict) and item.get(member) == text]
            value = found[0] if len(found) == 1 else ABSENT
        elif isinstance(value, dict):
            value = value.get(step, ABSENT)
        elif isinstance(value, list) and re.fullmatch(r"0|[1-9][0-9]*", step) and int(step) < len(value):
            value = value[int(step)]
        else:
            return ABSENT
        if value is ABSENT:
            return ABSENT
    return value


def find_all(places, value):
    found = (find(place, value) for place in places)
    return [value for value in found if value is not ABSENT]


def summary(value):
    """How a diff shows a value. Lines whose senseless prices look the same are summed."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Number):
        return value.text if TELLING.fullmatch(value.text) else "a very long number"
    if isinstance(value, str):
        return value if TELLING.fullmatch(value) else f"a text of {len(value.encode())} bytes"
    return "an array" if isinstance(value, list) else "an object"


def agreed(facts):
    """What the places of one fact say together."""
    if not facts:
        return None
    return facts[0] if all(fact == facts[0] for fact in facts) else senseless("places that differ")


def fact(values, read):
    """A null says nothing beside another value."""
    values = [value for value in values if value is not None] or values
    return agreed([of(value, read) for value in values])


def of(value, read):
    found = read(value)
    return senseless(summary(value)) if found is None else stated(found)


def decimal(text):
    """The exact value of the text of a JSON number within our bounds."""
    if not isinstance(text, str) or len(text) > NUMBER_TEXT_MAX or not NUMBER.fullmatch(text):
        return None
    exponent = re.split("[eE]", text)[1:]
    if exponent and abs(int(exponent[0])) > EXPONENT_MAX:
        return None
    return Fraction(text)


def integer(text):
    value = decimal(text)
    return int(value) if value is not None and value.denominator == 1 and abs(value) < 2**63 else None


def number_text(value):
    return value.text if isinstance(value, Number) else None


def text_of(value):
    return value if isinstance(value, str) else None


class Reading:
    """One document, read by one preset on one basis."""

    def __init__(self, preset, basis, document):
        self.preset, self.basis, self.document = preset, basis, document

    def lines(self):
        """`(variant, quantity, price, currency)` of each line, equal ones summed."""
        items = self.items()
        if not items:
            raise Unknown("items_empty")
        if len(items) > LINES_MAX:
            raise Unknown("items_too_many")
        self.currency = NOT_BOUND
        if self.preset.currency:
            self.currency = fact(find_all(self.preset.currency, self.document), self.read_currency)
        if self.currency is None:
            raise Unknown("currency_absent")
        self.decimals = self.read_decimals()
        return summed([self.line(item) for item in items])

    def items(self):
        if self.preset.is_one_line:
            return [self.document]
        lists = [value for value in find_all(self.preset.items, self.document) if value is not None]
        if not lists or not isinstance(lists[0], list):
            raise Unknown("items_absent")
        if len(lists) > 1:
            raise Unknown("items_twice")
        return lists[0]

    def read_currency(self, value):
        code = text_of(value)
        if code is None:
            return None
        if code.isascii() and code.islower() and code.isalpha():
            code = code.upper() if self.preset.letters in ("lower", "either") else None
        elif self.preset.letters == "lower":
            code = None
        return code if code in EXPONENTS else None

    def read_decimals(self):
        decimals = self.preset.decimals
        if not isinstance(decimals, str):
            return decimals
        digits = integer(number_text(find(decimals, self.document)))
        if digits is None or not 0 <= digits <= 18:
            raise Unknown("decimals_absent")
        return digits

    def line(self, item):
        quantity = fact(find_all(self.preset.quantity, item), self.read_count)
        if quantity is None:
            raise Unknown("quantity_absent")
        variant = fact(find_all(self.preset.variant, item), self.read_variant)
        if variant is None:
            raise Unknown("variant_absent")
        return [variant, quantity, self.read_price(item, quantity), self.currency]

    def read_variant(self, value):
        text = text_of(value) if isinstance(value, str) else number_text(value)
        name = None if text is None else self.preset.template.replace("{id}", text)
        return name if name is not None and ID.fullmatch(name) else None

    def read_count(self, value):
        text = text_of(value) if self.preset.is_form else number_text(value)
        count = integer(text)
        return count if count is not None and count >= 1 else None

    def read_price(self, item, quantity):
        if self.preset.price is None:
            return NOT_BOUND
        if self.preset.inclusive is not None:
            inclusive = find(self.preset.inclusive, item)
            if not isinstance(inclusive, bool):
                raise Unknown("price_basis_absent")
            if inclusive != (self.basis == "gross"):
                raise Unknown("price_on_another_basis")
        places = self.preset.prices(self.basis)
        if not places:
            raise Unknown("price_basis_not_told")
        found = [self.read_place(place, item, quantity) for place in places]
        price = agreed([price for price in found if price is not None])
        if price is None:
            raise Unknown("price_absent")
        return price

    def read_place(self, place, item, quantity):
        if isinstance(place, str):
            value = find(place, item)
            return None if value is ABSENT else of(value, self.amount)
        parts = [find(part, item) for part in as_list(place["line"])]
        if any(part is ABSENT for part in parts):
            return None
        amounts = [self.amount(part) for part in parts]
        if all(amounts) and quantity[0] == "stated":
            whole, code = sum(minor for minor, _ in amounts), amounts[0][1]
            if whole % quantity[1] == 0 and whole // quantity[1] <= MINOR_MAX:
                return stated((whole // quantity[1], code))
        return senseless(f"a share of {summary(parts[0]) if parts else ''}")

    def amount(self, value):
        """`(minor units, currency)`."""
        if self.currency[0] != "stated":
            return None
        money, code = self.preset.money, self.currency[1]
        number = decimal(number_text(value) if money in ("minor", "major") else text_of(value))
        if number is None:
            return None
        minor = number
        if money in ("major", "major_text"):
            minor = number * 10 ** EXPONENTS[code]
        elif number.denominator != 1:
            return None
        elif self.decimals is not None:
            minor = number * Fraction(10) ** (EXPONENTS[code] - self.decimals)
        return (int(minor), code) if minor.denominator == 1 and 0 <= minor <= MINOR_MAX else None


def summed(lines):
    """Lines that differ in nothing but their quantity are one."""
    out = []
    for line in lines:
        variant, quantity, price, currency = line
        same = [
            seen
            for seen in out
            if seen[0][0] == seen[1][0] == "stated" and (seen[0], seen[2], seen[3]) == (variant, price, currency)
        ]
        if not same or quantity[0] != "stated":
            out.append(list(line))
            continue
        total = same[0][1][1] + quantity[1]
        same[0][1] = stated(total) if total < 2**63 else senseless("a very long number")
    return out
