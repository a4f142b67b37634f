"""The shapes of DeepL v2 on the wire, in its names.

What it owns: request and response models; they are also what `/openapi.json` shows. What it must not know: engines.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_TEXTS = 50


def _split_at_commas(value: Any) -> Any:
    """Names are sent as a list, with commas, or both."""
    parts = [value] if isinstance(value, str) else value
    if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
        return [name.strip() for part in parts for name in part.split(",") if name.strip()]
    return value


Names = Annotated[list[str], BeforeValidator(_split_at_commas)]


class _Parameters(BaseModel):
    """Parameters, however they were sent; unknown ones are ignored, as DeepL does."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TranslateParameters(_Parameters):
    """Parameters of `/v2/translate`."""

    text: Annotated[
        list[str], Field(min_length=1, max_length=MAX_TEXTS, description="The texts", examples=[["Hello!"]])
    ]
    target_lang: Annotated[str, Field(description="Code of the language to translate into", examples=["DE"])]
    source_lang: Annotated[str, Field(description="Code of the texts' language", examples=["EN"])] = ""
    context: Annotated[str, Field(description="Accepted; the model reads nothing but the text")] = ""
    split_sentences: Annotated[
        Literal["0", "1", "nonewlines"] | None,
        Field(
            description="`1`: line breaks and ends of sentences split; `nonewlines` (the default for HTML) and `0`: a "
            "break between two lines does not. The model reads sentences, so their ends always split"
        ),
    ] = None
    preserve_formatting: Annotated[bool, Field(description="Accepted; nothing is ever corrected")] = False
    formality: Annotated[
        Literal["default", "more", "less", "prefer_more", "prefer_less"],
        Field(description="`more` and `less` are refused; the others change nothing"),
    ] = "default"
    model_type: Annotated[
        Literal["quality_optimized", "prefer_quality_optimized", "latency_optimized"] | None,
        Field(description="There is one model; it answers by that name"),
    ] = None
    glossary_id: Annotated[str, Field(description="Refused: there are no glossaries")] = ""
    glossary_ids: Annotated[Names, Field(description="Refused: there are no glossaries")] = []
    style_id: Annotated[str, Field(description="Refused")] = ""
    translation_memory_id: Annotated[str, Field(description="Refused")] = ""
    translation_memory_threshold: Annotated[int, Field(ge=0, le=100, description="Of no effect")] = 75
    custom_instructions: Annotated[list[str], Field(description="Refused")] = []
    tag_handling: Annotated[
        Literal["xml", "html"] | None, Field(description="What the texts are; tags stay where and what they are")
    ] = None
    tag_handling_version: Annotated[
        Literal["v1", "v2"], Field(description="Answered as sent; there is one way of handling tags")
    ] = "v2"
    outline_detection: Annotated[
        bool, Field(description="Of no effect: text between two tags is one sentence or more")
    ] = True
    non_splitting_tags: Annotated[Names, Field(description="Of no effect: every tag splits")] = []
    splitting_tags: Annotated[Names, Field(description="Of no effect: every tag splits")] = []
    ignore_tags: Annotated[Names, Field(description="Tags whose text is not translated")] = []
    show_billed_characters: Annotated[bool, Field(description="Of no effect: they are always shown")] = False
    enable_beta_languages: Annotated[bool, Field(description="Of no effect")] = False


class LanguagesParameters(_Parameters):
    """Parameters of `/v2/languages`."""

    type: Annotated[Literal["source", "target"], Field(description="Which languages to list")] = "source"


class Translation(BaseModel):
    """One text's translation."""

    detected_source_language: str
    text: str
    billed_characters: int
    """Always there, since the official Python client cannot do without. Those of the text as it was sent, tags too."""
    model_type_used: str | None = None
    tag_handling_version: str | None = None


class Translations(BaseModel):
    """One entry a text, in order."""

    translations: list[Translation]


class DeepLLanguage(BaseModel):
    """A language; `supports_formality` is there in lists of targets only."""

    language: str
    name: str
    supports_formality: bool | None = None


class UsageAnswer(BaseModel):
    """What was translated, and how much may be."""

    character_count: int
    character_limit: int


class GlossaryPairs(BaseModel):
    """Languages that glossaries can be made for."""

    supported_languages: list[dict[str, str]] = []


class Glossaries(BaseModel):
    """The glossaries that there are."""

    glossaries: list[dict[str, str]] = []


class DeepLError(BaseModel):
    """Every error of this dialect."""

    message: str
