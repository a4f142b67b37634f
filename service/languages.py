"""Languages by code and by English name, as the dialects write them.

What it owns: names (ISO 639-1; a code without one is its own name), and which spellings mean the same language.
What it must not know: models, dialects. Why: clients send `EN`, `en-US`, `pb`, `zh-CN` for what a model calls
`en`, `pt-br`, `zh`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAMES = """
af Afrikaans, am Amharic, ar Arabic, as Assamese, az Azerbaijani, be Belarusian, bg Bulgarian, bn Bengali, bo Tibetan,
br Breton, bs Bosnian, ca Catalan, co Corsican, cs Czech, cy Welsh, da Danish, de German, el Greek, en English,
eo Esperanto, es Spanish, et Estonian, eu Basque, fa Persian, fi Finnish, fo Faroese, fr French, fy Western Frisian,
ga Irish, gd Scottish Gaelic, gl Galician, gu Gujarati, ha Hausa, he Hebrew, hi Hindi, hr Croatian, ht Haitian Creole,
hu Hungarian, hy Armenian, id Indonesian, ig Igbo, is Icelandic, it Italian, ja Japanese, jv Javanese, ka Georgian,
kk Kazakh, km Khmer, kn Kannada, ko Korean, ku Kurdish, ky Kyrgyz, la Latin, lb Luxembourgish, lo Lao, lt Lithuanian,
lv Latvian, mg Malagasy, mi Maori, mk Macedonian, ml Malayalam, mn Mongolian, mr Marathi, ms Malay, mt Maltese,
my Burmese, nb Norwegian Bokmal, ne Nepali, nl Dutch, nn Norwegian Nynorsk, no Norwegian, oc Occitan, or Odia,
pa Punjabi, pl Polish, ps Pashto, pt Portuguese, pt-br Portuguese (Brazil), rm Romansh, ro Romanian, ru Russian,
rw Kinyarwanda, sa Sanskrit,
sd Sindhi, si Sinhala, sk Slovak, sl Slovenian, sm Samoan, sn Shona, so Somali, sq Albanian, sr Serbian, st Sotho,
su Sundanese, sv Swedish, sw Swahili, ta Tamil, te Telugu, tg Tajik, th Thai, tk Turkmen, tl Tagalog, tr Turkish,
tt Tatar, ug Uyghur, uk Ukrainian, ur Urdu, uz Uzbek, vi Vietnamese, xh Xhosa, yi Yiddish, yo Yoruba, zh Chinese,
zh-hant Chinese (traditional), zu Zulu
"""
_BY_CODE: dict[str, str] = dict(entry.split(maxsplit=1) for entry in _NAMES.split(","))
_SAME = {
    "fil": "tl",
    "iw": "he",
    "jw": "jv",
    "pb": "pt-br",
    "zh-cn": "zh",
    "zh-hans": "zh",
    "zh-hk": "zh-hant",
    "zh-tw": "zh-hant",
    "zt": "zh-hant",
}
"""LibreTranslate's and Google's own codes."""
_WITH_REGION = re.compile(r"([a-z]{2,3})-(?:[a-z]{2}|[0-9]{3})")


def language_name(code: str) -> str:
    """The language's English name."""
    return _BY_CODE.get(canonical(code), code)


def canonical(code: str) -> str:
    """One spelling for the codes that mean the same language: lower case, hyphens, no dialect's own names."""
    code = code.lower().replace("_", "-")
    return _SAME.get(code, code)


def find_language(given: str, known: Iterable[str]) -> str | None:
    """The one of the `known` codes that a client means, if any: a region counts only where it tells two apart."""
    by_canonical = {canonical(code): code for code in known}
    wanted = canonical(given)
    if wanted not in by_canonical and (match := _WITH_REGION.fullmatch(wanted)):
        wanted = match[1]
    return by_canonical.get(wanted)
