"""What a run is made of: one frozen, typed, closed description.

What it owns: the recipe's shape, defaults and the checks that need only the recipe itself.
What it must not know: files, torch, fairseq, HTTP. Reading and wording of errors: `recipe_file.py`.
Why closed: an unknown key is a typo, and a typo in a recipe costs days of training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from mtkd.presets import PRESETS
from mtkd.recipe_text import GENERAL, GENERALIST, TRANSFER, TRANSLATED, Augmentation, Count, Domain, Languages, Part

Temperature = Annotated[float, Field(gt=0, le=16)]
DOMAIN_NAME = r"[a-z][a-z0-9_]*"
TAKEN = {
    GENERAL: "the general text; put it under the key general",
    GENERALIST: "the model that teachers start from; call the domain otherwise",
    "pooled": "the tests on all domains together; call the domain otherwise",
}
SystemName = Literal[
    "generic", "mixed", "tagged", "sequence_kd", "word_and_sequence_kd", "uniform_ensemble", "routing",
    "teachers", "student",
]  # fmt: skip
"""A row of `plan.SYSTEMS`."""
Perturbation = Literal["upper_case", "title_case", "typos", "no_final_punctuation", "short"]
"""A row of `corpus.robustness.VARIANTS`."""
DEFAULT_SYSTEMS: tuple[SystemName, ...] = ("generic", "mixed", "teachers", "student")


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
    loss_weights: dict[str, Annotated[float, Field(gt=0)]] = {}
    """How much a domain's tokens count in the loss, scaled to a mean of 1 over all training tokens."""


class Captured(Part):
    """What a store holds beyond what `distill` itself needs, so that sweeps share one capture."""

    top_k: int = Field(0, ge=0, le=1024)
    temperatures: list[Temperature] = []


class Gates(Part):
    """What a domain's capture report must show, or the run stops before the student trains; null lets anything pass.

    Means over tokens, at T where several teachers are mixed and else at 1; made for weak teachers too. A teacher that
    was trained with label smoothing epsilon keeps about that in its tail: coverage is asked of 1 - epsilon.
    """

    coverage: Annotated[float, Field(ge=0, le=1)] | None = 0.25
    """At least this share of 1 - epsilon is in the k entries."""
    reference_in_top_k: Annotated[float, Field(ge=0, le=1)] | None = 0.25
    """At least this share of references is among the k entries."""
    fidelity: Annotated[float, Field(ge=0)] | None = 2.0
    """At most so many nats a token are lost by storing."""


class Distill(Part):
    """The student's loss: (1 - kd_weight) * NLL + kd_weight * temperature^2 * D(teacher || student)."""

    source: Literal["store", "online"] = "store"
    kd_weight: float = Field(0.5, ge=0, le=1)
    temperature: Temperature = 1.0
    top_k: int = Field(8, ge=1, le=1024)
    tail: Literal["bucket", "renormalise", "uniform"] = "bucket"
    loss: Literal["forward_kl", "reverse_kl", "js"] = "forward_kl"
    weighting: Literal["in_domain", "uniform", "generalist_and_specialist"] = "in_domain"
    captured: Captured = Captured()
    gates: Gates = Gates()

    @model_validator(mode="after")
    def _finite(self) -> Self:
        if self.tail != "bucket" and self.loss != "forward_kl":
            raise ValueError(f"loss '{self.loss}' is finite with tail 'bucket' only")
        return self


class Sweep(Part):
    """Further students, compared on dev: every kd_weight at every temperature. An empty list stands for `distill`'s."""

    kd_weight: list[Annotated[float, Field(ge=0, le=1)]] = []
    temperature: list[Temperature] = []


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
    held_out: dict[str, Domain] = {}
    """Fields that nobody trains on: their test sets show what a model makes of text it was not made for."""
    subword: Subword = Subword()
    augmentation: Augmentation = Augmentation()
    model: Model = Model()
    training: TrainingRoles
    generic: Generic = Generic()
    teachers: dict[str, Teacher] = {}
    sampling: Sampling = Sampling()
    distill: Distill = Distill()
    sweep: Sweep = Sweep()
    decoding: Decoding = Decoding()
    systems: Annotated[list[SystemName], Field(min_length=1)] = list(DEFAULT_SYSTEMS)
    robustness: list[Perturbation] = []
    """How the domains' test sets are changed to see what becomes of student, mixed, teachers and routing."""
    seed: int = Field(1, ge=0)

    @field_validator("domains", "held_out")
    @classmethod
    def _domain_names(cls, domains: dict[str, Domain]) -> dict[str, Domain]:
        for name in domains.keys() & TAKEN.keys():
            raise ValueError(f"'{name}' is the name of {TAKEN[name]}")
        if bad := [name for name in domains if not re.fullmatch(DOMAIN_NAME, name)]:
            raise ValueError(f"{bad} are not domain names: use a-z, 0-9 and _")
        if bad := [name for name in domains if name.endswith(TRANSFER)]:
            raise ValueError(f"{bad}: names that end in {TRANSFER} are kept for text without references")
        if bad := [name for name in domains if name.endswith(TRANSLATED)]:
            raise ValueError(f"{bad}: names that end in {TRANSLATED} are kept for the teachers' translations")
        if bad := [name for name, domain in domains.items() if not domain.with_references(True)]:
            raise ValueError(f"{bad}: no corpus with references, so no teacher and no dev or test set can be made")
        return domains

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        problems = [
            f"{where}.{name}: no such domain|{','.join(self.domains)}"
            for where, names in (
                ("teachers", self.teachers),
                ("sampling.weights", self.sampling.weights),
                ("sampling.loss_weights", self.sampling.loss_weights),
            )
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
        if self.general is not None and self.general.with_references(False):
            problems.append("general: text without references belongs to a domain, whose teacher translates it")
        problems += [
            f"held_out.{name}: is a domain, and so is trained on" for name in self.held_out.keys() & self.domains
        ]
        unscored = [name for name, domain in self.held_out.items() if domain.with_references(False)]
        problems += [f"held_out.{name}: text without references cannot be scored" for name in unscored]
        if self.distill.source == "online" and self.sweep.kd_weight + self.sweep.temperature:
            problems.append("sweep: every point would run the teachers anew; use distill.source: store")
        if self.distill.weighting != "in_domain" and len(self._temperatures()) > 1:
            problems.append(f"distill.weighting: '{self.distill.weighting}' mixes teachers at one temperature only")
        problems += self._hopeless_systems()
        if self.languages.source == self.languages.target:
            problems.append("languages: source and target are the same")
        if problems:
            # One line each, `key path: problem|valid names`: recipe_file.py words them.
            raise ValueError("\n".join(problems))
        return self

    def _hopeless_systems(self) -> list[str]:
        problems = []
        if "student" not in self.systems:
            problems.append("systems: 'student' is missing, and it is what the run is for")
        if "word_and_sequence_kd" in self.systems and self.distill.kd_weight == 0:
            problems.append("systems: 'word_and_sequence_kd' at distill.kd_weight 0 is 'sequence_kd'")
        if "routing" in self.systems and len(self.domains) == 1:
            problems.append("systems: 'routing' has one domain to choose from")
        return problems

    def corpora_groups(self) -> dict[str, Domain]:
        """Every named text of the recipe: the domains, then `general` where there is one, then what is held out."""
        return self.trained_groups() | self.held_out

    def trained_groups(self) -> dict[str, Domain]:
        """The texts that models and vocabulary may learn from: the domains, then `general` where there is one."""
        groups = dict(self.domains)
        if self.general is not None:
            groups[GENERAL] = self.general
        return groups

    def with_groups(self, groups: Mapping[str, Domain]) -> Self:
        """The recipe with these of its texts only, as they are given."""
        domains = {name: groups[name] for name in self.domains if name in groups}
        held_out = {name: groups[name] for name in self.held_out if name in groups}
        return self.model_copy(update={"domains": domains, "general": groups.get(GENERAL), "held_out": held_out})

    def transfer_domains(self) -> list[str]:
        """Domains that have text without references."""
        return [name for name, domain in self.domains.items() if domain.with_references(False)]

    def sweep_points(self) -> list[tuple[float, float]]:
        """The (kd_weight, temperature) of every student of the sweep; none where there is no sweep.

        At a kd_weight of 0 the temperature says nothing, so that there is one such point.
        """
        if not self.sweep.kd_weight and not self.sweep.temperature:
            return []
        weights = sorted(set(self.sweep.kd_weight or [self.distill.kd_weight]))
        temperatures = sorted(set(self.sweep.temperature or [self.distill.temperature]))
        points = [(weight, t if weight else 1.0) for t in temperatures for weight in weights]
        return list(dict.fromkeys(points))

    def captured_temperatures(self) -> list[float]:
        """Every temperature that a store must be able to serve, 1 first."""
        return [1.0, *sorted(self._temperatures() - {1.0})]

    def captured_top_k(self) -> int:
        """Entries stored a token."""
        return max(self.distill.top_k, self.distill.captured.top_k)

    def _temperatures(self) -> set[float]:
        swept = [temperature for weight, temperature in self.sweep_points() if weight]
        return {self.distill.temperature, *swept, *self.distill.captured.temperatures}
