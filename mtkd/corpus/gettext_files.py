"""Readers of programs' messages: PO files and the MO files that are made of them.

What it owns: which entries are translations, how plural forms pair, charsets. What it must not know: cleaning.
Source: the GNU gettext manual, "The Format of PO Files" and "The Format of GNU MO Files".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, cast

from mtkd.corpus.compressed import read_bytes
from mtkd.corpus.pair import Pair
from mtkd.corpus.sources import expand, within
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus, Languages

if TYPE_CHECKING:
    from polib import MOFile, POFile

_CHARSET = re.compile(rb"Content-Type:[^\n]*?charset=([\w.:-]+)")
_LINE = re.compile(r"\(?line (\d+)\)?")
_MAGIC = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}


def read_po(corpus: Corpus, languages: Languages) -> Iterator[Pair]:
    """Translated entries of PO files; fuzzy and obsolete ones are left out.

    Raises:
        CorpusError: a file is damaged or not of the charset it names, or no entry of any is translated.
    """
    return _read(corpus, _parse_po)


def read_mo(corpus: Corpus, languages: Languages) -> Iterator[Pair]:
    """Entries of MO files.

    Raises:
        CorpusError: a file is damaged or not of the charset it names, or no entry of any is translated.
    """
    return _read(corpus, _parse_mo)


def _read(corpus: Corpus, parse: Callable[[Path], POFile | MOFile]) -> Iterator[Pair]:
    by_context = corpus.columns.document == "msgctxt"
    found = 0
    for path, document in expand(corpus.names()["path"]):
        file = parse(path)
        for entry in file:
            if entry.obsolete or getattr(entry, "fuzzy", False):
                continue
            part = within(document, entry.msgctxt or "") if by_context else document
            for source, target in _forms(entry, file.metadata):
                if source and target:
                    found += 1
                    yield Pair(source, target, part)
    if not found:
        raise CorpusError(f"{corpus.names()['path']}: no entry is translated")


def _forms(entry: Any, metadata: dict[str, str]) -> list[tuple[str, str]]:
    """A message and its translation; with plural forms the singular with the first, the plural with the second of two.

    Where a language has more forms than two or only one, none of them stands for the plural alone.
    """
    forms = entry.msgstr_plural
    if not entry.msgid_plural:
        return [(entry.msgid, entry.msgstr)]
    declared = re.search(r"nplurals\s*=\s*(\d+)", metadata.get("Plural-Forms", ""))
    plurals = int(declared[1]) if declared else len(forms)
    pairs = [(entry.msgid, forms.get(0, ""))]
    return [*pairs, (entry.msgid_plural, forms.get(1, ""))] if plurals == 2 else pairs


def _parse_po(path: Path) -> POFile:
    from polib import pofile  # noqa: PLC0415 - most corpora do not need it

    content = read_bytes(path)
    if not content:
        raise CorpusError(f"{path}: the file is empty")
    if content[:4] in _MAGIC:
        raise CorpusError(f"{path}: not a PO file but a compiled one, which has `reader: mo`")
    charset = _charset(path, content)
    try:
        content.decode(charset)
    except UnicodeDecodeError as error:
        raise _wrong_charset(path, charset, error) from None
    with NamedTemporaryFile(suffix=".po") as file:
        # Not as a string: polib would cut that at U+2028 and the like, which are text.
        file.write(content)
        file.flush()
        try:
            return pofile(file.name, encoding=charset)
        except (OSError, ValueError, IndexError) as error:
            line = _LINE.search(str(error))
            where = f"line {line[1]}: " if line else ""
            raise CorpusError(f"{path}: {where}not a PO file, or a damaged one") from None


def _parse_mo(path: Path) -> MOFile:
    from polib import mofile  # noqa: PLC0415 - most corpora do not need it

    content = read_bytes(path)
    _check_mo(path, content)
    charset = _charset(path, content)
    try:
        file: MOFile = mofile(cast("str", content), encoding=charset)  # bytes too, whatever its stubs say
    except UnicodeDecodeError as error:
        raise _wrong_charset(path, charset, error) from None
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise CorpusError(f"{path}: a damaged MO file ({error})") from None
    return file


def _check_mo(path: Path, content: bytes) -> None:
    """Refuse a file whose tables point beyond its end, or at more text than it holds.

    Raises:
        CorpusError: it is truncated, damaged, or not an MO file at all.
    """
    if not content:
        raise CorpusError(f"{path}: the file is empty")
    order = _MAGIC.get(content[:4])
    if order is None:
        raise CorpusError(f"{path}: not an MO file (compiled by msgfmt); a PO file has `reader: po`")
    size = len(content)
    try:
        _, count, *tables = struct.unpack_from(f"{order}4I", content, 4)
        strings = [
            place for table in tables for place in struct.iter_unpack(f"{order}2I", content[table : table + 8 * count])
        ]
    except struct.error:
        strings, count = [], 1
    whole = len(strings) == 2 * count and all(start + length <= size for length, start in strings)
    if not whole or sum(length for length, _ in strings) > size:
        raise CorpusError(f"{path}: the MO file is truncated or damaged; fetch or copy it again")


def _charset(path: Path, content: bytes) -> str:
    """The charset that the header names; UTF-8 where there is none, and in templates (`CHARSET`)."""
    named = _CHARSET.search(content)
    charset = named[1].decode("ascii") if named else "utf-8"
    if charset == "CHARSET":
        return "utf-8"
    try:
        "".encode(charset)
    except LookupError:
        raise CorpusError(f"{path}: its header names the charset '{charset}', which nobody knows") from None
    return charset


def _wrong_charset(path: Path, charset: str, error: UnicodeDecodeError) -> CorpusError:
    line = error.object.count(b"\n", 0, error.start) + 1
    return CorpusError(
        f"{path}: line {line}: not {charset}, which the header says it is (byte 0x{error.object[error.start]:02x}); "
        "correct the header or convert the file"
    )
