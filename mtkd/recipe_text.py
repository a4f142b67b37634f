"""The part of a recipe that says what text there is: corpora, how they are cleaned and split, domains.

What it owns: those parts' shapes and defaults. What it must not know: models, training, files' contents.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0.0, lt=0.5)]
"""A share of the rows, hashed into a held-out set."""
Count = Annotated[int, Field(ge=1)]
GENERAL = "general"
"""Name of the general text wherever domains are listed."""
GENERALIST = "generic"
"""Name of the model that teachers start from, wherever teachers are listed."""
TRANSFER = "_transfer"
"""Suffix of a domain's text without references, wherever corpora are listed."""


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
    references: Literal["given", "none"] = "given"
    """`none`: source text alone; the domain's teacher translates it, and the student learns from soft targets only."""
    licence: str

    @model_validator(mode="after")
    def _files_of_the_reader(self) -> Self:
        wanted = {"tsv": ("path",), "moses": ("source", "target")}[self.reader]
        if self.references == "none" and self.reader == "moses":
            wanted = ("source",)
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

    def with_references(self, given: bool) -> list[Corpus]:
        """The corpora with references, or those without."""
        return [corpus for corpus in self.corpora if (corpus.references == "given") == given]
