"""The shapes of the native API on the wire.

What it owns: request and response models; they are also what `/openapi.json` shows. What it must not know: engines.
Why a segment carries what stands around it: joined again, `before + translation + after` of all segments is the
translation, character by character, so a client can show, check or replace single sentences.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mtkd.bundle import Manifest
from service.schemas import Text

Flag = Literal["truncated", "repetition", "copied", "wrong_language", "empty"]


class TextsRequest(BaseModel):
    """What to translate; an unknown parameter is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: Annotated[
        list[Text], Field(description="Texts of any length in the model's source language", examples=[["Hello!"]])
    ]
    alternatives: Annotated[int, Field(ge=0, description="Other translations of each segment, at most")] = 0


class Alternative(BaseModel):
    """Another translation of a segment, and how likely the model finds it."""

    translation: str
    score: float


class TranslatedSegment(BaseModel):
    """A sentence, or the part of one that is too long. `score` and `flags` are absent where nothing was."""

    before: Annotated[str, Field(description="Spaces and line breaks before it, kept as they are")]
    source: Annotated[str, Field(description="Empty where a text has nothing to translate")]
    translation: str
    after: Annotated[str, Field(description="Spaces, line breaks and rows without words after it, kept as they are")]
    score: Annotated[float | None, Field(description="Mean log-probability of the translation's subwords")] = None
    alternatives: Annotated[list[Alternative] | None, Field(description="Other translations, best first")] = None
    flags: Annotated[list[Flag] | None, Field(description="What seems wrong with the translation")] = None


class TranslatedText(BaseModel):
    """The translation of one text, and what it consists of."""

    translation: str
    characters: Annotated[int, Field(description="Of the source")]
    segments: list[TranslatedSegment]


class TextsResponse(BaseModel):
    """One translation a text, in order, and the digest of the model that made them."""

    model: str
    translations: list[TranslatedText]


class SegmentLine(TranslatedSegment):
    """A line of a stream: one segment, as soon as it is done; both indices count from 0."""

    text: int
    segment: int


class LastLine(BaseModel):
    """The last line of a stream; one without it is incomplete."""

    model: str
    characters: int


class ModelResponse(BaseModel):
    """What translates here; `manifest` is the bundle's, with its scores by metric and test set (one a domain)."""

    digest: str
    engine: str
    source_lang: str
    target_lang: str
    manifest: Manifest | None = None
