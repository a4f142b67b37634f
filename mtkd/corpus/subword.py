r"""One joint SentencePiece model and one fairseq dictionary for every model of a run.

What it owns: the subword model, its reserved symbols, `dict.txt`, the vocabulary's fingerprint, text as pieces.
What it must not know: fairseq itself. It writes what `fairseq-preprocess --srcdict` reads, as text.
Why one vocabulary: a teacher's distribution means something to a student only if id i is the same piece for both.
Why reserve symbols now: an embedding row cannot be added to models that are already trained.

    SentencePiece   <unk> <s> </s>            + reserved + 256 bytes + learnt pieces   = vocab_size - 1
    fairseq         <s> <pad> </s> <unk>      + the same pieces in the same order      = vocab_size
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from mtkd.corpus.leakage import GroupedPair
from mtkd.corpus.split import SIDES, read_side
from mtkd.corpus.textfile import count_lines, read_lines, write_bytes, write_json, writing
from mtkd.errors import CorpusError
from mtkd.recipe import Recipe
from mtkd.recipe_text import Languages

logger = logging.getLogger(__name__)

MODEL, DICTIONARY, VOCABULARY = "sentencepiece.model", "dict.txt", "vocabulary.json"
FAIRSEQ_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
PLACEHOLDERS = tuple(f"<ph{i}>" for i in range(32))
SPARES = tuple(f"<spare{i}>" for i in range(16))
SAMPLE_PAIRS = 2_000_000
"""SentencePiece learns from so many pairs of a larger text, evenly spread; more would gain nothing and need memory."""
Augment = Callable[[Iterable[GroupedPair]], Iterable[GroupedPair]]
"""Rewrites pairs of train, one for one; see `augment.Augmenter`."""
_BATCH = 10_000


@dataclass(frozen=True)
class Vocabulary:
    """A run's vocabulary on disk; `size` counts fairseq's symbols, its 4 specials included."""

    fingerprint: str
    size: int
    model: Path
    dictionary: Path


def domain_symbol(domain: str) -> str:
    """The reserved symbol that tags a sentence with its domain."""
    return f"<dom:{domain}>"


def reserved_symbols(domains: Iterable[str]) -> list[str]:
    """Symbols that the text does not have and models may need later: placeholders, domain tags, spares."""
    return [*PLACEHOLDERS, *(domain_symbol(domain) for domain in domains), *SPARES]


def fingerprint(symbols: Iterable[str]) -> str:
    """Names a vocabulary: 16 hex digits over its symbols in order; fairseq's specials, always there, do not count."""
    ordinary = (symbol for symbol in symbols if symbol not in FAIRSEQ_SPECIALS)
    return hashlib.sha256("\n".join(ordinary).encode()).hexdigest()[:16]


def dictionary_symbols(path: Path) -> list[str]:
    """The symbols of a fairseq dictionary file in order (without the 4 specials, which the file does not hold).

    Raises:
        CorpusError: a line that is not `symbol count`, or a symbol that is there twice.
    """
    symbols: dict[str, None] = {}
    for number, line in enumerate(read_lines(path), 1):
        symbol, _, count = line.removesuffix(" #fairseq:overwrite").rpartition(" ")
        if not symbol or not count.isdecimal():
            raise CorpusError(f"{path}: line {number}: not a line of a fairseq dictionary ('symbol count'): {line!r}")
        if symbol in symbols or symbol in FAIRSEQ_SPECIALS:
            raise CorpusError(f"{path}: line {number}: symbol {symbol!r} is there already")
        symbols[symbol] = None
    return list(symbols)


def train_subword(recipe: Recipe, split_dir: Path, out: Path) -> Vocabulary:
    """Write `sentencepiece.model`, `dict.txt` and `vocabulary.json`: learnt from all train text, or as brought.

    The same text and recipe give the same files, byte by byte.

    Raises:
        CorpusError: a vocab_size the text cannot fill; a brought model that is broken or not its dictionary's.
    """
    brought = recipe.subword.model
    content = _train(recipe, split_dir) if brought is None else _read_bytes(brought)
    processor = _load(content, brought or out / MODEL)
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size()) if not _is_special(processor, i)]
    if unusable := [piece for piece in pieces if re.search(r"\s", piece) or piece in FAIRSEQ_SPECIALS]:
        raise CorpusError(f"{brought}: piece {unusable[0]!r} cannot stand in a fairseq dictionary; use another model")
    write_bytes(out / MODEL, content)
    if recipe.subword.dictionary is None:
        with writing(out / DICTIONARY) as file:
            file.writelines(f"{piece} 1\n" for piece in pieces)
    else:
        _check_pair(recipe.subword.dictionary, pieces)
        write_bytes(out / DICTIONARY, _read_bytes(recipe.subword.dictionary))
    symbols = dictionary_symbols(out / DICTIONARY)
    vocabulary = Vocabulary(fingerprint(symbols), len(symbols) + len(FAIRSEQ_SPECIALS), out / MODEL, out / DICTIONARY)
    present = set(symbols)
    write_json(
        out / VOCABULARY,
        {
            "fingerprint": vocabulary.fingerprint,
            "size": vocabulary.size,
            "pieces": len(pieces),
            "reserved": [symbol for symbol in reserved_symbols(recipe.domains) if symbol in present],
            "trained": brought is None,
        },
    )
    logger.info("vocabulary=%s size=%d", vocabulary.fingerprint, vocabulary.size)
    return vocabulary


def encode_corpora(
    split_dir: Path, model: Path, out: Path, languages: Languages, *, augment: Augment | None = None
) -> None:
    """Write every text of a split as pieces joined by spaces, under the same names, line i for line i.

    `augment` may rewrite the pairs of train, one for one and in their order; dev and test stay as they are.
    """
    processor = _load(_read_bytes(model), model)
    for group in sorted(path.name for path in split_dir.iterdir() if path.is_dir()):
        for side in SIDES:
            pairs: Iterable[GroupedPair] = read_side(split_dir, group, side, languages)
            if augment is not None and side == "train":
                pairs = augment(pairs)
            with ExitStack() as stack:
                names = (f"{side}.{language}" for language in (languages.source, languages.target))
                files = [stack.enter_context(writing(out / group / name)) for name in names]
                for batch in _batches(iter(pairs)):
                    sides = [pair.source for pair in batch], [pair.target for pair in batch]
                    for file, texts in zip(files, sides, strict=True):
                        encoded = processor.encode(texts, out_type=str, num_threads=1)
                        file.writelines(" ".join(pieces) + "\n" for pieces in encoded)


def evenly(pairs: Iterable[GroupedPair], total: int, wanted: int) -> Iterator[GroupedPair]:
    """`wanted` of `total` pairs, spread evenly; all of them where there are no more."""
    return (pair for i, pair in enumerate(pairs) if total <= wanted or i * wanted // total != (i + 1) * wanted // total)


def _train(recipe: Recipe, split_dir: Path) -> bytes:
    """A SentencePiece model trained on the train text of every group that is trained on, both sides."""
    total = sum(
        count_lines(split_dir / group / f"train.{recipe.languages.source}") for group in recipe.trained_groups()
    )
    pairs = (
        pair for group in recipe.trained_groups() for pair in read_side(split_dir, group, "train", recipe.languages)
    )
    sentences = (text for pair in evenly(pairs, total, SAMPLE_PAIRS) for text in (pair.source, pair.target))
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=sentences,
            model_writer=model,
            model_type="unigram",
            vocab_size=recipe.subword.vocab_size - 1,
            normalization_rule_name="identity",
            byte_fallback=True,
            user_defined_symbols=reserved_symbols(recipe.domains),
            # Its own sampling and shuffling go on from a hidden state: two trainings in one process would differ.
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(error, recipe.subword.vocab_size) from None
    return model.getvalue()


def _explained(error: RuntimeError, vocab_size: int) -> CorpusError:
    """What SentencePiece says, in the recipe's terms: its sizes are one less, and ours are multiples of 8."""
    message = str(error)
    if found := re.search(r"Vocabulary size too high .*<= (\d+)", message):
        largest = (int(found[1]) + 1) // 8 * 8
        return CorpusError(
            f"subword.vocab_size {vocab_size} is more than this text can fill; use at most {largest}, or add text"
        )
    if found := re.search(r"smaller than required_chars. \d+ vs (\d+)", message):
        smallest = -(-(int(found[1]) + 1) // 8) * 8
        return CorpusError(f"subword.vocab_size {vocab_size} is too small for this text; use at least {smallest}")
    return CorpusError(f"SentencePiece could not learn a subword model: {message}")


def _load(content: bytes, path: Path) -> SentencePieceProcessor:
    try:
        if not content:  # SentencePiece takes nothing for a model without pieces
            raise RuntimeError
        return SentencePieceProcessor(model_proto=content)
    except RuntimeError:
        raise CorpusError(f"{path}: not a SentencePiece model, or a damaged one") from None


def _is_special(processor: SentencePieceProcessor, index: int) -> bool:
    """Whether a piece is one of SentencePiece's own specials, in whose place fairseq has its own."""
    return bool(processor.is_unknown(index) or processor.is_control(index))


def _check_pair(dictionary: Path, pieces: list[str]) -> None:
    """Refuse a dictionary that was made from another model; a few missing pieces are normal (fairseq prunes)."""
    missing = len(set(pieces) - set(dictionary_symbols(dictionary)))
    if missing > len(pieces) / 2:
        raise CorpusError(
            f"{dictionary}: lacks {missing} of the {len(pieces)} pieces of subword.model; it belongs to another model"
        )
    if missing:
        logger.warning("dictionary=%s lacks %d of %d pieces; they become <unk>", dictionary, missing, len(pieces))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}; check the path in the recipe") from None


def _batches(pairs: Iterator[GroupedPair]) -> Iterator[list[GroupedPair]]:
    while batch := list(islice(pairs, _BATCH)):
        yield batch
