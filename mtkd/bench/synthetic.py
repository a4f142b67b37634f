"""Text, dictionary and soft targets for benchmarks: made up, seeded, without a network.

What it owns: what the made-up text is like. What it must not know: torch; of fairseq, more than two commands.
Lengths and their ratios are spread as in the text of data_recipes/experiment_en_de, since padding depends on them.
Words are drawn by Zipf's law. A source word has its translation, so that there is something to learn. The soft targets
are of a teacher whose first choice is the reference and who leaves a tenth outside its k entries.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mtkd import commands
from mtkd.corpus.subword import FAIRSEQ_SPECIALS, fingerprint
from mtkd.corpus.textfile import writing
from mtkd.distill.store_writer import StoreWriter
from mtkd.distill.topk import StoreHeader, TeacherRows, targets_checksum
from mtkd.errors import MtkdError
from mtkd.recipe import Recipe

DOMAIN = "made_up"
HELD_OUT_TOKENS = 5000
MEDIAN_TOKENS, SPREAD, LONGEST = 17, 0.5, 100
"""Of a source: log-normal, and cut off."""
RATIO, RATIO_SPREAD = 0.07, 0.23
"""Mean and standard deviation of log(target length / source length)."""
ZIPF_OFFSET = 2.7
"""Mandelbrot's: the likeliest word of a language is not a tenth of it."""
SEED = 1
SPECIALS = len(FAIRSEQ_SPECIALS)
EOS = FAIRSEQ_SPECIALS.index("</s>")

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """A binarised corpus of one domain."""

    data: Path
    """Holds the fairseq-preprocess folder of `DOMAIN`, and `dict.txt`."""
    symbols: list[str]
    targets: list[Ids]
    """The train split's target rows as fairseq numbers them, EOS included."""

    @property
    def dictionary(self) -> Path:
        """fairseq's dictionary of both languages."""
        return self.data / "dict.txt"


def make_corpus(recipe: Recipe, folder: Path, *, vocab: int, tokens: int) -> Corpus:
    """Write and binarise text of at least `tokens` target tokens to train on; `vocab` counts fairseq's specials.

    Raises:
        MtkdError: fairseq-preprocess failed.
    """
    random = np.random.default_rng(SEED)
    symbols = [f"w{number}" for number in range(vocab - SPECIALS)]
    targets: list[Ids] = []
    for side, wanted in (("train", tokens), ("dev", HELD_OUT_TOKENS), ("test", HELD_OUT_TOKENS)):
        sources, translations = _pairs(random, len(symbols), wanted)
        for lang, rows in ((recipe.languages.source, sources), (recipe.languages.target, translations)):
            with writing(folder / "text" / f"{side}.{lang}") as file:
                file.writelines(" ".join(symbols[word] for word in row) + "\n" for row in rows)
        if side == "train":
            targets = [np.append(row + SPECIALS, EOS) for row in translations]
    corpus = Corpus(folder / "data", symbols, targets)
    with writing(corpus.dictionary) as file:
        file.writelines(f"{symbol} 1\n" for symbol in symbols)
    binarised = corpus.data / DOMAIN
    argv = commands.preprocess(recipe, text=folder / "text", dictionary=corpus.dictionary, output=binarised, workers=1)
    run_fairseq("preprocess", argv)
    return corpus


def make_store(corpus: Corpus, path: Path, *, top_k: int) -> Path:
    """Write soft targets for the train split."""
    reference = np.concatenate(corpus.targets)
    vocab_size = len(corpus.symbols) + SPECIALS
    away = vocab_size // top_k * np.arange(top_k)
    log_probs = np.log(0.9 * 0.5 ** np.arange(top_k) / (2.0 - 0.5 ** (top_k - 1)))
    stored = TeacherRows(
        ids=(reference[:, None] + away) % vocab_size,
        log_probs=np.broadcast_to(log_probs, (len(reference), top_k)).astype(np.float16),
        log_tails=np.full((len(reference), 1), np.log(0.1), dtype=np.float16),
        reference_log_probs=np.full(len(reference), log_probs[0], dtype=np.float16),
    )
    lengths = [len(row) for row in corpus.targets]
    header = StoreHeader(
        corpus=DOMAIN,
        vocabulary=fingerprint(corpus.symbols),
        vocab_size=vocab_size,
        targets=targets_checksum(corpus.targets),
        teachers={DOMAIN: "made up"},
        rule="in_domain",
        rows=len(lengths),
        tokens=len(reference),
        top_k=top_k,
        temperatures=[1.0],
    )
    writer = StoreWriter(path, header, lengths)
    writer.append(len(lengths), stored)
    writer.finish()
    return path


def run_fairseq(command: str, argv: list[str], environment: Mapping[str, str] | None = None) -> None:
    """Run `fairseq-COMMAND` to its end.

    Raises:
        MtkdError: it failed; the message is its last line.
    """
    module = [sys.executable, "-m", f"fairseq_cli.{command}"]
    done = subprocess.run([*module, *argv], capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise MtkdError(f"benchmark: fairseq-{command} failed: {said[-1] if said else done.returncode}")


def _pairs(random: np.random.Generator, words: int, tokens: int) -> tuple[list[Ids], list[Ids]]:
    """Sources and translations, as many as have so many target tokens; even numbers are source words, odd ones target.

    Neighbours change places; in a shorter translation some words are left out, in a longer one some come twice.
    """
    ranks = np.arange(words // 2)
    shares = 1.0 / (ranks + ZIPF_OFFSET)
    sources, translations = [], []
    while tokens > 0:
        length = int(np.clip(random.lognormal(np.log(MEDIAN_TOKENS), SPREAD), 2, LONGEST))
        source = 2 * random.choice(ranks, size=length, p=shares / shares.sum())
        swapped = np.minimum(np.arange(length) ^ 1, length - 1)
        ratio = random.lognormal(RATIO, RATIO_SPREAD)
        kept = np.linspace(0, length - 1, max(1, round(length * ratio))).round().astype(int)
        sources.append(source)
        translations.append(source[swapped][kept] + 1)
        tokens -= len(translations[-1]) + 1
    return sources, translations
