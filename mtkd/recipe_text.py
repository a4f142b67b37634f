"""The part of a recipe that says what text there is: corpora, how they are cleaned and split, domains.

What it owns: those parts' shapes and defaults. What it must not know: models, training, files' contents.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _compiled(expression: str) -> str:
    try:
        re.compile(expression)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return expression


Share = Annotated[float, Field(gt=0.0, lt=0.5)]
"""A share of the rows, hashed into a held-out set."""
Count = Annotated[int, Field(ge=1)]
GENERAL = "general"
"""Name of the general text wherever domains are listed."""
GENERALIST = "generic"
"""Name of the model that teachers start from, wherever teachers are listed."""
TRANSFER = "_transfer"
"""Suffix of a domain's text without references, wherever corpora are listed."""
TRANSLATED = "_translated"
"""Suffix of a domain's train text with its teacher's translations for targets, wherever corpora are listed."""


class Part(BaseModel):
    """Base of every part of a recipe: frozen and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Languages(Part):
    """ISO codes of the two languages, e.g. `en` and `de`."""

    source: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
    target: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class Columns(Part):
    """Names of a table's columns, or of a record's keys; `document` keeps a document's sentences together.

    A PO or MO file has one to name, `document: msgctxt`: a message's context stands for its document.
    """

    source: str = "src"
    target: str = "tgt"
    document: str | None = None


READER_FILES: dict[str, tuple[str, ...]] = {
    "tsv": ("path",),
    "moses": ("source", "target"),
    "tmx": ("path",),
    "xliff": ("path",),
    "po": ("path",),
    "mo": ("path",),
    "json": ("source", "target"),
    "pages": ("source", "target"),
    "ding": ("path",),
}
"""By reader: the keys that name its files."""
DOCUMENT = "{document}"
"""In a file's name: any characters, which then name the document; `*` stands for any characters but `/`."""
Expression = Annotated[str, AfterValidator(_compiled)]
"""A regular expression of Python's `re`."""
ArchiveName = Annotated[str, Field(pattern=r"^(deb|wheel|npm|opus):\S+$")]
"""A fetcher and what it is to fetch: `deb:NAME[=VERSION]`, `wheel:NAME[==VERSION]`, `npm:NAME[@VERSION]`,
`opus:CORPUS[@RELEASE]/PAIR`."""


class Corpus(Part):
    """One parallel text: one file (`path`), or two (`source` and `target`), or as many as a pattern finds.

    A file's name may hold `{document}` and `*`: every file that fits is read, and two-file readers pair those whose
    `{document}` is equal. With `archives`, names are those of members of the archives, and nothing else of them is
    unpacked; without, they start at the recipe's folder. Any file may be compressed with gzip or zstd.
    """

    reader: Literal["tsv", "moses", "tmx", "xliff", "po", "mo", "json", "pages", "ding"] = "tsv"
    archives: list[ArchiveName] = []
    path: Path | None = None
    source: Path | None = None
    target: Path | None = None
    skip: Expression | None = None
    """Documents in whose name this is found are left out: alphabetical indexes, which pair wrongly."""
    records: str | None = None
    """JSON: the JMESPath of a list of objects in one file (`path`), which `columns` name the keys of. Without it,
    `source` and `target` are two trees of strings, paired by key."""
    columns: Columns = Columns()
    document_pattern: Expression | None = None
    """What of the document's name names it: the first match, its first group where it has one."""
    accelerator: Literal["_", "&"] | None = None
    """The character that marks keyboard accelerators in a program's messages; it is taken out."""
    strip: list[Expression] = []
    """What is taken out of both sides wherever it is found: markup, context prefixes."""
    sentences: bool = False
    """Cut a pair into its sentences where both sides have equally many."""
    min_alignment: float | None = None
    """Pairs whose words explain each other less than this are dropped; see `corpus.alignment`."""
    references: Literal["given", "none"] = "given"
    """`none`: source text alone; the domain's teacher translates it, and the student learns from soft targets only."""
    licence: str

    @model_validator(mode="after")
    def _files_of_the_reader(self) -> Self:
        wanted = READER_FILES[self.reader]
        if self.references == "none":
            if self.reader not in ("tsv", "moses"):
                raise ValueError(f"reader '{self.reader}' reads pairs; source text alone is read by tsv or moses")
            wanted = wanted[:1]
        if self.records is not None:
            if self.reader != "json":
                raise ValueError(f"reader '{self.reader}' has no records; they are for json")
            wanted = ("path",)
        for key in ("path", "source", "target"):
            if (getattr(self, key) is not None) != (key in wanted):
                raise ValueError(f"reader '{self.reader}' takes {' and '.join(wanted)}")
        return self

    def names(self) -> dict[str, Path]:
        """The names or patterns of the files this corpus is read from, by key."""
        found = {key: getattr(self, key) for key in ("path", "source", "target")}
        return {key: path for key, path in found.items() if path is not None}


class Filters(Part):
    """What is thrown away: one field a row of `corpus.filters.FILTERS`, and near duplicates.

    Losses below are good pairs of 20,041 English-German ones in five domains that were extracted with care.
    """

    min_words: int = Field(1, ge=1)
    max_words: int = Field(150, ge=1)
    """Lengths are in words between spaces."""
    max_ratio: float = Field(3.0, gt=1.0)
    """Loss: 0.2 %, noun compounds against four English words."""
    copies: bool = True
    script: float = Field(0.5, ge=0.0, le=1.0)
    """At least this share of a side's letters is in a script of its language, if that is known; 0: asks nothing.
    Loss: none."""
    markup: float = Field(0.5, gt=0.0, le=1.0)
    """At most this share of a side's characters is tags, entities and ASCII signs, as in code; 1: lets all pass.
    Loss: 0.01 %."""
    repeats: int = Field(4, ge=0)
    """A run of one to four words comes at most so often in a row, or twice as often as on the other side; 0: lets all
    pass. Loss: none."""
    numbers: bool = True
    """The same digits are on both sides, but for separators, order, list numbering and numbers up to twelve as words.
    Loss: 0.05 % (units converted, a year spelt out); two thirds of what it drops is wrong."""
    placeholders: bool = True
    """The same placeholders (printf, Qt, braces, $NAME) are on both sides, and addresses. Loss: 0.01 %."""
    language: float = Field(0.95, ge=0.5, le=1.0)
    """No side of four words or more is another language with more than this confidence; 1: lets all pass.
    Loss: 0.02 %, mostly proper names; it finds 80 % of untranslated sides of that length."""
    near_duplicates: bool = True
    """Of pairs whose sides are equal but for case, punctuation and the values of numbers, the first one stays."""


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


RowShare = Annotated[float, Field(ge=0.0, le=1.0)]


class Augmentation(Part):
    """Shares of the train rows that are rewritten before binarising, one field a row of `corpus.augment.AUGMENTATIONS`.

    A row is rewritten in its place and in one way only: where several want it, the first below has it. A row in which
    there is nothing to change stays as it is.
    """

    placeholders: RowShare = 0.0
    upper_case: RowShare = 0.0
    title_case: RowShare = 0.0
    typos: RowShare = 0.0
    no_final_punctuation: RowShare = 0.0
