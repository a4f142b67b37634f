r"""Divides cleaned text into train, dev and test, and takes from train and dev what would give a held-out text away.

What it owns: which side a pair is on, the purge, the split's files and `split.json`.
What it must not know: subwords, models. How leaks are found: `leakage.py`.
Why by hash: the side of a pair depends on its document's name (or its own source), its corpus's counts and nothing
else, so adding a corpus or changing a seed moves nothing from one side to another.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from mtkd.corpus.clean import CleanRow, read_cleaned
from mtkd.corpus.leakage import LEAKS, GroupedPair, HeldOut, fold
from mtkd.corpus.textfile import read_lines, write_json, writing
from mtkd.errors import CorpusError
from mtkd.recipe import Recipe
from mtkd.recipe_text import Domain, Languages, Split

logger = logging.getLogger(__name__)

SIDES = ("train", "dev", "test")
ENOUGH_DOCUMENTS = 20
"""A corpus with fewer documents is split by sentence: a share of so few would be a matter of luck."""


class CorpusSplit:
    """Decides the side of every row of one corpus, from that corpus's own rows only."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.rows = 0
        self.documents: Counter[str] = Counter()

    def count(self, row: CleanRow) -> None:
        """Take a row into account; all rows are counted before the first one is asked for."""
        self.rows += 1
        if row.document:
            self.documents[row.document] += 1

    @property
    def by_document(self) -> bool:
        """Whether whole documents are assigned, and not sentences."""
        return len(self.documents) >= ENOUGH_DOCUMENTS

    def side(self, row: CleanRow) -> str:
        """`train`, `dev` or `test`."""
        if not (self.by_document and row.document):
            return _side_of_key(fold(row.source), self.split)
        side = _side_of_key(row.document, self.split)
        if side == "train":
            return side
        share = self.split.test if side == "test" else self.split.dev
        # One large document would be most of the test set, and its loss most of what train could have learnt.
        return "train" if self.documents[row.document] > share * self.rows / 2 else side


def split_corpora(recipe: Recipe, cleaned: Path, out: Path) -> dict[str, Any]:
    r"""Write `<group>/{train,dev,test}.<language>` from `cleaned/<group>.tsv`, and `split.json`, which is returned.

    By group: the rows of each side, `documents` (by side where the corpus is split by document), and `purged`: by
    side (train, dev) the number of pairs taken out for each kind of leak.

    Raises:
        CorpusError: a group with too few pairs in dev or test, or with less in train than in test; all of them at once.
    """
    groups = recipe.corpora_groups()
    plans = {group: _plan(domain, cleaned / f"{group}.tsv") for group, domain in groups.items()}
    held_out: dict[str, list[GroupedPair]] = {"dev": [], "test": []}
    for group in groups:
        for row, side in _assigned(cleaned / f"{group}.tsv", plans[group]):
            if side != "train":
                held_out[side].append(GroupedPair(group, row.source, row.target))
    purged = {group: {side: dict.fromkeys(LEAKS, 0) for side in ("train", "dev")} for group in groups}
    test = HeldOut(held_out["test"])
    dev = [pair for pair in held_out["dev"] if not _purge(pair, test, purged[pair.group]["dev"])]
    _refuse_small({group: _count(group, dev, held_out["test"]) for group in groups}, groups)

    index = HeldOut(held_out["test"] + dev)
    report: dict[str, Any] = {}
    for group in groups:
        rows = {"train": 0, **_count(group, dev, held_out["test"])}
        _write_side(out / group, "dev", recipe.languages, (pair for pair in dev if pair.group == group))
        _write_side(out / group, "test", recipe.languages, (p for p in held_out["test"] if p.group == group))
        with ExitStack() as stack:
            files = _open(stack, out / group, "train", recipe.languages)
            for row, side in _assigned(cleaned / f"{group}.tsv", plans[group]):
                pair = GroupedPair(group, row.source, row.target)
                if side == "train" and not _purge(pair, index, purged[group]["train"]):
                    _write(files, pair)
                    rows["train"] += 1
        report[group] = {**rows, "documents": _documents(plans[group]), "purged": purged[group]}
        logger.info("group=%s train=%d dev=%d test=%d", group, rows["train"], rows["dev"], rows["test"])
    if small := [group for group in groups if report[group]["train"] < report[group]["test"]]:
        raise CorpusError(
            "\n".join(
                f"'{group}' is smaller than its test set: train {report[group]['train']}, test {report[group]['test']} "
                "pairs; add text or lower split.test"
                for group in small
            )
        )
    write_json(out / "split.json", report)
    return report


def find_leaks(split_dir: Path, languages: Languages) -> int:
    """How many pairs of a finished split's train (against dev and test) and dev (against test) are leaks: 0."""
    groups = sorted(path.name for path in split_dir.iterdir() if path.is_dir())

    def rows(side: str) -> Iterator[GroupedPair]:
        return (pair for group in groups for pair in read_side(split_dir, group, side, languages))

    test, held_out = HeldOut(rows("test")), HeldOut(pair for side in ("test", "dev") for pair in rows(side))
    leaks = [test.leak(pair) for pair in rows("dev")] + [held_out.leak(pair) for pair in rows("train")]
    return sum(leak is not None for leak in leaks)


def read_side(split_dir: Path, group: str, side: str, languages: Languages) -> Iterator[GroupedPair]:
    """Stream one side of a group's split."""
    paths = [split_dir / group / f"{side}.{language}" for language in (languages.source, languages.target)]
    for source, target in zip(*(read_lines(path) for path in paths), strict=True):
        yield GroupedPair(group, source, target)


def _side_of_key(key: str, split: Split) -> str:
    place = int(hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest(), 16) / 2**160
    return "test" if place < split.test else "dev" if place < split.test + split.dev else "train"


def _plan(domain: Domain, path: Path) -> list[CorpusSplit]:
    plans = [CorpusSplit(domain.split) for _ in domain.corpora]
    for row in read_cleaned(path):
        plans[row.corpus].count(row)
    return plans


def _assigned(path: Path, plans: list[CorpusSplit]) -> Iterator[tuple[CleanRow, str]]:
    return ((row, plans[row.corpus].side(row)) for row in read_cleaned(path))


def _purge(pair: GroupedPair, held_out: HeldOut, counts: dict[str, int]) -> bool:
    """Whether the pair is a leak; counted if so."""
    leak = held_out.leak(pair)
    if leak is not None:
        counts[leak] += 1
    return leak is not None


def _count(group: str, dev: list[GroupedPair], test: list[GroupedPair]) -> dict[str, int]:
    return {side: sum(pair.group == group for pair in pairs) for side, pairs in (("dev", dev), ("test", test))}


def _documents(plans: list[CorpusSplit]) -> dict[str, int]:
    """Number of documents on each side, over the corpora that are split by document."""
    sides = Counter(
        plan.side(CleanRow("", "", document, 0)) for plan in plans if plan.by_document for document in plan.documents
    )
    return {side: sides[side] for side in SIDES}


def _refuse_small(rows: dict[str, dict[str, int]], groups: dict[str, Domain]) -> None:
    problems = [
        f"'{group}': {side} has {count} pairs, split.minimum is {groups[group].split.minimum}; "
        f"add text or raise split.{side} (now {getattr(groups[group].split, side)})"
        for group, sides in rows.items()
        for side, count in sides.items()
        if count < groups[group].split.minimum
    ]
    if problems:
        raise CorpusError("\n".join(problems))


def _write_side(folder: Path, side: str, languages: Languages, pairs: Iterator[GroupedPair]) -> None:
    with ExitStack() as stack:
        files = _open(stack, folder, side, languages)
        for pair in pairs:
            _write(files, pair)


def _open(stack: ExitStack, folder: Path, side: str, languages: Languages) -> tuple[TextIO, TextIO]:
    source = stack.enter_context(writing(folder / f"{side}.{languages.source}"))
    return source, stack.enter_context(writing(folder / f"{side}.{languages.target}"))


def _write(files: tuple[TextIO, TextIO], pair: GroupedPair) -> None:
    files[0].write(pair.source + "\n")
    files[1].write(pair.target + "\n")
