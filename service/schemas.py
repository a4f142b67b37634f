"""The shapes of LibreTranslate's dialect on the wire, in its names.

What it owns: request and response models; they are also what `/openapi.json` shows. What it must not know: engines.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

AUTO = "auto"


def _encodable(text: str) -> str:
    """JSON can escape half a surrogate pair, which no UTF-8 answer could hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text holds half a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]
NotEmpty = Field(min_length=1)


class DetectRequest(BaseModel):
    """Parameters of `/detect`, however they were sent; unknown ones are ignored, as LibreTranslate does."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    q: Annotated[
        Annotated[Text, NotEmpty] | Annotated[list[Text], NotEmpty],
        Field(description="Text, or (JSON only) texts", examples=["Hello!"]),
    ]
    api_key: Annotated[Any, Field(description="Key, where the server asks for one")] = None

    @property
    def texts(self) -> list[str]:
        """The text or texts as a list."""
        return [self.q] if isinstance(self.q, str) else self.q


class TranslateRequest(DetectRequest):
    """Parameters of `/translate`."""

    source: Annotated[Text, NotEmpty, Field(description="Language code of the text, or `auto`", examples=["en"])]
    target: Annotated[Text, NotEmpty, Field(description="Language code to translate into", examples=["de"])]
    format: Annotated[Text, Field(description="`text` or `html`", examples=["text"])] = "text"
    alternatives: Annotated[int, Field(description="How many other translations to offer at most")] = 0

    @property
    def is_auto(self) -> bool:
        """Whether the client asks which language the text is in."""
        return self.source.lower() == AUTO


class DetectedLanguage(BaseModel):
    """What language a text seems to be in; `confidence` in percent."""

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


class NamedLanguage(BaseModel):
    """A language as a page shows it."""

    code: str
    name: str


class LanguageChoice(BaseModel):
    """What a page chooses first."""

    source: NamedLanguage
    target: NamedLanguage


class FrontendSettings(BaseModel):
    """What a page in front of this server needs to know."""

    charLimit: int
    frontendTimeout: int
    """Milliseconds to wait for the user to stop typing."""
    apiKeys: bool
    keyRequired: bool
    suggestions: bool
    filesTranslation: bool
    supportedFilesFormat: list[str]
    language: LanguageChoice


class Health(BaseModel):
    """The server answers."""

    status: str = "ok"


class ErrorResponse(BaseModel):
    """Every error of this dialect."""

    error: str
