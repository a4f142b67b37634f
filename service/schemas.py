"""The shapes on the wire, in LibreTranslate's names.

What it owns: request and response models; they are also what `/openapi.json` shows. What it must not know: engines.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _encodable(text: str) -> str:
    """JSON can escape half a surrogate pair, which no UTF-8 answer could hold."""
    text.encode()
    return text


Text = Annotated[str, AfterValidator(_encodable)]


class TranslateRequest(BaseModel):
    """Parameters of `/translate`, however they were sent; unknown ones are ignored, as LibreTranslate does."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    q: Annotated[Text | list[Text], Field(description="Text, or (JSON only) texts, to translate", examples=["Hello!"])]
    source: Annotated[Text, Field(description="Language code of the text, or `auto`", examples=["en"])]
    target: Annotated[Text, Field(description="Language code to translate into", examples=["de"])]
    format: Annotated[Text, Field(description="Only `text`", examples=["text"])] = "text"
    alternatives: Annotated[int, Field(description="Accepted; this server offers no alternatives")] = 0
    api_key: Annotated[Any, Field(description="Ignored")] = None

    @property
    def texts(self) -> list[str]:
        """The text or texts as a list."""
        return [self.q] if isinstance(self.q, str) else self.q


class DetectedLanguage(BaseModel):
    """Answer to `source=auto`; `confidence` in percent."""

    confidence: float
    language: str


class TranslateResponse(BaseModel):
    """One entry a text where `q` was a list, else plain values; absent fields were not asked for."""

    translatedText: str | list[str]
    detectedLanguage: DetectedLanguage | list[DetectedLanguage] | None = None
    alternatives: list[str] | list[list[str]] | None = None


class Language(BaseModel):
    """A language and the codes it can be translated into."""

    code: str
    name: str
    targets: list[str]


class Health(BaseModel):
    """The server answers."""

    status: str = "ok"


class ErrorResponse(BaseModel):
    """Every error of this dialect."""

    error: str
