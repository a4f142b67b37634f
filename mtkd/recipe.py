"""What a run is made of: one frozen, typed, closed description.

What it owns: the recipe's shape, defaults and the checks that need only the recipe itself.
What it must not know: files, torch, fairseq, HTTP. Reading and wording of errors: `recipe_file.py`.
Why closed: an unknown key is a typo, and a typo in a recipe costs days of training.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mtkd.presets import PRESETS

Share = Annotated[float, Field(gt=0.0, lt=0.5)]
"""A share of the rows, hashed into a held-out set."""
Count = Annotated[int, Field(ge=1)]
DOMAIN_NAME = r"[a-z][a-z0-9_]*"
GENERAL = "general"
"""Name of the general text wherever domains are listed."""
SYSTEM_NAMES = ("generic", "mixed", "teachers", "student")


class Part(BaseModel):
    """Base of every part of a recipe: frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Languages(Part):
    """ISO codes of the two languages, e.g. `en` and `de`."""

    source: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
    target: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class Columns(Part):
    """Header names of a TSV file; `document` keeps a document's sentences on one side of the split."""

    source: str = "src"
    target: str = "tgt"
    document: str | None = None


class Corpus(Part):
    """One parallel text: a TSV file (`path`), or two aligned text files (`source` and `target`)."""

    reader: Literal["tsv", "moses"] = "tsv"
    path: Path | None = None
    source: Path | None = None
    target: Path | None = None
    columns: Columns = Columns()
    licence: str

    @model_validator(mode="after")
    def _files_of_the_reader(self) -> Self:
        wanted = {"tsv": ("path",), "moses": ("source", "target")}[self.reader]
        for key in ("path", "source", "target"):
            if (getattr(self, key) is not None) != (key in wanted):
                raise ValueError(f"reader '{self.reader}' takes {' and '.join(wanted)}")
        return self

    def files(self) -> list[Path]:
        """The files this corpus is read from."""
        return [path for path in (self.path, self.source, self.target) if path is not None]


class Filters(Part):
    """What is thrown away, one field a row of `corpus.clean.FILTERS`; lengths in whitespace words."""

    min_words: int = Field(1, ge=1)
    max_words: int = Field(150, ge=1)
    max_ratio: float = Field(3.0, gt=1.0)
    copies: bool = True


class Split(Part):
    """Shares of the rows that are held out (by hash, so that adding text moves nothing)."""

    test: Share = 0.05
    dev: Share = 0.05
    minimum: Count = 20
    """Fewer pairs than this in dev or test is an error: no score of them would mean anything."""


class Domain(Part):
    """A field with its own vocabulary and its own teacher."""

    corpora: Annotated[list[Corpus], Field(min_length=1)]
    filters: Filters = Filters()
    split: Split = Split()


class Subword(Part):
    """The one joint vocabulary; `vocab_size` counts fairseq's symbols, specials included."""

    vocab_size: int = Field(8000, ge=400, multiple_of=8)
    model: Path | None = None
    """An existing SentencePiece model to use instead of training one."""
    dictionary: Path | None = None
    """The fairseq dictionary that belongs to `model`; made from its pieces where it is left out."""


class Model(Part):
    """Shapes by preset name, and further arguments handed to `fairseq-train` verbatim."""

    teacher: str = "base"
    student: str = "base"
    fairseq_args: list[str] = []

    @field_validator("teacher", "student")
    @classmethod
    def _known_preset(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(f"unknown preset '{name}'|{','.join(PRESETS)}")
        return name


class Training(Part):
    """How one role is trained; `max_tokens` is per batch, `validate_every` in updates."""

    updates: Count
    patience: int = Field(0, ge=0)
    """Validations without a better dev loss before stopping; 0 never stops early."""
    validate_every: Count = 500
    average_checkpoints: Count = 1
    """The last so many checkpoints are averaged; 1 takes the best one on dev."""
    warmup_updates: int = Field(4000, ge=1)
    learning_rate: float = Field(7e-4, gt=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    max_tokens: Count = 4096
    update_freq: Count = 1


class TrainingRoles(Part):
    """Training by role; mixed fine-tuning uses `student`, so that only the loss differs."""

    generic: Training
    teacher: Training
    student: Training


class Generic(Part):
    """The model that teachers and student start from."""

    text: Literal["all", "general"] = "all"
    checkpoint: Path | None = None


class Teacher(Part):
    """A teacher that the user brings instead of having it trained."""

    checkpoint: Path


class Sampling(Part):
    """How often a domain is seen by student and mixed: p_d ~ (weight_d * rows_d)^(1/temperature)."""

    weights: dict[str, Annotated[float, Field(gt=0)]] = {}
    temperature: float = Field(1.0, ge=1.0)


class Distill(Part):
    """The student's loss: (1 - kd_weight) * NLL + kd_weight * temperature^2 * KL."""

    source: Literal["store"] = "store"
    kd_weight: float = Field(0.5, ge=0, le=1)
    temperature: float = Field(1.0, gt=0, le=16)
    top_k: int = Field(8, ge=1, le=1024)
    tail: Literal["bucket"] = "bucket"
    loss: Literal["forward_kl"] = "forward_kl"
    weighting: Literal["in_domain"] = "in_domain"


class Decoding(Part):
    """Beam search, for evaluation and as the bundle's default."""

    beam: int = Field(5, ge=1, le=32)
    length_penalty: float = 1.0


class Recipe(Part):
    """One experiment: text of several domains in, one student out."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    languages: Languages
    domains: Annotated[dict[str, Domain], Field(min_length=1)]
    general: Domain | None = None
    subword: Subword = Subword()
    model: Model = Model()
    training: TrainingRoles
    generic: Generic = Generic()
    teachers: dict[str, Teacher] = {}
    sampling: Sampling = Sampling()
    distill: Distill = Distill()
    decoding: Decoding = Decoding()
    systems: Annotated[list[Literal["generic", "mixed", "teachers", "student"]], Field(min_length=1)] = list(
        SYSTEM_NAMES  # type: ignore[arg-type]
    )
    seed: int = Field(1, ge=0)

    @field_validator("domains")
    @classmethod
    def _domain_names(cls, domains: dict[str, Domain]) -> dict[str, Domain]:
        if GENERAL in domains:
            raise ValueError("'general' is the name of the general text; put it under the key general")
        if bad := [name for name in domains if not re.fullmatch(DOMAIN_NAME, name)]:
            raise ValueError(f"{bad} are not domain names: use a-z, 0-9 and _")
        return domains

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        problems = [
            f"{where}.{name}: no such domain|{','.join(self.domains)}"
            for where, names in (("teachers", self.teachers), ("sampling.weights", self.sampling.weights))
            for name in names
            if name not in self.domains
        ]
        if self.generic.text == "general" and self.general is None and self.generic.checkpoint is None:
            problems.append("generic.text: is 'general' but the recipe has no key general")
        if (
            self.generic.checkpoint
            and self.model.teacher != self.model.student
            and self.teachers.keys() < set(self.domains)
        ):
            problems.append("generic.checkpoint: has one shape, but model.teacher and model.student differ")
        if self.subword.dictionary and not self.subword.model:
            problems.append("subword.dictionary: belongs to a subword.model, which is missing")
        if "student" not in self.systems:
            problems.append("systems: 'student' is missing, and it is what the run is for")
        if self.languages.source == self.languages.target:
            problems.append("languages: source and target are the same")
        if problems:
            # One line each, `key path: problem|valid names`: recipe_file.py words them.
            raise ValueError("\n".join(problems))
        return self

    def corpora_groups(self) -> dict[str, Domain]:
        """Every named text of the recipe: the domains, then `general` where there is one."""
        groups = dict(self.domains)
        if self.general is not None:
            groups[GENERAL] = self.general
        return groups
