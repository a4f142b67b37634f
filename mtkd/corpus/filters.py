"""Says which pairs cannot teach a translation model, one rule a field of the recipe's `filters`.

What it owns: `FILTERS` and what each rule calls a fault. Which language a text is in: `identification.py`.
What it must not know: files, counts, other pairs (duplicates: `clean.py`; a corpus as a whole: `alignment.py`).
Why every rule asks for more than a hint: a pair dropped by mistake is lost, and most of a company's text is short. A
text without a translation is filtered as a pair with itself, so that rules about both sides find no fault in it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from mtkd.corpus.identification import seems_another_language
from mtkd.corpus.scripts import SCRIPTS, script_of
from mtkd.recipe_text import Filters, Languages

_RUN = 4
"""The longest run of words looked at for repetition."""
_SPOKEN = 12
"""Numbers up to this one may be a word on the other side."""

_PLACEHOLDER = re.compile(
    r"""(?: (?:https?|ftp)://[^\s<>"']*[\w/]          # a URL
          | (?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+              # an e-mail address
          | <ph\d+>
          | \{\{?\s*[\w.]*\s*(?:[!:][^{}\s]*)?\}?\}    # {name} {0:.2f} {{name}}
          # printf; of 100 %ige it is no part
          | (?<![\d%])%(?:\(\w+\)|\d+\$)?[-+\#0]*\d*(?:\.\d+)?(?:hh?|ll?|[qjztL])?[diouxXeEfFgGcrsan](?![a-z]{2})
          | (?<![\w%])%L?[1-9]\d?\b                   # Qt
          | \$[A-Za-z_]\w*\b | \$\{\w+\}
        )""",
    re.VERBOSE,
)
_SIGNS_OF_PLACEHOLDERS = frozenset("%{$<@:")
_ADDRESS = re.compile("(?:https?|ftp)://|[^$%{<].*@")
_SWITCH = re.compile(r"\{\s*(\w+)\s*,\s*(?:plural|select|selectordinal)\b")
_POSITION = re.compile(r"%\d+\$")
_NUMBER = re.compile(r"\d+")
_NUMBERING = re.compile(r"^\W*\d+[.):]\s")
# Punctuation of code and markup is ASCII; a vowel sign or a quotation mark of any language is none of it.
_MARKUP = re.compile(r"<[^<>]*>|&#?\w+;|[!-/:-@\[-`{-~]+")


class Side(NamedTuple):
    """One side of a pair: its normalised text, its language (ISO code), and its words, split on spaces once."""

    text: str
    language: str
    words: list[str]


def _too_short(source: Side, target: Side, limit: int) -> bool:
    return min(len(source.words), len(target.words)) < limit


def _too_long(source: Side, target: Side, limit: int) -> bool:
    return max(len(source.words), len(target.words)) > limit


def _unequal(source: Side, target: Side, limit: float) -> bool:
    shorter, longer = sorted((len(source.words), len(target.words)))
    return longer > limit * shorter


def _copy(source: Side, target: Side, wanted: bool) -> bool:
    return wanted and source.text.casefold() == target.text.casefold()


def _foreign_script(source: Side, target: Side, share: float) -> bool:
    return share > 0 and (_own_letters(source) < share or _own_letters(target) < share)


def _own_letters(side: Side) -> float:
    """Share of a side's letters that are in a script of its language; 1 where nothing is known to be wrong."""
    scripts = SCRIPTS.get(side.language)
    if scripts is None or scripts.issuperset(filter(None, map(script_of, set(side.text)))):
        return 1.0
    letters = [script for script in map(script_of, side.text) if script]
    return sum(script in scripts for script in letters) / len(letters)


def _mostly_markup(source: Side, target: Side, share: float) -> bool:
    return share < 1 and (_markup(source.text) > share or _markup(target.text) > share)


def _markup(text: str) -> float:
    """Share of the characters, spaces not counted, that are tags, entities or ASCII signs."""
    found = sum(len(part) - part.count(" ") for part in _MARKUP.findall(text))
    return float(found / (len(text) - text.count(" ")))


def _repeats(source: Side, target: Side, limit: int) -> bool:
    if limit == 0:
        return False
    fewer, more = sorted((_most_repeated(source.words), _most_repeated(target.words)))
    # A refrain is no fault: only what one side repeats far more often than the other.
    return more > max(limit, 2 * fewer)


def _most_repeated(words: list[str]) -> int:
    """How often in a row the most repeated run of 1 to `_RUN` words comes; 1 where no word comes twice."""
    most = 1
    if len(set(words)) == len(words):
        return most
    for length in range(1, _RUN + 1):
        same = 0
        for word, before in zip(words[length:], words, strict=False):
            same = same + 1 if word == before else 0
            if same >= most * length:
                most = same // length + 1
    return most


def _numbers_differ(source: Side, target: Side, wanted: bool) -> bool:
    return wanted and _unexplained(_plain(source.text), _plain(target.text))


def _plain(text: str) -> list[str]:
    """The runs of digits of a text without its placeholders and its list numbering; ASCII, days without zeros."""
    if not _NUMBER.search(text):
        return []
    found = _NUMBER.findall(_NUMBERING.sub("", _PLACEHOLDER.sub(" ", text)))
    runs = (run if run.isascii() else "".join(str(unicodedata.decimal(digit)) for digit in run) for run in found)
    return [run.lstrip("0") or "0" if len(run) <= 2 else run for run in runs]


def _unexplained(source: list[str], target: list[str]) -> bool:
    """Whether numbers differ by more than order, separators and numbers up to twelve written as words."""
    if sorted(source) == sorted(target):
        return False
    left, right = Counter(source), Counter(target)
    missing, added = list((left - right).elements()), list((right - left).elements())
    if sorted("".join(missing)) == sorted("".join(added)):
        return False
    if missing and added:
        return True
    return any(len(number) > 2 or int(number) > _SPOKEN for number in missing or added)


def _placeholders_differ(source: Side, target: Side, wanted: bool) -> bool:
    return wanted and source.text != target.text and placeholders(source.text) != placeholders(target.text)


def placeholders(text: str) -> set[str]:
    """What a program replaces in a text, and its addresses: those by kind only, since pages are localised too.

    Arguments with a position (`%1$s`) count as those without. Of an ICU message
    (`{n, plural, one {day} other {days}}`) it is the names it switches on: its branches are text.
    """
    if switches := _SWITCH.findall(text):
        return set(switches)
    found = _PLACEHOLDER.findall(text) if not _SIGNS_OF_PLACEHOLDERS.isdisjoint(text) else []
    return {"@" if _ADDRESS.match(one) else _POSITION.sub("%", "".join(one.split())) for one in found}


def _other_language(source: Side, target: Side, confidence: float) -> bool:
    if confidence == 1:
        return False
    languages = (source.language, target.language)
    return any(
        seems_another_language(side.text, side.words, side.language, languages, confidence) for side in (source, target)
    )


FILTERS: dict[str, Callable[[Side, Side, Any], bool]] = {
    "min_words": _too_short,
    "max_words": _too_long,
    "max_ratio": _unequal,
    "copies": _copy,
    "script": _foreign_script,
    "markup": _mostly_markup,
    "repeats": _repeats,
    "numbers": _numbers_differ,
    "placeholders": _placeholders_differ,
    "language": _other_language,
}
"""By field of `recipe_text.Filters`: whether a pair (normalised, neither side empty) is dropped, given the field's
value. The dearest comes last."""


def reason_to_drop(source: str, target: str, filters: Filters, languages: Languages) -> str | None:
    """Name of the first rule that drops a normalised pair, `empty` before any other; None keeps it."""
    if not source or not target:
        return "empty"
    left = Side(source, languages.source, source.split(" "))
    right = Side(target, languages.target, target.split(" "))
    return next((name for name, drops in FILTERS.items() if drops(left, right, getattr(filters, name))), None)
