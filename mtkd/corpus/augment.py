"""Rewrites a share of the train rows, so that a model copes with text that is not as tidy as what it learns from.

What it owns: `AUGMENTATIONS`, one row a field of `recipe_text.Augmentation`, and which rows are rewritten.
What it must not know: files, how text becomes pieces. Why in place: a row stays one row, so that row i is still
sentence i when soft targets are captured. Why by hash of the row: text that is added changes nothing for other rows.
"""

from __future__ import annotations

import hashlib
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator

from mtkd.corpus.leakage import GroupedPair
from mtkd.corpus.subword import PLACEHOLDERS
from mtkd.errors import CorpusError
from mtkd.recipe_text import Augmentation

AUGMENTED = "augment.json"
"""File of an `Augmenter`'s counts."""
_URL_OR_EMAIL = r"https?://[^\s<>\"]*[\w/]|www\.[^\s<>\"]*[\w/]|[\w.+-]{1,64}@\w[\w-]*(?:\.\w[\w-]*)+"
_CODE = re.compile(rf"({_URL_OR_EMAIL}|<[^<>]*>|\{{[^{{}}]*\}}|%\(\w+\)[a-z]|%[\d.$-]*[a-z]\b|\\\w+|&#?\w+;)")
"""What means something to a program: in other letters it would mean something else."""
_COPIED = re.compile(
    rf"{_URL_OR_EMAIL}"
    r"|(?<![\w.,{%\\<])(?<!&#)\d++(?:[.,:/-]\d++)*+(?!\w)"  # numbers, times, dates; not `{0}` and `%1$s`
    r"|(?<=[\w,;] )(?P<word>[^\W\d_]\w+(?:-\w+)*)"  # not the first of a sentence, whose capital says nothing
)
_FINAL_PUNCTUATION = ".!?\u2026\u3002\uff01\uff1f"
_TYPED_WORD = re.compile(r"[^\W\d_]{4,}")
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    key: row[max(0, place - 1) : place] + row[place + 1 : place + 2]
    for row in _KEYBOARD
    for place, key in enumerate(row)
}
MOST_TYPOS = 3
"""In one sentence."""
Rewrite = Callable[[str, str, random.Random], tuple[str, str]]
"""Makes another pair of a source, its target and the row's own random numbers."""


class Augmenter:
    """Rewrites rows as a recipe asks for, and counts them.

    `counts` has, by group, the number of `rows` and how many of them were rewritten, by kind.

    Raises:
        CorpusError: placeholders are asked for that the vocabulary, given as its `reserved` symbols, does not have.
    """

    def __init__(self, augmentation: Augmentation, *, seed: int, reserved: Collection[str]) -> None:
        self.shares = {kind: share for kind in AUGMENTATIONS if (share := getattr(augmentation, kind))}
        self.seed = seed
        self.counts: dict[str, Counter[str]] = {}
        if "placeholders" in self.shares and not set(PLACEHOLDERS) <= set(reserved):
            raise CorpusError(
                f"augmentation.placeholders: subword.model lacks the pieces {PLACEHOLDERS[0]} to {PLACEHOLDERS[-1]}; "
                "set it to 0, or have a model trained"
            )

    def __call__(self, pairs: Iterable[GroupedPair]) -> Iterator[GroupedPair]:
        """The pairs in their order, some of them rewritten."""
        for pair in pairs:
            counts = self.counts.setdefault(pair.group, Counter(dict.fromkeys(["rows", *AUGMENTATIONS], 0)))
            counts["rows"] += 1
            kind, rewritten = self._rewritten(pair)
            if kind is not None:
                counts[kind] += 1
            yield rewritten

    def _rewritten(self, pair: GroupedPair) -> tuple[str | None, GroupedPair]:
        """A pair as the first kind of augmentation that wants it and finds something to change leaves it."""
        for kind, share in self.shares.items():
            rng = row_generator(kind, pair.source, pair.target, seed=self.seed)
            if rng.random() < share:
                source, target = composed(AUGMENTATIONS[kind](pair.source, pair.target, rng))
                if (source, target) != (pair.source, pair.target):
                    return kind, pair._replace(source=source, target=target)
        return None, pair


def row_generator(kind: str, source: str, target: str, *, seed: int) -> random.Random:
    """A row's own random numbers for one kind of change: the same for the same text, whatever text there is beside."""
    return random.Random(hashlib.sha256(f"{seed}\t{kind}\t{source}\t{target}".encode()).digest())  # noqa: S311


def composed(sides: tuple[str, str]) -> tuple[str, str]:
    """Both sides in NFC, as cleaned text is: a capital can be two characters that belong together."""
    source, target = (unicodedata.normalize("NFC", side) for side in sides)
    return source, target


def mask(source: str, target: str, _: random.Random) -> tuple[str, str]:
    """`<ph0>`, `<ph1>`, ... for numbers, URLs, e-mail addresses and names that both sides have equally often.

    Numbered in the order of the source; what is there twice has one symbol, twice.
    """
    if "<ph" in source + target:
        return source, target
    in_source, in_target = _copied(source), _copied(target)
    common = [text for text, count in in_source.items() if count == in_target[text]]
    symbols = dict(zip(common, PLACEHOLDERS, strict=False))

    def masked(text: str) -> str:
        return _COPIED.sub(lambda found: symbols.get(found[0], found[0]), text)

    return masked(source), masked(target)


def upper_case(source: str, target: str, _: random.Random) -> tuple[str, str]:
    """Both sides in capitals."""
    return _outside_code(str.upper, source), _outside_code(str.upper, target)


def title_case(source: str, target: str, _: random.Random) -> tuple[str, str]:
    """Every word of both sides with a capital; not `str.title`, which knows no apostrophe and lowers the rest."""
    return _outside_code(_capitalised, source), _outside_code(_capitalised, target)


def typos(source: str, target: str, rng: random.Random) -> tuple[str, str]:
    """The source with a slip of the fingers in one to three of its words (of four letters or more)."""
    masked = _CODE.sub(lambda code: " " * len(code[0]), source)
    words = list(_TYPED_WORD.finditer(masked))
    chosen = rng.sample(words, min(len(words), rng.randint(1, MOST_TYPOS)))
    for word in sorted(chosen, key=re.Match.start, reverse=True):
        mistyped = rng.choice(SLIPS)(word[0], rng.randrange(1, len(word[0]) - 1), rng)
        source = source[: word.start()] + mistyped + source[word.end() :]
    return source, target


def no_final_punctuation(source: str, target: str, _: random.Random) -> tuple[str, str]:
    """Both sides without the full stop, question or exclamation mark that both end in."""
    bare = source.rstrip(_FINAL_PUNCTUATION).rstrip(), target.rstrip(_FINAL_PUNCTUATION).rstrip()
    return bare if bare[0] not in ("", source) and bare[1] not in ("", target) else (source, target)


AUGMENTATIONS: dict[str, Rewrite] = {
    "placeholders": mask,
    "upper_case": upper_case,
    "title_case": title_case,
    "typos": typos,
    "no_final_punctuation": no_final_punctuation,
}
"""By field of `Augmentation`: source and target (normalised, neither empty) as they become; the generator is the row's
own. Both unchanged where there is nothing to change."""


def _swap(word: str, place: int, _: random.Random) -> str:
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _drop(word: str, place: int, _: random.Random) -> str:
    return word[:place] + word[place + 1 :]


def _double(word: str, place: int, _: random.Random) -> str:
    return word[: place + 1] + word[place:]


def _neighbour(word: str, place: int, rng: random.Random) -> str:
    """The key beside the right one; a letter that is not on the keyboard is dropped."""
    letter = word[place]
    typed = rng.choice(_NEIGHBOURS.get(letter.lower(), ("",)))
    return word[:place] + (typed.upper() if letter.isupper() else typed) + word[place + 1 :]


SLIPS: tuple[Callable[[str, int, random.Random], str], ...] = (_swap, _drop, _double, _neighbour)
"""What fingers do at a place within a word, its ends left out."""


def _copied(text: str) -> Counter[str]:
    """How often a text has each thing that is carried over as it is, in order: numbers, URLs, addresses, names."""
    return Counter(found[0] for found in _COPIED.finditer(text) if not found["word"] or found["word"][0].isupper())


def _outside_code(change: Callable[[str], str], text: str) -> str:
    """The text changed wherever it is words."""
    parts = _CODE.split(text)
    return "".join(part if place % 2 else change(part) for place, part in enumerate(parts))


def _capitalised(text: str) -> str:
    return re.sub(r"(?<!\S)([^\w\s]*)(\w)", lambda start: start[1] + start[2].upper(), text)
