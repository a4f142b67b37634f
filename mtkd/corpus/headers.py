"""What a file of translations says of its own languages, before any of it is read.

What it owns: `HEADERS`, one row a reader whose files can say it, and the languages that several files agree on.
What it must not know: the text; folders. Why apart from the readers: they are told the languages, this finds them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mtkd.corpus.compressed import open_bytes
from mtkd.corpus.textfile import read_lines
from mtkd.corpus.xml_stream import elements, local_name
from mtkd.errors import UsageError
from mtkd.recipe_text import Columns, Languages

_CODES = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el "
    "en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu "
    "ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na "
    "nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so "
    "sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu "
)
ISO_639_1 = frozenset(_CODES.split())
"""Two-letter codes: what a file's ending or a column's name may be without being told so."""
SOURCE_COLUMNS, TARGET_COLUMNS = ("source", "src"), ("target", "tgt", "trg", "translation")
DOCUMENT_COLUMNS = ("document", "doc", "file")
_FIRST_UNITS = 200
"""So many of a TMX's units show which languages it has."""
_FIRST_BYTES = 1 << 22
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(frozen=True)
class Said:
    """What a file says: primary language codes, "" where it says nothing; `languages`, whatever their direction."""

    source: str = ""
    target: str = ""
    languages: frozenset[str] = frozenset()


def primary(code: str) -> str:
    """`en` of `en-US` and `EN_gb`; "" of what is no code."""
    language = re.split("[-_]", code.strip())[0].lower()
    return language if re.fullmatch("[a-z]{2,3}", language) else ""


def agreed_languages(said: Iterable[Said], source: str | None, target: str | None) -> Languages:
    """The languages as given, or else as all files that say something agree.

    Raises:
        UsageError: one that is neither given nor agreed on, or given as no code.
    """
    for option, code in (("--source", source), ("--target", target)):
        if code is not None and code != primary(code):
            raise UsageError(f"{option} {code}: give the language alone, as an ISO code: en, de, ...")
    files = list(said)
    source = source or _only(file.source for file in files)
    target = target or _only(file.target for file in files)
    if source and not target:
        target = _beside(source, files)
    if target and not source:
        source = _beside(target, files)
    if not source or not target or source == target:
        wanted = " and ".join(f"--{side}" for side, code in (("source", source), ("target", target)) if not code)
        sources = sorted({file.source for file in files} - {""})
        targets = sorted({file.target for file in files} - {""})
        others = sorted(set().union(*(file.languages for file in files)) - {*sources, *targets})
        found = [f"source {', '.join(sources)}"] * bool(sources) + [f"target {', '.join(targets)}"] * bool(targets)
        found += [f"without a direction {', '.join(others)}"] * bool(others)
        raise UsageError(
            "the files do not agree on one source and one target language "
            f"(they say: {'; '.join(found) or 'nothing'}); give {wanted or '--source and --target'}"
        )
    return Languages(source=source, target=target)


def table_columns(path: Path, source: str | None, target: str | None) -> Columns | None:
    """Columns of a TSV by their usual names, or those of the languages; None where the first line names none.

    Raises:
        CorpusError: the file cannot be read.
    """
    header = next(read_lines(path)).split("\t")
    names = [(column, column.strip().casefold()) for column in header]

    def column(usual: tuple[str, ...], language: str | None) -> str | None:
        fits = [given for given, name in names if name in usual]
        fits += [given for given, name in names if language and _LANGUAGE.fullmatch(name) and primary(name) == language]
        return fits[0] if fits else None

    of_source, of_target = column(SOURCE_COLUMNS, source), column(TARGET_COLUMNS, target)
    if of_source is None or of_target is None:
        return None
    return Columns(source=of_source, target=of_target, document=column(DOCUMENT_COLUMNS, None))


_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_]\w+)?")


def _tsv(path: Path) -> Said:
    """Columns that are named like languages."""
    names = next(read_lines(path)).split("\t")
    codes = (primary(name) for name in names if _LANGUAGE.fullmatch(name.strip()))
    return Said(languages=frozenset(code for code in codes if code in ISO_639_1))


def _tmx(path: Path) -> Said:
    """The header's source language, and the languages of the first units."""
    source = ""
    languages: set[str] = set()
    for number, element in enumerate(elements(path, "tmx", "header", "tu")):
        if local_name(element) == "header":
            source = primary(element.get("srclang", ""))
        languages.update(primary(part.get(_XML_LANG) or part.get("lang") or "") for part in element.iterfind("{*}tuv"))
        if number == _FIRST_UNITS:
            break
    source = "" if source == "*all*" else source
    others = languages - {"", source}
    target = next(iter(others)) if source and len(others) == 1 else ""
    return Said(source, target, frozenset(languages - {""}))


def _xliff(path: Path) -> Said:
    """What the first unit's `file` (1.2) or the root (2.0) is from and into."""
    for unit in elements(path, "xliff", "trans-unit", "unit"):
        said = [ancestor.attrib for ancestor in unit.iterancestors()]
        source = next((str(a[key]) for a in said for key in ("source-language", "srcLang") if key in a), "")
        target = next((str(a[key]) for a in said for key in ("target-language", "trgLang") if key in a), "")
        return Said(primary(source), primary(target))
    return Said()


def _gettext(path: Path) -> Said:
    """`Language:` of the header, which names the target; the source is nowhere said. Else a file named `de.po`."""
    with open_bytes(path) as file:
        head = file.read(_FIRST_BYTES)
    found = re.search(rb"(?<![\w-])Language: *([A-Za-z]+)", head)
    stem = path.name.partition(".")[0]
    code = primary(found[1].decode("ascii") if found else stem)
    return Said(target=code if found or code in ISO_639_1 else "")


HEADERS: dict[str, Callable[[Path], Said]] = {
    "tmx": _tmx,
    "xliff": _xliff,
    "po": _gettext,
    "mo": _gettext,
    "tsv": _tsv,
}
"""By reader: what a file of it says; CorpusError where it cannot be read."""


def _beside(known: str, files: Iterable[Said]) -> str | None:
    """The only other language of all files that have a known one."""
    return _only(code for file in files if known in file.languages for code in file.languages - {known})


def _only(codes: Iterable[str]) -> str | None:
    """The one code of all that are not empty; None of several or none."""
    found = set(codes) - {""}
    return found.pop() if len(found) == 1 else None
