"""Which scripts a language is written in.

What it owns: `SCRIPTS` and how a character's script is found. What it must not know: which pairs are dropped.
Why by the names of characters: Python knows no other property that tells a script, and the first word of a letter's
Unicode name is its script.
"""

from __future__ import annotations

import unicodedata

_LATIN = (
    "af ast az br bs ca ceb cs cy da de en eo es et eu fi fil fo fr fy ga gd gl ha hr ht hu id ig is it jv kmr ku la "
    "lb lt lv mg mi ms mt nb nds nl nn no nso oc pl pt qu rm ro rw sk sl sn so sq st su sv sw tk tl tn tr ts uz vi "
    "wa xh yo zu"
)
_CYRILLIC = "ba be bg ce cv kk ky mk mn os ru sah tg tt uk"
_ARABIC = "ar arz azb ckb fa ps sd ug ur"
_DEVANAGARI = "bh hi mr ne sa"

SCRIPTS: dict[str, frozenset[str]] = {
    **dict.fromkeys(_LATIN.split(), frozenset({"LATIN"})),
    **dict.fromkeys(_CYRILLIC.split(), frozenset({"CYRILLIC"})),
    **dict.fromkeys(_ARABIC.split(), frozenset({"ARABIC"})),
    **dict.fromkeys(_DEVANAGARI.split(), frozenset({"DEVANAGARI"})),
    **{
        language: frozenset(scripts.split())
        for language, scripts in {
            "am": "ETHIOPIC", "ti": "ETHIOPIC",
            "as": "BENGALI", "bn": "BENGALI",
            "bo": "TIBETAN", "dz": "TIBETAN",
            "el": "GREEK",
            "gu": "GUJARATI",
            "he": "HEBREW", "yi": "HEBREW",
            "hy": "ARMENIAN",
            "ja": "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA IDEOGRAPHIC",
            "ka": "GEORGIAN",
            "km": "KHMER",
            "kn": "KANNADA",
            "ko": "HANGUL CJK",
            "lo": "LAO",
            "ml": "MALAYALAM",
            "my": "MYANMAR",
            "or": "ORIYA",
            "pa": "GURMUKHI ARABIC",
            "si": "SINHALA",
            "sr": "CYRILLIC LATIN",
            "ta": "TAMIL",
            "te": "TELUGU",
            "th": "THAI",
            "zh": "CJK IDEOGRAPHIC",
        }.items()
    },
}  # fmt: skip
"""By ISO code; nothing is asked of a language that is not here."""


class _ScriptOf(dict[str, str]):
    """Character -> script, filled as characters are met."""

    def __missing__(self, character: str) -> str:
        name = unicodedata.name(character, "") if character.isalpha() else ""
        words = name.removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ").split(" ", 1)
        self[character] = words[0]
        return words[0]


_SCRIPT_OF = _ScriptOf()


def script_of(character: str) -> str:
    """The script of a letter, as Unicode names it (`LATIN`, `CJK`); "" for what is no letter."""
    return _SCRIPT_OF[character]
