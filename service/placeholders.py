"""What must come out of a translation exactly as it went in: format strings, URLs, e-mail addresses, long numbers.

What it owns: what counts as such, its way into a segment as a placeholder and back, and the check that none was lost.
What it must not know: engines, requests. Why: a model spells `%(name)s` from subwords, and one wrong letter breaks
the program that the text is for.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from service.engines.base import PLACEHOLDERS

_CODE = (
    r"https?://[^\s<>\"]*[\w/]|www\.[^\s<>\"]*[\w/]"
    r"|[\w.+-]{1,64}@\w[\w-]*(?:\.\w[\w-]*)+"
    r"|\{\{[^{}]*\}\}|\$?\{[^{}]*\}"
    # After a digit it is a percentage, and letters that go on are a word.
    r"|(?<![\w%])%(?:\(\w+\)|\d+\$)?[-+#0]*\d*(?:\.\d+)?(?:hh?|ll?|[jqtz])?[@acdeEfgGiorsuxX](?!\w)"
)
# One digit decides about singular and plural; a point or comma inside is written otherwise in other languages.
_NUMBER = r"(?<![\w.,%{\\])(?:\d++(?:[:/-]\d++)++|\d\d++)(?![\w%]|[.,]\d)"
_PATTERNS = {False: re.compile(_CODE), True: re.compile(f"{_CODE}|{_NUMBER}")}
_SIGN = re.compile(r"[@{%\d]|://|www\.")
"""In everything that is kept; looking for it first takes a seventh of the time where a text has none."""
_ANY_PLACEHOLDER = re.compile(f"[{PLACEHOLDERS[0]}-{PLACEHOLDERS[-1]}]")
_NONE = dict.fromkeys(map(ord, PLACEHOLDERS))


class Masked(NamedTuple):
    """A segment whose n-th kept string is replaced by the n-th of `PLACEHOLDERS`; equal strings by the same one."""

    text: str
    kept: tuple[str, ...]


def without_placeholders(text: str) -> str:
    """The text less the noncharacters that stand for placeholders; nobody may send those."""
    return text.translate(_NONE)


def mask(segment: str, *, symbols: int = len(PLACEHOLDERS), numbers: bool = True) -> Masked:
    """The segment with up to `symbols` strings masked; what is beyond stays text."""
    if not _SIGN.search(segment):
        return Masked(segment, ())
    kept: dict[str, str] = {}

    def masked(found: re.Match[str]) -> str:
        if found[0] not in kept and len(kept) < symbols:
            kept[found[0]] = PLACEHOLDERS[len(kept)]
        return kept.get(found[0], found[0])

    return Masked(_PATTERNS[numbers].sub(masked, segment), tuple(kept))


def carries(translation: str, segment: str) -> bool:
    """Whether the translation of a masked segment has each placeholder as often as the segment."""
    return Counter(_ANY_PLACEHOLDER.findall(translation)) == Counter(_ANY_PLACEHOLDER.findall(segment))


def restore(translation: str, masked: Masked) -> str | None:
    """The translation of a masked segment in full; None if a placeholder was lost, doubled or invented."""
    if not carries(translation, masked.text):
        return None
    return translation.translate(dict(zip(map(ord, PLACEHOLDERS), masked.kept, strict=False)))


def keeps(translation: str, segment: str) -> bool:
    """Whether the translation of an unmasked segment has its kept strings, numbers aside, each as often."""
    return not (_SIGN.search(translation) or _SIGN.search(segment)) or _code_in(translation) == _code_in(segment)


def without_kept(text: str) -> str:
    """The text's own words: a blank in the place of every kept string."""
    return _PATTERNS[True].sub(" ", text) if _SIGN.search(text) else text


def around(segment: str) -> list[tuple[str, str]]:
    """Pairs of a stretch to translate and the kept string (numbers aside) that follows it; joined, the segment."""
    pairs, start = [], 0
    for found in _PATTERNS[False].finditer(segment):
        pairs.append((segment[start : found.start()], found[0]))
        start = found.end()
    return [*pairs, (segment[start:], "")]


def _code_in(text: str) -> Counter[str]:
    return Counter(_PATTERNS[False].findall(text))
