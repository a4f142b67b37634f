"""The shapes of Google Cloud Translation v2 on the wire, in its names.

What it owns: request and response models; they are also what `/openapi.json` shows. What it must not know: engines.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.schemas import Text


class DetectParameters(BaseModel):
    """Parameters of detection; unknown ones (`key`, `prettyPrint`, `model`, `cid`) are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    q: Annotated[list[Text], Field(min_length=1, description="The texts", examples=[["Hello!"]])]


class TranslateParameters(DetectParameters):
    """Parameters of translation."""

    target: Annotated[Text, Field(description="Language code to translate into", examples=["de"])]
    source: Annotated[Text | None, Field(description="Language code of the texts; detected where absent")] = None
    format: Annotated[Text, Field(description="`html` or `text`")] = "html"


class LanguagesParameters(BaseModel):
    """Parameters of the list of languages."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    target: Annotated[Text | None, Field(description="Any code: the languages' English names are given too")] = None


class Translation(BaseModel):
    """One text's translation."""

    translatedText: str
    detectedSourceLanguage: str | None = None


class Translations(BaseModel):
    """One entry a text."""

    translations: list[Translation]


class TranslateAnswer(BaseModel):
    """Answer to a translation."""

    data: Translations


class Detection(BaseModel):
    """A language that a text may be in; `confidence` from 0 to 1."""

    language: str
    confidence: float
    isReliable: bool


class Detections(BaseModel):
    """One list a text, of one entry, as Google's always has."""

    detections: list[list[Detection]]


class DetectAnswer(BaseModel):
    """Answer to a detection."""

    data: Detections


class GoogleLanguage(BaseModel):
    """A language, named if names were asked for."""

    language: str
    name: str | None = None


class GoogleLanguages(BaseModel):
    """Source and target alike: v2 does not tell them apart."""

    languages: list[GoogleLanguage]


class LanguagesAnswer(BaseModel):
    """Answer to the question for languages."""

    data: GoogleLanguages


class Problem(BaseModel):
    """One thing that is wrong."""

    message: str
    domain: str


class Problems(BaseModel):
    """What is wrong."""

    code: int
    message: str
    errors: list[Problem]


class GoogleError(BaseModel):
    """Every error of this dialect."""

    error: Problems
