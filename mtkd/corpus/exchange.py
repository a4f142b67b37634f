"""Readers of what translation tools exchange: TMX (translation memories) and XLIFF (documents in translation).

What it owns: which units and segments are pairs, which inline elements are markup. What it must not know: cleaning.
Sources: TMX 1.4b (LISA OSCAR, 2005; 1.1 to 1.4 are read alike), XLIFF 1.2 and 2.0 (OASIS, 2008 and 2014).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mtkd.corpus.pair import Pair
from mtkd.corpus.sources import document_name, expand
from mtkd.corpus.xml_stream import elements, local_name, text_of
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus, Languages

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_CODES = frozenset({"bpt", "ept", "ph", "it", "ut", "x", "bx", "ex", "sc", "ec", "cp", "sm", "em"})
"""Inline elements of TMX and XLIFF that hold a program's codes, not text; the text in `hi`, `g`, `pc` or `mrk` is."""
_UNTRANSLATED = frozenset({"new", "needs-translation", "initial"})
"""States of a target (1.2) or a segment (2.0) in which what stands there is not a translation yet."""


def read_tmx(corpus: Corpus, languages: Languages) -> Iterator[Pair]:
    """Units of translation memories that have both languages; `en` is also `en-US`, but `en` itself is preferred.

    Raises:
        CorpusError: a file is not TMX, or no unit of any has both languages; the message lists those there are.
    """
    codes: set[str] = set()
    found = 0
    for path, document in expand(corpus.names()["path"]):
        for unit in elements(path, "tmx", "tu"):
            variants = {
                _folded(variant.get(_XML_LANG) or variant.get("lang")): variant for variant in unit.iterfind("{*}tuv")
            }
            codes.update(variants)
            source, target = (_nearest(variants, language) for language in (languages.source, languages.target))
            if source is None or target is None:
                continue
            found += 1
            yield Pair(_segment(path, variants[source]), _segment(path, variants[target]), document)
    if not found:
        raise CorpusError(
            f"{corpus.names()['path']}: no unit has both '{languages.source}' and '{languages.target}'; "
            f"its languages are {_listed(codes)}"
        )


def read_xliff(corpus: Corpus, languages: Languages) -> Iterator[Pair]:
    """Translated units of XLIFF files, by segment where they are segmented; `<file original>` names the document.

    Left out: units that are not approved (`approved="no"`), or whose state says that they are not translated.

    Raises:
        CorpusError: a file is not XLIFF, or none has a translated unit from the source into the target language.
    """
    directions: set[str] = set()
    found = 0
    for path, document in expand(corpus.names()["path"]):
        for unit in elements(path, "xliff", "trans-unit", "unit"):
            source, target, original = _file_of(unit)
            directions.add(f"{source} to {target}")
            if not (_is(source, languages.source) and _is(target, languages.target)):
                continue
            for pair in _translations(path, unit):
                found += 1
                yield Pair(*pair, document or document_name(original))
    if not found:
        raise CorpusError(
            f"{corpus.names()['path']}: no translated unit from '{languages.source}' into '{languages.target}'; "
            f"its units are {_listed(directions)}"
        )


def _segment(path: Path, variant: Element) -> str:
    return text_of(path, variant.find("{*}seg"), _CODES)


def _file_of(unit: Element) -> tuple[str, str, str]:
    """Source language and target language (a file may leave it open: "") of a unit, and the document it is from."""
    file, root = next(unit.iterancestors("{*}file"), unit), next(unit.iterancestors("{*}xliff"), unit)
    return (
        _folded(file.get("source-language") or root.get("srcLang")),
        _folded(file.get("target-language") or root.get("trgLang")),
        file.get("original") or "",
    )


def _translations(path: Path, unit: Element) -> Iterator[tuple[str, str]]:
    if local_name(unit) == "unit":
        pairs = [(part.find("{*}source"), part.find("{*}target"), part) for part in unit.iterfind("{*}segment")]
    else:
        pairs = [(unit.find("{*}source"), unit.find("{*}target"), unit)]
    for source, target, owner in pairs:
        states = {owner.get("state"), None if target is None else target.get("state")}
        if source is None or target is None or states & _UNTRANSLATED or unit.get("approved") == "no":
            continue
        sources, targets = _marked(unit.find("{*}seg-source")), _marked(target)
        if common := [mid for mid in sources if mid in targets]:
            yield from ((text_of(path, sources[mid], _CODES), text_of(path, targets[mid], _CODES)) for mid in common)
        else:
            yield text_of(path, source, _CODES), text_of(path, target, _CODES)


def _marked(element: Element | None) -> dict[str | None, Element]:
    """Segments that XLIFF 1.2 marks inside a unit, by their `mid`."""
    if element is None:
        return {}
    return {mark.get("mid"): mark for mark in element.iter("{*}mrk") if mark.get("mtype") == "seg"}


def _folded(code: str | None) -> str:
    """A language code as it is compared: `EN_us` is `en-us`."""
    return (code or "").strip().lower().replace("_", "-")


def _is(code: str, language: str) -> bool:
    return not code or code.partition("-")[0] == language


def _nearest(codes: Collection[str], language: str) -> str | None:
    """The language itself, else its first variant (`en-us`) among the codes."""
    if language in codes:
        return language
    return next((code for code in codes if code.startswith(f"{language}-")), None)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(name for name in names if name)) or "not named"
