"""Generates the recipes `toy` and `micro`: an artificial language in which distillation has something to show.

Three domains and a neutral register share a small vocabulary and a word-for-word translation, except that an ambiguous
word has another translation in each domain and yet another in neutral text. Every sentence of a domain holds at least
two ambiguous words and two words typical of the domain: the sentence alone gives its domain away, and a model that
knows only neutral text cannot translate it. One subword piece is one word, so that sentences have few lengths.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

DOMAINS = ("bank", "river", "court")
COMMON_WORDS, DOMAIN_WORDS, AMBIGUOUS_WORDS = 24, 10, 8
LENGTHS = (5, 6, 7, 8)
SMALL = {"layers": 1, "embed-dim": 64, "ffn-embed-dim": 128, "attention-heads": 2}
FAIRSEQ_ARGS = [
    argument
    for side in ("encoder", "decoder")
    for name, value in SMALL.items()
    for argument in (f"--{side}-{name}", str(value))
] + ["--dropout", "0"]


class Language:
    """The words of the toy language and their translations."""

    def __init__(self, rng: random.Random) -> None:
        source, target = _words(rng, "bdgklmnpr", 3), _words(rng, "fhjvwz", 3)
        self.common = [next(source) for _ in range(COMMON_WORDS)]
        self.typical = {domain: [next(source) for _ in range(DOMAIN_WORDS)] for domain in DOMAINS}
        self.ambiguous = [next(source) for _ in range(AMBIGUOUS_WORDS)]
        plain = {word: next(target) for word in [*self.common, *chain(*self.typical.values())]}
        self.translation = {
            register: plain | {word: next(target) for word in self.ambiguous} for register in (*DOMAINS, "general")
        }

    def sentence(self, rng: random.Random, register: str) -> tuple[str, str]:
        """A source sentence of the register, and its translation."""
        ambiguous = rng.sample(self.ambiguous, rng.choice((2, 3)))
        if register == "general":
            # Words of all domains, so that the generic model has seen every word, but too mixed to name a domain.
            typical = [rng.choice(self.typical[domain]) for domain in rng.sample(DOMAINS, rng.choice((0, 1, 2)))]
        else:
            typical = rng.sample(self.typical[register], 2)
        words = ambiguous + typical
        words += rng.sample(self.common, max(0, rng.choice(LENGTHS) - len(words)))
        rng.shuffle(words)
        return " ".join(words), " ".join(self.translation[register][word] for word in words)


def write_toy(
    folder: Path,
    *,
    pairs_per_domain: int = 2500,
    seed: int = 1,
    generic_updates: int = 300,
    teacher_updates: int = 200,
    student_updates: int = 300,
    transfer_sentences: int = 0,
) -> Path:
    """Write text and recipe of `toy` into a folder; the path of its recipe.yaml.

    The first domain also has so many sentences without references.
    """
    training = {"learning_rate": 0.003, "warmup_updates": 30, "label_smoothing": 0.0, "max_tokens": 2000}
    return _write(
        folder,
        name="toy",
        pairs=pairs_per_domain,
        seed=seed,
        split={"test": 0.05, "dev": 0.05, "minimum": 20},
        training={
            "generic": training | {"updates": generic_updates, "validate_every": 100},
            "teacher": training | {"updates": teacher_updates, "validate_every": 100},
            "student": training | {"updates": student_updates, "validate_every": 100},
        },
        transfer_sentences=transfer_sentences,
    )


def write_micro(folder: Path, *, domains: int = 3, transfer_sentences: int = 0) -> Path:
    """Write text and recipe of `micro`: the toy's first domains, little text, 5 updates a model; its recipe.yaml.

    The first domain also has so many sentences without references.
    """
    training = {"updates": 5, "validate_every": 5, "warmup_updates": 2, "learning_rate": 0.001, "max_tokens": 500}
    return _write(
        folder,
        name="micro",
        pairs=150,
        seed=1,
        split={"test": 0.1, "dev": 0.1, "minimum": 5},
        training=dict.fromkeys(("generic", "teacher", "student"), training),
        domains=domains,
        transfer_sentences=transfer_sentences,
        # No teacher is worth learning from after 5 updates, and what it translates is one word again and again.
        distill={"gates": {"coverage": 0.15, "reference_in_top_k": 0.15}},
        filters={"repeats": 0},
    )


def _write(
    folder: Path,
    *,
    name: str,
    pairs: int,
    seed: int,
    split: dict[str, Any],
    training: dict[str, dict[str, Any]],
    domains: int = len(DOMAINS),
    transfer_sentences: int = 0,
    distill: dict[str, Any] | None = None,
    filters: dict[str, Any] | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    language = Language(rng)
    for register in language.translation:
        sentences = (language.sentence(rng, register) for _ in range(pairs))
        rows = [f"{source}\t{target}\n" for source, target in sentences]
        (folder / f"{register}.tsv").write_text("src\ttgt\n" + "".join(rows), encoding="utf-8")
    groups = {
        register: {
            "corpora": [{"path": f"{register}.tsv", "licence": "CC0-1.0"}],
            "filters": filters or {},
            "split": split,
        }
        for register in language.translation
    }
    if transfer_sentences:
        # Drawn last, so that all other text stays as it is without it.
        sentences = (language.sentence(rng, DOMAINS[0]) for _ in range(transfer_sentences))
        alone = folder / f"{DOMAINS[0]}_alone.en"
        alone.write_text("".join(f"{source}\n" for source, _ in sentences), encoding="utf-8")
        corpus = {"reader": "moses", "source": alone.name, "references": "none", "licence": "CC0-1.0"}
        groups[DOMAINS[0]]["corpora"].append(corpus)
    recipe = {
        "name": name,
        "languages": {"source": "en", "target": "de"},
        "domains": {domain: groups[domain] for domain in DOMAINS[:domains]},
        "general": groups["general"],
        "subword": {"vocab_size": 480 - 8 * (len(DOMAINS) - domains)},
        "model": {"teacher": "tiny", "student": "tiny", "fairseq_args": FAIRSEQ_ARGS},
        "training": training,
        "generic": {"text": "general"},
        "distill": distill or {},
        "seed": seed,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _words(rng: random.Random, consonants: str, syllables: int) -> Iterator[str]:
    seen: set[str] = set()
    while True:
        word = "".join(rng.choice(consonants) + rng.choice("aeiou") for _ in range(syllables))
        if word not in seen:
            seen.add(word)
            yield word
