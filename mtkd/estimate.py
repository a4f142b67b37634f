"""What soft targets will cost before any are captured: rows, tokens, bytes, minutes.

What it owns: `mtkd estimate`. What it must not know: how a teacher is run, how a store is written.
Why from matrix products alone: they are most of the work and can be measured in a second; the rest makes real times
longer, never shorter, so that what is too much here is too much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mtkd.check import BYTES_PER_TOKEN, readable, training_seconds
from mtkd.corpus.located import files_of, needs_fetching, with_fetched
from mtkd.corpus.readers import count_pairs
from mtkd.distill.topk import bytes_per_token
from mtkd.errors import CorpusError
from mtkd.graph import Node
from mtkd.presets import PRESETS
from mtkd.recipe import Recipe
from mtkd.recipe_text import TRANSFER, Corpus
from mtkd.steps.files import DATA
from mtkd.systems import text_node
from mtkd.workspace import Workspace

_INDEX_MAGIC = b"MMIDIDX\x00\x00" + (1).to_bytes(8, "little")


@dataclass(frozen=True)
class CorpusEstimate:
    """What one corpus has and its soft targets take; `counted` tells counts of binarised text from estimates."""

    corpus: str
    rows: int
    tokens: int
    """Target tokens, end of sentence included."""
    counted: bool
    store_bytes: int
    capture_s: float


@dataclass(frozen=True)
class Estimate:
    """The corpora that would be captured (none where teachers are run online), and the training of the students."""

    corpora: list[CorpusEstimate]
    students: int
    training_s: float


def estimate(recipe: Recipe, workspace: Workspace, flops: float) -> Estimate:
    """What the recipe's captures and students take on a machine of so many operations a second.

    Text that is binarised in the workspace is counted; other text is estimated from the sizes of its files.

    Raises:
        CorpusError: a file that is missing, or archives that were not fetched yet.
    """
    recipe = with_fetched(recipe, workspace.fetched())
    nodes = workspace.plan.nodes
    done = {name for name, state in workspace.states().items() if state.done}
    captures = [node for node in nodes.values() if node.step == "capture"]
    students = {name: node for name, node in nodes.items() if node.step == "student"}
    return Estimate(
        [_of_capture(recipe, workspace, node, done, flops) for node in captures],
        len(students),
        training_seconds(recipe, replace(workspace.plan, nodes=students), flops),
    )


def table_rows(found: Estimate) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a row a corpus, and one for all of them where there are several."""
    rows = [_row(each.corpus, [each]) for each in found.corpora]
    if len(rows) > 1:
        rows.append(_row("all", found.corpora))
    return ["corpus", "rows", "target tokens", "store", "minutes to capture"], rows


def table_notes(found: Estimate, flops: float) -> list[str]:
    """What has to be said beside the table, the students' training first."""
    notes = [f"training {found.students} student{'s' * (found.students != 1)}: {_minutes(found.training_s)} min"]
    if not found.corpora:
        notes.append("nothing is captured: distill.source is 'online', or distill.kd_weight is 0")
    if not all(each.counted for each in found.corpora):
        notes.append("~ is by the sizes of files; counted once binarize (of text without references: transfer) is done")
    speed = f"{flops / 1e9:,.0f} GFLOP/s"
    notes.append(f"minutes are those of matrix products alone, at the {speed} measured here; real ones are longer")
    return notes


def target_lengths(index: Path) -> list[int]:
    """Tokens of each row of a binarised text, from fairseq's `mmap` index: magic, type, count, then int32 lengths.

    Raises:
        CorpusError: no such index.
    """
    import numpy as np  # noqa: PLC0415 - only this needs it

    content = index.read_bytes()
    if not content.startswith(_INDEX_MAGIC):
        raise CorpusError(f"{index}: no index of fairseq's format 'mmap'; rerun step 'binarize'")
    begin = len(_INDEX_MAGIC) + 1
    rows = int.from_bytes(content[begin : begin + 8], "little")
    lengths: list[int] = np.frombuffer(content, dtype="<i4", count=rows, offset=begin + 8).tolist()
    return lengths


def _of_capture(recipe: Recipe, workspace: Workspace, node: Node, done: set[str], flops: float) -> CorpusEstimate:
    corpus, domain = node.slice["corpus"], node.slice["domain"]
    binarized = text_node(corpus)
    if binarized in done:
        pair = recipe.languages
        folder = workspace.dir(binarized) / DATA / corpus
        lengths = target_lengths(folder / f"train.{pair.source}-{pair.target}.{pair.target}.idx")
        rows, tokens = len(lengths), sum(lengths)
    else:
        rows, tokens = _estimated(recipe, corpus, domain)
    vocab_size = recipe.subword.vocab_size
    a_token = bytes_per_token(node.slice["top_k"], len(node.slice["temperatures"]), vocab_size, tokens / rows)
    # The encoder reads about as many tokens as the decoder: each parameter multiplies and adds once a token.
    operations = 2 * PRESETS[recipe.model.teacher].parameters(vocab_size) * tokens * len(node.slice["weights"])
    return CorpusEstimate(corpus, rows, tokens, binarized in done, round(tokens * a_token), operations / flops)


def _estimated(recipe: Recipe, corpus: str, domain: str) -> tuple[int, int]:
    """Rows and target tokens of a train set, as if every row were kept; of text without references its source's."""
    group = recipe.domains[domain]
    if needs_fetching(group):
        raise CorpusError(f"'{domain}': its archives were not fetched yet; first: mtkd run RECIPE --until fetch")
    given = not corpus.endswith(TRANSFER)
    share = 1 - group.split.dev - group.split.test if given else 1.0
    texts = group.with_references(given)
    rows = sum(count_pairs(text) for text in texts)
    size = sum(_target_bytes(text) for text in texts)
    return max(1, round(rows * share)), max(1, round(size * share / BYTES_PER_TOKEN))


def _target_bytes(corpus: Corpus) -> float:
    """Bytes of one side of a corpus: the target's where it has files of its own, half of what holds both."""
    sizes = [sum(file.stat().st_size for file in files) for files in files_of(corpus).values()]
    return sizes[-1] / (2 if len(sizes) == 1 and corpus.references == "given" else 1)


def _row(name: str, parts: list[CorpusEstimate]) -> list[str]:
    about = "" if all(part.counted for part in parts) else "~"
    counts = (sum(part.rows for part in parts), sum(part.tokens for part in parts))
    size = readable(sum(part.store_bytes for part in parts))
    return [
        name,
        *(f"{about}{count:,}" for count in counts),
        about + size,
        _minutes(sum(part.capture_s for part in parts)),
    ]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.2g}" if seconds < 600 else f"{seconds / 60:,.0f}"
