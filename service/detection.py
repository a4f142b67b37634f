"""Which language a text is in.

What it owns: the candidates, and what of a text is looked at. What it must not know: HTTP, models, dialects.
Why among few languages: every further one is a further chance of a mistake. Large ones are among them, and those with a
script of their own, so that a text in neither of the model's languages is not taken for one of them.
Why a short text is not called with false confidence: py3langid spreads its belief over all candidates where it saw
little. On 10,000 interface texts of 20 languages, what it calls with 90 % or more is right in 99 % and more of the
cases at any length, and below that more often than it says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from heapq import nlargest
from operator import itemgetter
from threading import Lock
from typing import TYPE_CHECKING

from service.languages import canonical

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_OTHERS = "ar bg bn ca cs da de el en es fa fi fr he hi hr hu id it ja ko nl no pl pt ro ru sk sv ta th tr uk ur vi zh"
OTHERS = frozenset(_OTHERS.split())
"""Languages that a text may be in, beside the model's."""
_PRIOR = 3.0
"""How much likelier a text of the model's languages is to arrive here than one of any other language."""
_LOOKED_AT = 1000
"""Characters; more make an answer dearer and no surer."""
_MOST = 3
_TAGS = re.compile(r"<[^<>]*>|&#?\w+;")
# Addresses, numbers, names of files and variables: of no language, or always of English. Only what is ASCII goes, for
# in Chinese a whole paragraph has no space.
_ASCII = re.compile(r"[!-~]+")
_SIGNS = re.compile(r"[@\\/_={}$%|0-9]")
_LABELS = {"nb": "no"}
"""py3langid's name where it is not the code's first part."""
_LOADING = Lock()


def detect(text: str, languages: Sequence[str]) -> list[tuple[str, float]]:
    """The likeliest languages of a text, best first, each with a confidence in percent; at least one, at most three.

    `languages` are the model's, its source first, and are named as given. A text without words (emoji, numbers, an
    address) is called the source's with confidence 0. Blocks: the first call reads the identifier's model (about 1 s),
    later ones take at most 0.5 ms; safe in threads.
    """
    words = _words(text[:_LOOKED_AT])
    identifier = _identifier(tuple(languages)) if any(map(str.isalpha, words)) else None
    if identifier is None:
        return [(languages[0], 0.0)]
    ours = _labels(tuple(languages))
    beliefs: dict[str, float] = dict(identifier.rank(words))
    for label in ours.keys() & beliefs.keys():
        beliefs[label] *= _PRIOR
    total = sum(beliefs.values())
    likeliest = nlargest(_MOST, beliefs.items(), key=itemgetter(1))
    ranked = [(ours.get(label, label), round(100 * belief / total, 1)) for label, belief in likeliest]
    return [ranked[0], *(item for item in ranked[1:] if item[1] > 0)]


def _words(text: str) -> str:
    prose = _ASCII.sub(lambda run: " " if _SIGNS.search(run[0]) else run[0], _TAGS.sub(" ", text))
    return " ".join(prose.split())


@cache
def _labels(languages: tuple[str, ...]) -> dict[str, str]:
    """The model's languages by py3langid's names."""
    return {_label(code): code for code in reversed(languages)}


def _label(code: str) -> str:
    first = canonical(code).partition("-")[0]
    return _LABELS.get(first, first)


def _identifier(languages: tuple[str, ...]) -> LanguageIdentifier:
    with _LOADING:  # or as many threads as ask first would each read the model
        return _load(languages)


@cache
def _load(languages: tuple[str, ...]) -> LanguageIdentifier:
    # Imported at the first use, because it brings numpy and 75 MB with it.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages((OTHERS | {_label(code) for code in languages}) & set(identifier.labels))
    return identifier
