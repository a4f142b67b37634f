"""Writes small files of translations in every format that a company's memories come in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import polib

PAIRS = (("Good morning", "Guten Morgen"), ("A & B", "A und B"), ("Turn on the light.", "Schalte das Licht ein."))
Pairs = Sequence[tuple[str, str]]


def tmx(
    path: Path, pairs: Pairs = PAIRS, *, source: str = "en", target: str = "de", srclang: str | None = None
) -> None:
    variant = '<tuv xml:lang="{}"><seg>{}</seg></tuv>'.format
    units = "".join(f"<tu>{variant(source, escape(a))}{variant(target, escape(b))}</tu>\n" for a, b in pairs)
    head = f'<header srclang="{srclang or source}" segtype="sentence" datatype="plaintext"/>'
    _write(path, f'<?xml version="1.0"?>\n<tmx version="1.4">{head}<body>\n{units}</body></tmx>\n')


def xliff(path: Path, pairs: Pairs = PAIRS, *, source: str = "en", target: str = "de") -> None:
    units = "".join(
        f'<trans-unit id="{i}"><source>{escape(a)}</source><target>{escape(b)}</target></trans-unit>\n'
        for i, (a, b) in enumerate(pairs)
    )
    head = f'<file original="a.txt" source-language="{source}" target-language="{target}" datatype="plaintext">'
    _write(
        path,
        '<?xml version="1.0"?>\n<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">'
        f"{head}<body>\n{units}</body></file></xliff>\n",
    )


def catalogue(pairs: Pairs, language: str) -> polib.POFile:
    messages = polib.POFile()
    messages.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Language": language}
    messages.extend(polib.POEntry(msgid=source, msgstr=target) for source, target in pairs)
    return messages


def po(path: Path, pairs: Pairs = PAIRS, *, language: str = "de") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    catalogue(pairs, language).save(str(path))


def mo(path: Path, pairs: Pairs = PAIRS, *, language: str = "de") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    catalogue(pairs, language).save_as_mofile(str(path))


def tsv(path: Path, rows: Iterable[Iterable[str]] = PAIRS, *, header: str = "source\ttarget") -> None:
    _write(path, "".join(f"{line}\n" for line in [header, *("\t".join(row) for row in rows)]))


def moses(source: Path, target: Path, pairs: Pairs = PAIRS, *, dropped: int = 0) -> None:
    _write(source, "".join(f"{a}\n" for a, _ in pairs))
    _write(target, "".join(f"{b}\n" for _, b in pairs[dropped:]))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
