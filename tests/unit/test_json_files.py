"""Text in JSON: trees with equal keys, and records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtkd.corpus.pair import Pair
from tests.unit.reading import COMPRESSIONS, DATA, corpus_of, pairs_of, refusal

SUTTAS = {
    "path": DATA / "json" / "suttas.json",
    "records": "value.mlDocs[].segMap.*[]",
    "columns": {"source": "en", "target": "de", "document": "scid"},
}


def trees(folder: Path, source: Any, target: Any) -> dict[str, Path]:
    names = {"source": folder / "en.json", "target": folder / "de.json"}
    for path, tree in zip(names.values(), (source, target), strict=True):
        path.write_bytes(tree if isinstance(tree, bytes) else json.dumps(tree).encode())
    return names


def test_two_real_trees_are_paired_by_key_and_named_by_their_folder() -> None:
    found = pairs_of(
        "json", source=DATA / "json" / "en" / "{document}.json", target=DATA / "json" / "de" / "{document}.json"
    )
    assert len(found) == 26
    assert Pair("Failed to connect", "Verbindung fehlgeschlagen", "abode") in found


def test_only_strings_with_equal_keys_are_pairs(tmp_path: Path) -> None:
    source = {"a": {"b": "one", "c": "two"}, "list": ["three", "four"], "n": 1, "x": "five", "0": "six"}
    target = {"0": "sechs", "list": ["drei"], "a": {"b": "eins", "c": {"d": "zwei"}}, "n": "1", "x": None}
    found = pairs_of("json", **trees(tmp_path, source, target))
    assert found == [Pair("one", "eins", ""), Pair("three", "drei", ""), Pair("six", "sechs", "")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_encodings_and_compressions_of_json_are_told(tmp_path: Path, encoding: str, compression: str) -> None:
    content = COMPRESSIONS[compression]('{"a": "\u00fcber"}'.encode(encoding))
    assert pairs_of("json", **trees(tmp_path, {"a": "over"}, content)) == [Pair("over", "\u00fcber", "")]


def test_real_records_are_found_by_jmespath() -> None:
    found = pairs_of("json", **SUTTAS, document_pattern="^[^:]+", strip=["</?span[^>]*>"])
    assert [pair.document for pair in found] == ["an1.278", "an1.278", "an1.280"]
    assert found[1].source.startswith("But it is possible for just one wheel-turning monarch")
    assert found[1].target.startswith("Aber es ist m\u00f6glich, dass ein einziger Rad-drehender Herrscher in")


def test_records_without_both_languages_are_left_out(tmp_path: Path) -> None:
    rows = [{"src": "one", "tgt": "eins", "id": 7}, {"src": "two"}, {"src": "three", "tgt": None}, "four", None]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found = pairs_of("json", path=tmp_path / "{document}.json", records="[]", columns={"document": "id"})
    assert found == [Pair("one", "eins", "a/7")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b'{"a": "x",\n"b": "y', "line 2: not JSON, or truncated"),
        (b'{"a": 1}\n{"b": 2}', "line 2: not JSON, or truncated (Extra data)"),
        (b'{\n"a": "\xfcber"}', "line 2: not utf-8 (byte 0xfc)"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"z": "x"}', "no string has the same keys in both"),
    ],
)
def test_what_is_wrong_with_a_tree_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal(corpus_of("json", **trees(tmp_path, {"a": "x"}, content)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"records": "a["}, "records is not a JMESPath"),
        ({"records": "length(value.lang.x)"}, "records cannot be applied"),
        ({"records": "value.nothing"}, "records finds no object with 'en' and 'de'"),
        ({"records": "value"}, "records finds no object"),
        ({"columns": {"source": "eng", "target": "de"}}, "records finds no object with 'eng' and 'de'"),
    ],
)
def test_records_that_find_nothing_are_an_error(changed: dict[str, Any], said: str) -> None:
    assert said in refusal(corpus_of("json", **{**SUTTAS, **changed}))
