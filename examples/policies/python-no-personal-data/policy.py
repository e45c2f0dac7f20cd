"""Keeps turns with personal data out of the training samples: e-mail addresses, telephone, card and account numbers.

It says which kind it found and where, never the data itself.
"""

import re
from dataclasses import dataclass, field
from typing import Callable, Iterator

from metaclaw import Description, Drop, Keep, Sample

DESCRIPTION = Description("no-personal-data", "1.0.0", "Drops samples with e-mail addresses, phone, card or account numbers.")


def luhn(text: str) -> bool:
    """Whether the digits are a card's: the last one is a checksum of the others."""
    digits = [int(c) for c in reversed(text) if c.isdigit()]
    doubled = (sum(divmod(2 * d, 10)) for d in digits[1::2])
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def iban(text: str) -> bool:
    """Whether the letters and digits are an account's: as a number, its beginning moved to its end, it is 1 modulo 97."""
    compact = text.replace(" ", "").upper()
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def phone(text: str) -> bool:
    """Whether it is written as a telephone number: with a country's code, or a leading zero and groups."""
    digits = sum(c.isdigit() for c in text)
    return 9 <= digits <= 15 and (text.startswith("+") or any(c in " -/(" for c in text[1:-1]))


@dataclass(frozen=True)
class Kind:
    name: str
    pattern: re.Pattern[str]
    certain: Callable[[str], bool]


KINDS = {
    "email": Kind("an e-mail address", re.compile(r"[\w.+-]{1,64}@([\w-]{1,63}\.)+[a-z]{2,24}", re.I | re.A), lambda _: True),
    "iban": Kind("an account number (IBAN)", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}\b", re.A), iban),
    "card": Kind("a card number", re.compile(r"\b\d(?:[ -]?\d){12,18}\b", re.A), luhn),
    "phone": Kind("a telephone number", re.compile(r"(?<![\w.])(?:\+|00?)[1-9][\d ()/-]{6,18}\d\b", re.A), phone),
}


@dataclass
class Config:
    """The agent's `config:`."""

    look_for: list[str] = field(default_factory=lambda: list(KINDS))
    """Any of `email`, `iban`, `card`, `phone`; all of them unless it is said."""
    harmless: list[str] = field(default_factory=lambda: ["example.com", "example.org", "localhost"])
    """What ends so is nobody's address."""

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.look_for if kind not in KINDS]:
            raise ValueError(f"`look_for` knows no {', '.join(unknown)}; it knows {', '.join(KINDS)}")


def found(text: str, config: Config) -> Iterator[str]:
    """The kinds of personal data in a text."""
    for name in config.look_for:
        kind = KINDS[name]
        hits = (hit[0] for hit in kind.pattern.finditer(text))
        if any(kind.certain(hit) and not hit.lower().endswith(tuple(config.harmless)) for hit in hits):
            yield kind.name


def filter(sample: Sample, config: Config) -> Keep | Drop:
    places = [("the answer", sample.answer_text)]
    places += [(f"message {number} ({message.role})", message.text) for number, message in enumerate(sample.messages, 1)]
    for place, text in places:
        if kinds := list(found(text, config)):
            return Drop(f"{' and '.join(kinds)} in {place}")
    return Keep()
