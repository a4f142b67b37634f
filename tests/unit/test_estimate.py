"""`mtkd estimate` tells before capturing what capturing will take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mtkd.check import training_seconds
from mtkd.cli import app
from mtkd.errors import CorpusError
from mtkd.estimate import Estimate, estimate, table_notes, table_rows, target_lengths
from mtkd.pipeline import open_workspace
from mtkd.presets import PRESETS
from mtkd.recipe_file import load_recipe
from mtkd.workspace import Workspace
from tests.unit.workflow_recipe import write_recipe

FLOPS = 1e9


def transfer(file: str) -> str:
    """An override that gives the domain `it` text without references."""
    own = "{path: text/it.tsv, licence: CC0-1.0}"
    return f"domains.it.corpora=[{own}, {{{file}, references: none, licence: CC0-1.0}}]"


def found_for(folder: Path, *overrides: str, rows: int = 600) -> tuple[Estimate, Workspace]:
    recipe = load_recipe(write_recipe(folder, rows=rows), list(overrides))
    workspace = open_workspace(recipe, folder / "run")
    return estimate(recipe, workspace, FLOPS), workspace


def write_index(path: Path, lengths: list[int]) -> None:
    """The index of a text that fairseq binarised: tests/fairseq holds the reader against fairseq's own writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = b"MMIDIDX\x00\x00" + (1).to_bytes(8, "little") + b"\x08" + len(lengths).to_bytes(8, "little")
    sizes = np.array(lengths, dtype="<i4")
    starts = np.concatenate([[0], np.cumsum(sizes[:-1])]) * 2
    path.write_bytes(head + sizes.tobytes() + starts.astype("<i8").tobytes())


def make_done(workspace: Workspace, *names: str, **lengths: list[int]) -> None:
    """Finish steps one after another, the last of them with binarised train sets of rows of these lengths."""
    for name in names:
        workspace.begin(name)
        if name == names[-1]:
            for corpus, of in lengths.items():
                write_index(workspace.dir(name) / "data" / corpus / "train.en-de.de.idx", of)
        workspace.finish(name)


def test_text_that_is_not_binarised_is_estimated_from_its_size(tmp_path: Path) -> None:
    found, _ = found_for(tmp_path)
    assert [each.corpus for each in found.corpora] == ["it", "religion"]
    it = found.corpora[0]
    size = (tmp_path / "text" / "it.tsv").stat().st_size
    assert not it.counted
    assert it.rows == 540  # 5 % each are held out
    assert it.tokens == round(0.9 * size / 2 / 4)
    assert it.store_bytes == pytest.approx(36 * it.tokens + 2 * it.rows, abs=1)
    assert it.capture_s == pytest.approx(2 * PRESETS["tiny"].parameters(8000) * it.tokens / FLOPS)


def test_two_aligned_files_are_sized_by_the_target(tmp_path: Path) -> None:
    for name, text in (("a.en", "a\n" * 80), ("a.de", "neun Bytes\n" * 80)):
        (tmp_path / name).write_text(text)
    corpus = "domains.it.corpora=[{reader: moses, source: a.en, target: a.de, licence: CC0-1.0}]"
    it = found_for(tmp_path, corpus)[0].corpora[0]
    assert (it.rows, it.tokens) == (72, 0.9 * 11 * 80 / 4)


@pytest.mark.parametrize(
    ("file", "keys", "head"), [("more.tsv", "path", "src\n"), ("more.en", "reader: moses, source", "")]
)
def test_text_without_references_counts_by_its_source(tmp_path: Path, file: str, keys: str, head: str) -> None:
    (tmp_path / file).write_text(head + "a source\n" * 200)
    found, _ = found_for(tmp_path, transfer(f"{keys}: {file}"))
    assert [each.corpus for each in found.corpora] == ["it", "religion", "it_transfer"]
    more = found.corpora[2]
    assert (more.rows, more.tokens) == (200, round((tmp_path / file).stat().st_size / 4))
    assert found.corpora[0] == found_for(tmp_path)[0].corpora[0]


def test_binarised_text_is_counted(tmp_path: Path) -> None:
    (tmp_path / "more.tsv").write_text("src\na source\n")
    found, workspace = found_for(tmp_path, transfer("path: more.tsv"))
    make_done(workspace, "clean", "split", "subword", "binarize", it=[3, 1, 4], religion=[70_000])
    it, religion, more = found_for(tmp_path, transfer("path: more.tsv"))[0].corpora
    assert (it.rows, it.tokens, it.counted, it.store_bytes) == (3, 8, True, 36 * 8 + 2 * 3)
    assert (religion.rows, religion.tokens, religion.counted) == (1, 70_000, True)
    assert more == found.corpora[2]
    make_done(workspace, "generic", "teacher.it", "transfer.it", it_transfer=[5, 6])
    more = found_for(tmp_path, transfer("path: more.tsv"))[0].corpora[2]
    assert (more.rows, more.tokens, more.counted) == (2, 11, True)


def test_cost_follows_what_is_captured(tmp_path: Path) -> None:
    plain = found_for(tmp_path)[0].corpora[0]
    larger = found_for(tmp_path, "distill.captured={top_k: 16, temperatures: [2, 4]}")[0].corpora[0]
    assert larger.store_bytes - plain.store_bytes == pytest.approx((8 * 4 + 2 * 2) * plain.tokens, abs=1)
    assert larger.capture_s == plain.capture_s
    both = found_for(tmp_path, "distill.weighting=generalist_and_specialist")[0].corpora[0]
    assert both.capture_s == pytest.approx(2 * plain.capture_s)
    assert both.store_bytes == plain.store_bytes


def test_every_student_of_a_sweep_is_trained(tmp_path: Path) -> None:
    one, workspace = found_for(tmp_path)
    three, _ = found_for(tmp_path, "sweep.kd_weight=[0.25, 0.5, 0.75]")
    assert (one.students, three.students) == (1, 3)
    assert three.training_s == pytest.approx(3 * one.training_s)
    everything = training_seconds(load_recipe(tmp_path / "recipe.yaml"), workspace.plan, FLOPS)
    assert 0 < one.training_s < everything


@pytest.mark.parametrize("override", ["distill.source=online", "distill.kd_weight=0"])
def test_where_nothing_is_captured_that_is_said(tmp_path: Path, override: str) -> None:
    found, _ = found_for(tmp_path, override)
    assert (found.corpora, found.students) == ([], 1)
    assert "nothing is captured: distill.source is 'online', or distill.kd_weight is 0" in table_notes(found, FLOPS)


def test_an_index_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.idx").write_bytes(b"TNTIDX\x00\x00" + bytes(100))
    with pytest.raises(CorpusError, match="rerun step 'binarize'"):
        target_lengths(tmp_path / "train.idx")


def test_a_missing_text_is_named(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    workspace = open_workspace(recipe, tmp_path / "run")
    (tmp_path / "text" / "it.tsv").unlink()
    with pytest.raises(CorpusError, match=r"it\.tsv: no such file"):
        estimate(recipe, workspace, FLOPS)


def test_table_marks_estimates_and_sums_up(tmp_path: Path) -> None:
    found, _ = found_for(tmp_path)
    head, rows = table_rows(found)
    assert [row[0] for row in rows] == ["it", "religion", "all"]
    assert rows[2][1] == f"~{sum(each.rows for each in found.corpora):,}"
    assert len(head) == len(rows[0])
    assert any("estimated" in note or "sizes of files" in note for note in table_notes(found, FLOPS))


def test_command_prints_table_and_notes(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    result = CliRunner().invoke(app, ["estimate", str(path), "--workspace", str(tmp_path / "run")])
    assert result.exit_code == 0
    assert "religion" in result.stdout
    assert "training 1 student: " in result.stdout
    assert "matrix products alone" in result.stdout
