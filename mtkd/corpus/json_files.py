"""Reader of text in JSON: two trees of strings with the same keys, or records with both languages.

What it owns: what pairs with what in JSON. What it must not know: cleaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtkd.corpus.compressed import read_bytes
from mtkd.corpus.pair import Pair
from mtkd.corpus.sources import expand, paired, within
from mtkd.errors import CorpusError
from mtkd.recipe_text import Corpus, Languages


def read_json(corpus: Corpus, languages: Languages) -> Iterator[Pair]:
    """Strings under the same keys of two trees, or with `records` those of one object.

    Raises:
        CorpusError: a file is not JSON, `records` is not JMESPath, or nothing pairs.
    """
    names = corpus.names()
    pairs = _read_trees(names["source"], names["target"]) if corpus.records is None else _read_records(corpus)
    found = False
    for pair in pairs:
        found = True
        yield pair
    if not found:
        raise CorpusError(f"{' and '.join(str(name) for name in names.values())}: {_nothing(corpus)}")


def _read_trees(source: Path, target: Path) -> Iterator[Pair]:
    for document, source_path, target_path in paired(source, target):
        targets = dict(_strings(_load(target_path)))
        for keys, text in _strings(_load(source_path)):
            if keys in targets:
                yield Pair(text, targets[keys], document)


def _read_records(corpus: Corpus) -> Iterator[Pair]:
    import jmespath  # noqa: PLC0415 - most corpora do not need it
    from jmespath.exceptions import JMESPathError  # noqa: PLC0415

    assert corpus.records is not None, "trees have no records"
    columns = corpus.columns
    path = corpus.names()["path"]
    try:
        wanted = jmespath.compile(corpus.records)
    except JMESPathError as error:
        raise CorpusError(f"{path}: records is not a JMESPath: {' '.join(str(error).split())}") from None
    for file, document in expand(path):
        try:
            records = wanted.search(_load(file))
        except JMESPathError as error:
            raise CorpusError(f"{file}: records cannot be applied: {' '.join(str(error).split())}") from None
        for record in records if isinstance(records, list) else []:
            if not isinstance(record, dict):
                continue
            source, target = record.get(columns.source), record.get(columns.target)
            part = "" if columns.document is None else record.get(columns.document, "")
            if isinstance(source, str) and isinstance(target, str):
                yield Pair(source, target, within(document, str(part)))


def _nothing(corpus: Corpus) -> str:
    if corpus.records is None:
        return "no string has the same keys in both"
    return (
        f"records finds no object with '{corpus.columns.source}' and '{corpus.columns.target}'; "
        "check records and columns in the recipe"
    )


def _load(path: Path) -> Any:
    content = read_bytes(path)
    if not content.strip():
        raise CorpusError(f"{path}: the file is empty")
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path}: line {error.lineno}: not JSON, or truncated ({error.msg})") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{path}: line {line}: not {error.encoding} (byte 0x{content[error.start]:02x})") from None
    except RecursionError:
        raise CorpusError(f"{path}: nested too deeply") from None


def _strings(tree: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every string of a tree with the keys that lead to it, in the file's order."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), tree)]
    while waiting:
        keys, value = waiting.pop()
        if isinstance(value, str):
            yield keys, value
        elif isinstance(value, dict):
            waiting.extend((((*keys, key), child) for key, child in reversed(value.items())))
        elif isinstance(value, list):
            waiting.extend(((*keys, index), value[index]) for index in reversed(range(len(value))))
