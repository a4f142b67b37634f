"""The contract between training and serving: a bundle is whole and unaltered, or it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mtkd.bundle import MANIFEST, Manifest, ModelBundle, describe_files
from mtkd.errors import BundleError

BASE = Manifest(
    name="demo",
    source_lang="en",
    target_lang="de",
    domains=["law"],
    vocabulary="abcd",
    parameters=7,
    beam=5,
    length_penalty=1.0,
    max_source_positions=1024,
    max_target_positions=1024,
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "int8").mkdir()
    (tmp_path / "int8" / "model.bin").write_bytes(b"weights")
    (tmp_path / "sentencepiece.model").write_bytes(b"pieces")
    write(tmp_path, replace(BASE, files=describe_files(tmp_path)))
    return tmp_path


def write(root: Path, manifest: Manifest) -> None:
    (root / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def test_what_was_written_is_what_is_read(bundle: Path) -> None:
    opened = ModelBundle.open(bundle)
    assert opened.manifest == replace(BASE, files=describe_files(bundle))
    assert opened.model_dir("int8") == bundle / "int8"
    assert opened.subword_model.read_bytes() == b"pieces"


def test_digest_names_the_files_content_and_nothing_else(bundle: Path) -> None:
    before = ModelBundle.open(bundle).digest
    write(bundle, replace(BASE, name="other", files=describe_files(bundle)))
    assert ModelBundle.open(bundle).digest == before
    (bundle / "int8" / "model.bin").write_bytes(b"heights")
    write(bundle, replace(BASE, files=describe_files(bundle)))
    assert ModelBundle.open(bundle).digest != before


def test_an_altered_or_missing_file_is_refused_by_name(bundle: Path) -> None:
    (bundle / "int8" / "model.bin").write_bytes(b"weighty")
    with pytest.raises(BundleError, match=r"int8/model\.bin was altered"):
        ModelBundle.open(bundle)
    (bundle / "int8" / "model.bin").unlink()
    with pytest.raises(BundleError, match=r"int8/model\.bin is missing"):
        ModelBundle.open(bundle)


def test_a_file_outside_the_bundle_is_refused(bundle: Path) -> None:
    write(bundle, replace(BASE, files={"../secret": {"sha256": "0", "bytes": 1}}))
    with pytest.raises(BundleError, match="lies outside the bundle"):
        ModelBundle.open(bundle)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "not a bundle"),
        ("{", "unreadable manifest"),
        ("[]", "format version None"),
        ('{"format_version": 99}', "format version 99, this mtkd reads 1"),
        ('{"format_version": 1, "name": "x"}', "incomplete manifest"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(bundle: Path, content: str | None, words: str) -> None:
    (bundle / MANIFEST).unlink()
    if content is not None:
        (bundle / MANIFEST).write_text(content)
    with pytest.raises(BundleError, match=words):
        ModelBundle.open(bundle)


def test_keys_of_a_later_minor_version_are_ignored(bundle: Path) -> None:
    raw = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(raw | {"glossary": "later"}))
    assert ModelBundle.open(bundle).manifest.name == "demo"


@pytest.mark.parametrize("compute_type", ["float16", "float32", ".."])
def test_a_compute_type_that_is_not_there_is_refused(bundle: Path, compute_type: str) -> None:
    with pytest.raises(BundleError, match="no compute type"):
        ModelBundle.open(bundle).model_dir(compute_type)
