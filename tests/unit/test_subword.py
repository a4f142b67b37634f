"""One vocabulary for SentencePiece and fairseq, its reserved symbols and its fingerprint."""

from __future__ import annotations

import hashlib
import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from mtkd.corpus.leakage import GroupedPair
from mtkd.corpus.split import SIDES
from mtkd.corpus.subword import (
    FAIRSEQ_SPECIALS,
    dictionary_symbols,
    encode_corpora,
    evenly,
    fingerprint,
    reserved_symbols,
    train_subword,
)
from mtkd.errors import CorpusError
from mtkd.recipe import Recipe
from mtkd.recipe_text import Languages
from tests.unit.corpus_text import random_text, recipe_of

LANGUAGES = Languages(source="en", target="de")


@pytest.fixture(scope="module")
def split_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("split"), random.Random(1)
    for group in ("bank", "river"):
        (root / group).mkdir()
        for side, count in zip(SIDES, (400, 20, 20), strict=True):
            for language in ("en", "de"):
                text = "".join(random_text(rng, 6, letters="abcdef", length=4) + "\n" for _ in range(count))
                (root / group / f"{side}.{language}").write_text(text)
    return root


def recipe_with(**subword: object) -> Recipe:
    path = Path("unread.tsv")
    return recipe_of({"bank": path, "river": path}, subword={"vocab_size": 480} | subword)


@pytest.fixture(scope="module")
def trained(split_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("subword")
    train_subword(recipe_with(), split_dir, out)
    return out


def test_vocabulary_has_exactly_the_size_asked_for(trained: Path, split_dir: Path, tmp_path: Path) -> None:
    vocabulary = train_subword(recipe_with(), split_dir, tmp_path)
    symbols = dictionary_symbols(vocabulary.dictionary)
    assert vocabulary.size == len(symbols) + 4 == 480
    assert vocabulary.size % 8 == 0
    assert json.loads((tmp_path / "vocabulary.json").read_text()) == {
        "fingerprint": vocabulary.fingerprint,
        "size": 480,
        "pieces": 476,
        "reserved": reserved_symbols(["bank", "river"]),
        "trained": True,
    }


def test_training_again_gives_the_same_bytes(trained: Path, split_dir: Path, tmp_path: Path) -> None:
    train_subword(recipe_with(), split_dir, tmp_path)
    for name in ("sentencepiece.model", "dict.txt", "vocabulary.json"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_dictionary_holds_the_pieces_in_order(trained: Path) -> None:
    processor = SentencePieceProcessor(model_file=str(trained / "sentencepiece.model"))
    pieces = [processor.id_to_piece(i) for i in range(3, processor.get_piece_size())]
    assert dictionary_symbols(trained / "dict.txt") == pieces
    assert (trained / "dict.txt").read_text() == "".join(f"{piece} 1\n" for piece in pieces)


def test_reserved_symbols_are_single_pieces(trained: Path) -> None:
    processor = SentencePieceProcessor(model_file=str(trained / "sentencepiece.model"))
    for symbol in ("<ph0>", "<ph31>", "<dom:bank>", "<dom:river>", "<spare15>"):
        assert symbol in processor.encode(f"a {symbol} b", out_type=str)


def test_unseen_characters_are_spelt_in_bytes_and_come_back(trained: Path) -> None:
    processor = SentencePieceProcessor(model_file=str(trained / "sentencepiece.model"))
    text = "abc \u00df\u4e2d \ufb01 x"
    pieces = processor.encode(text, out_type=str)
    assert set(pieces) <= set(dictionary_symbols(trained / "dict.txt"))
    assert processor.decode(pieces) == text


def test_fingerprint_is_the_hash_of_the_ordinary_symbols_in_order() -> None:
    expected = hashlib.sha256(b"a\nb").hexdigest()[:16]
    assert fingerprint(["a", "b"]) == fingerprint([*FAIRSEQ_SPECIALS, "a", "b"]) == expected
    assert fingerprint(["b", "a"]) != expected


def test_too_large_a_vocabulary_says_the_largest_that_works(split_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"vocab_size 4000 is more than this text can fill; use at most (\d+)"
    ) as caught:
        train_subword(recipe_with(vocab_size=4000), split_dir, tmp_path)
    largest = int(str(caught.value).split("at most ")[1].split(",")[0])
    assert train_subword(recipe_with(vocab_size=largest), split_dir, tmp_path).size == largest
    with pytest.raises(CorpusError, match="use at most"):
        train_subword(recipe_with(vocab_size=largest + 8), split_dir, tmp_path)


def test_too_small_a_vocabulary_says_the_smallest_that_works(tmp_path: Path) -> None:
    folder = tmp_path / "split" / "bank"
    folder.mkdir(parents=True)
    letters = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 300))
    rng = random.Random(1)
    for language in ("en", "de"):
        text = "".join(random_text(rng, 6, letters=letters) + "\n" for _ in range(200))
        (folder / f"train.{language}").write_text(text)
    recipe = recipe_of({"bank": Path("unread.tsv")}, subword={"vocab_size": 400})
    with pytest.raises(CorpusError, match=r"vocab_size 400 is too small for this text; use at least \d+"):
        train_subword(recipe, tmp_path / "split", tmp_path / "out")


def test_a_brought_model_gives_the_same_vocabulary(trained: Path, split_dir: Path, tmp_path: Path) -> None:
    recipe = recipe_with(vocab_size=8000, model=trained / "sentencepiece.model")
    vocabulary = train_subword(recipe, split_dir, tmp_path)
    assert vocabulary.size == 480
    for name in ("sentencepiece.model", "dict.txt"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()
    assert json.loads((tmp_path / "vocabulary.json").read_text())["trained"] is False


def test_a_brought_dictionary_is_taken_as_it_is(
    trained: Path, split_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [f"{symbol} 7" for symbol in reversed(dictionary_symbols(trained / "dict.txt"))][5:]
    dictionary = tmp_path / "brought.txt"
    dictionary.write_text("\n".join([*lines, "madeupword0000 0"]) + "\n")
    recipe = recipe_with(model=trained / "sentencepiece.model", dictionary=dictionary)
    vocabulary = train_subword(recipe, split_dir, tmp_path / "out")
    assert vocabulary.dictionary.read_bytes() == dictionary.read_bytes()
    assert vocabulary.size == 480 - 5 + 1
    assert vocabulary.fingerprint == fingerprint(dictionary_symbols(dictionary))
    assert "lacks 5 of 476 pieces" in caplog.text


def test_a_dictionary_of_another_model_is_refused(trained: Path, split_dir: Path, tmp_path: Path) -> None:
    dictionary = tmp_path / "other.txt"
    dictionary.write_text("".join(f"word{i} 1\n" for i in range(476)))
    recipe = recipe_with(model=trained / "sentencepiece.model", dictionary=dictionary)
    with pytest.raises(CorpusError, match="it belongs to another model"):
        train_subword(recipe, split_dir, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"no model at all"])
def test_a_broken_model_is_refused(content: bytes, split_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "broken.model"
    model.write_bytes(content)
    with pytest.raises(CorpusError, match="not a SentencePiece model"):
        train_subword(recipe_with(model=model), split_dir, tmp_path / "out")


def test_a_missing_model_is_refused(split_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"gone.model: cannot be read"):
        train_subword(recipe_with(model=tmp_path / "gone.model"), split_dir, tmp_path / "out")


@pytest.mark.parametrize("line", ["lonely", "word many", " 3", "a 1\na 2", "<s> 1"])
def test_a_broken_dictionary_is_refused_with_its_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "dict.txt"
    path.write_text(f"fine 1\n{line}\n")
    with pytest.raises(CorpusError, match=r"dict.txt: line [23]: "):
        dictionary_symbols(path)


def test_encoded_text_decodes_to_the_text_line_for_line(trained: Path, split_dir: Path, tmp_path: Path) -> None:
    model = trained / "sentencepiece.model"
    encode_corpora(split_dir, model, tmp_path, LANGUAGES)
    processor = SentencePieceProcessor(model_file=str(model))
    symbols = set(dictionary_symbols(trained / "dict.txt"))
    for group in ("bank", "river"):
        for side in SIDES:
            for language in ("en", "de"):
                encoded = [
                    line.split(" ") for line in (tmp_path / group / f"{side}.{language}").read_text().split("\n")[:-1]
                ]
                text = (split_dir / group / f"{side}.{language}").read_text().split("\n")[:-1]
                assert [processor.decode(pieces) for pieces in encoded] == text
                assert set().union(*encoded) <= symbols


def test_a_sample_of_pairs_is_even_and_of_the_size_asked_for() -> None:
    pairs = [GroupedPair("x", str(i), "") for i in range(10)]
    assert list(evenly(pairs, 10, 10)) == pairs
    assert list(evenly(pairs, 10, 20)) == pairs
    sample = [int(pair.source) for pair in evenly(pairs, 10, 4)]
    assert len(sample) == 4
    assert max(b - a for a, b in pairwise(sample)) <= 3


def test_a_model_whose_pieces_fairseq_cannot_hold_is_refused(split_dir: Path, tmp_path: Path) -> None:
    model = tmp_path / "brought.model"
    with model.open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=iter((split_dir / "bank" / "train.en").read_text().split("\n")),
            model_writer=file,
            vocab_size=60,
            user_defined_symbols=["<pad>"],
            minloglevel=2,
        )
    with pytest.raises(CorpusError, match="piece '<pad>' cannot stand in a fairseq dictionary"):
        train_subword(recipe_with(model=model), split_dir, tmp_path / "out")
