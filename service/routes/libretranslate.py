"""LibreTranslate's dialect.

What it owns: its parameters, its answers, its wording of errors, which clients and its own tests compare.
What it must not know: engines and models, beyond the worker it is given.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from service.access import admit
from service.deps import Worker, WorkerDep
from service.detection import detect
from service.forms import read_fields, read_json
from service.languages import find_language, language_name
from service.markup import translate_markup
from service.openapi import in_body_or_query
from service.schemas import (
    AUTO,
    DetectedLanguage,
    DetectRequest,
    ErrorResponse,
    FrontendSettings,
    Health,
    Language,
    LanguageChoice,
    NamedLanguage,
    TranslateRequest,
    TranslateResponse,
)
from service.translation import Options

router = APIRouter(tags=["LibreTranslate"])

FORMATS = ("text", "html")
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "A parameter is missing, unknown or too large"},
    403: {"model": ErrorResponse, "description": "A key is missing or not valid"},
    413: {"model": ErrorResponse, "description": "The body is too large"},
    429: {"model": ErrorResponse, "description": "Too many requests; `Retry-After` says when to come again"},
    500: {"model": ErrorResponse, "description": "Our fault"},
    503: {"model": ErrorResponse, "description": "It took too long, or the model is being loaded"},
}
Parameters = TypeVar("Parameters", bound=DetectRequest)


async def read_translate_request(request: Request) -> TranslateRequest:
    """The parameters of `/translate`."""
    return await _read(request, TranslateRequest)


async def read_detect_request(request: Request) -> DetectRequest:
    """The parameters of `/detect`."""
    return await _read(request, DetectRequest)


@router.post(
    "/translate",
    response_model_exclude_none=True,
    responses=_REFUSALS,
    openapi_extra=in_body_or_query(TranslateRequest),
)
async def translate(
    request: Request, parameters: Annotated[TranslateRequest, Depends(read_translate_request)], worker: WorkerDep
) -> TranslateResponse:
    """Translate a text, or a list of texts (JSON only), plain or as HTML.

    With `source=auto` the answer says which language each text seems to be in. It is translated in any case, because
    the model reads one language only and a short text is easily mistaken.
    """
    _check_limits(parameters, worker)
    _check_languages(parameters, worker)
    await admit(request, characters=sum(map(len, parameters.texts)), texts=len(parameters.texts))
    detected = [(await _detect(text, worker))[0] for text in parameters.texts] if parameters.is_auto else None
    others: list[list[str]] = [[] for _ in parameters.texts]
    if parameters.format == "html":
        # Its alternatives stay empty: those of its runs of text would not belong together.
        translations = await translate_markup(worker.translate, parameters.texts, kind="html")
    else:
        found = await worker.translate_full(parameters.texts, Options(alternatives=max(0, parameters.alternatives)))
        translations = [translation.text for translation in found]
        others = [list(translation.alternatives) for translation in found]
    alternatives = others if parameters.alternatives > 0 else None
    if isinstance(parameters.q, str):
        return TranslateResponse(
            translatedText=translations[0],
            detectedLanguage=detected[0] if detected else None,
            alternatives=alternatives[0] if alternatives else None,
        )
    return TranslateResponse(translatedText=translations, detectedLanguage=detected, alternatives=alternatives)


@router.post("/detect", responses=_REFUSALS, openapi_extra=in_body_or_query(DetectRequest))
async def detect_language(
    request: Request, parameters: Annotated[DetectRequest, Depends(read_detect_request)], worker: WorkerDep
) -> list[DetectedLanguage]:
    """The likeliest languages of a text (of all texts together, if there are several), best first."""
    _check_size(parameters, worker)
    await admit(request, characters=0, texts=0)
    return await _detect("\n".join(parameters.texts), worker)


@router.get("/languages")
async def languages(worker: WorkerDep) -> list[Language]:
    """The languages, and into which each can be translated."""
    source, target = _pair(worker)
    return [
        Language(code=source, name=language_name(source), targets=[target]),
        Language(code=target, name=language_name(target), targets=[]),
    ]


@router.get("/frontend/settings")
async def frontend_settings(worker: WorkerDep) -> FrontendSettings:
    """What a page in front of this server needs to know."""
    target = worker.engine.target_lang
    return FrontendSettings(
        charLimit=worker.settings.max_text_chars,
        frontendTimeout=500,
        apiKeys=worker.settings.data is not None,
        keyRequired=worker.settings.require_key,
        suggestions=False,
        filesTranslation=False,
        supportedFilesFormat=[],
        language=LanguageChoice(
            source=NamedLanguage(code=AUTO, name="Auto Detect"),
            target=NamedLanguage(code=target, name=language_name(target)),
        ),
    )


@router.post("/suggest", status_code=403, response_model=ErrorResponse)
async def suggest() -> None:
    """Better translations are not collected: this server stores no text."""
    raise HTTPException(403, "Suggestions are disabled on this server.")


@router.get("/health")
async def health() -> Health:
    """Whether the server answers; it does so while it translates."""
    return Health()


@router.get("/spec", include_in_schema=False)
async def spec(request: Request) -> dict[str, Any]:
    """The description that is also at `/openapi.json`."""
    description: dict[str, Any] = request.app.openapi()
    return description


async def _read(request: Request, model: type[Parameters]) -> Parameters:
    """A request's parameters, from a JSON body, else from query string and form together (the query first).

    Empty values count as missing and a repeated one as its first, as in LibreTranslate. Outside JSON, line endings
    become newlines.

    Raises:
        HTTPException: 400 with LibreTranslate's words.
    """
    values = await read_json(request)
    if values is None:
        fields = await read_fields(request)
        values = {name: value.replace("\r\n", "\n").replace("\r", "\n") for name, value in reversed(fields)}
    try:
        return model.model_validate({name: value for name, value in values.items() if value not in (None, "", [])})
    except ValidationError as error:
        raise HTTPException(400, _in_their_words(error)) from None


def _in_their_words(error: ValidationError) -> str:
    """The first problem in LibreTranslate's words; never the value, which may be the text."""
    problem = error.errors(include_url=False, include_input=False)[0]
    name = problem["loc"][0]
    if problem["type"] == "missing":
        return f"Invalid request: missing {name} parameter"
    if name == "alternatives":
        return f"Invalid request: {name} parameter is not a number"
    return f"Invalid request: {name} parameter is not valid text"


def _check_limits(parameters: TranslateRequest, worker: Worker) -> None:
    most = worker.settings.max_alternatives
    if parameters.alternatives > most:
        raise HTTPException(400, f"Invalid request: alternatives parameter must be <= {most}")
    _check_size(parameters, worker)
    if parameters.format not in FORMATS:
        raise HTTPException(400, f"{parameters.format} format is not supported")


def _check_size(parameters: DetectRequest, worker: Worker) -> None:
    limits = worker.settings
    texts, chars = len(parameters.texts), sum(map(len, parameters.texts))
    if texts > limits.max_batch_texts:
        raise HTTPException(400, f"Invalid request: request ({texts}) exceeds batch limit ({limits.max_batch_texts})")
    if chars > limits.max_text_chars:
        raise HTTPException(400, f"Invalid request: request ({chars}) exceeds text limit ({limits.max_text_chars})")


def _check_languages(parameters: TranslateRequest, worker: Worker) -> None:
    """Refuse every pair but the model's; `auto` stands for its source."""
    known = _pair(worker)
    source = known[0] if parameters.is_auto else _supported(parameters.source, known)
    target = _supported(parameters.target, known)
    if (source, target) != known:
        wanted, read = (f"{language_name(code)} ({code})" for code in (target, source))
        raise HTTPException(400, f"{wanted} is not available as a target language from {read}")


def _supported(given: str, known: tuple[str, str]) -> str:
    if code := find_language(given, known):
        return code
    raise HTTPException(400, f"{given} is not supported")


async def _detect(text: str, worker: Worker) -> list[DetectedLanguage]:
    found = await to_thread.run_sync(detect, text, _pair(worker))
    return [DetectedLanguage(confidence=confidence, language=code) for code, confidence in found]


def _pair(worker: Worker) -> tuple[str, str]:
    return worker.engine.source_lang, worker.engine.target_lang
