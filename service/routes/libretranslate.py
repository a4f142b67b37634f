"""LibreTranslate's dialect: `/translate`, `/languages`, `/health`.

What it owns: its parameters in their three forms (JSON, form body, query string), its wording of errors.
What it must not know: engines and models, beyond the worker it is given.
Why by hand: one parameter may come in any of the three forms, which FastAPI's own parameters cannot express.
"""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from service.deps import Worker, WorkerDep
from service.languages import language_name
from service.schemas import DetectedLanguage, ErrorResponse, Health, Language, TranslateRequest, TranslateResponse

router = APIRouter(tags=["LibreTranslate"])

AUTO = "auto"
AUTO_CONFIDENCE = 100.0
"""Nothing is detected: the model reads one language, and text in another would be translated as if it were that."""
_JSON = "application/json"
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


async def read_request(request: Request) -> TranslateRequest:
    """The parameters of a request, from a JSON body, else from query string and form together (the query first).

    Empty values count as missing, as in LibreTranslate. Outside JSON, line endings become newlines.

    Raises:
        HTTPException: 400 with LibreTranslate's words.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == _JSON or media_type.endswith("+json"):
        values = _parse_json(await request.body())
    else:
        fields = [*request.query_params.multi_items(), *await _form_fields(request, media_type)]
        values = {name: value.replace("\r\n", "\n").replace("\r", "\n") for name, value in reversed(fields)}
    try:
        return TranslateRequest.model_validate(
            {name: value for name, value in values.items() if value not in (None, "", [])}
        )
    except ValidationError as error:
        raise HTTPException(400, _in_their_words(error)) from None


_TRANSLATE_SCHEMA = TranslateRequest.model_json_schema()
_TRANSLATE_OPENAPI = {
    "requestBody": {
        "description": "The parameters; those of a form may also stand in the query string.",
        "content": {media_type: {"schema": _TRANSLATE_SCHEMA} for media_type in (_JSON, *_FORMS)},
    },
    "parameters": [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema["description"],
            "schema": {"type": "integer" if name == "alternatives" else "string"},
        }
        for name, schema in _TRANSLATE_SCHEMA["properties"].items()
    ],
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "A parameter is missing, unknown or too large"},
    413: {"model": ErrorResponse, "description": "The body is too large"},
    500: {"model": ErrorResponse, "description": "Our fault"},
}


@router.post("/translate", response_model_exclude_none=True, responses=_REFUSALS, openapi_extra=_TRANSLATE_OPENAPI)
async def translate(
    parameters: Annotated[TranslateRequest, Depends(read_request)], worker: WorkerDep
) -> TranslateResponse:
    """Translate a text, or a list of texts (JSON only).

    The model translates from one language. `source=auto` therefore detects nothing: it stands for that language, and
    `detectedLanguage` says so with a confidence of 100. `alternatives` above 0 is answered with empty lists. Markup
    (`format=html`) is not supported yet. `api_key` is ignored.
    """
    _check_limits(parameters, worker)
    _check_languages(parameters, worker)
    if parameters.format != "text":
        raise HTTPException(400, f"{parameters.format} format is not supported")
    translations = await worker.translate(parameters.texts)
    detected = DetectedLanguage(confidence=AUTO_CONFIDENCE, language=worker.engine.source_lang)
    is_auto, offers_none = parameters.source.lower() == AUTO, parameters.alternatives > 0
    if isinstance(parameters.q, str):
        return TranslateResponse(
            translatedText=translations[0],
            detectedLanguage=detected if is_auto else None,
            alternatives=[] if offers_none else None,
        )
    return TranslateResponse(
        translatedText=translations,
        detectedLanguage=[detected] * len(translations) if is_auto else None,
        alternatives=[[] for _ in translations] if offers_none else None,
    )


@router.get("/languages")
async def languages(worker: WorkerDep) -> list[Language]:
    """The languages, and into which each can be translated."""
    source, target = worker.engine.source_lang, worker.engine.target_lang
    return [
        Language(code=source, name=language_name(source), targets=[target]),
        Language(code=target, name=language_name(target), targets=[]),
    ]


@router.get("/health")
async def health() -> Health:
    """Whether the server answers; it does so while it translates."""
    return Health()


def _parse_json(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise HTTPException(400, "Invalid JSON format")
    return values


async def _form_fields(request: Request, media_type: str) -> list[tuple[str, str]]:
    if media_type == "multipart/form-data":
        async with request.form(max_files=0) as form:
            return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    if media_type == "application/x-www-form-urlencoded":
        # Not request.form(): it reads unescaped bytes as Latin-1, and `curl -d 'q=...'` sends plain UTF-8.
        try:
            return parse_qsl((await request.body()).decode(), keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            raise HTTPException(400, "Invalid request: the body is not UTF-8") from None
    return []


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
    limits = worker.settings
    texts, chars = len(parameters.texts), sum(map(len, parameters.texts))
    if texts > limits.max_batch_texts:
        raise HTTPException(400, f"Invalid request: request ({texts}) exceeds batch limit ({limits.max_batch_texts})")
    if chars > limits.max_text_chars:
        raise HTTPException(400, f"Invalid request: request ({chars}) exceeds text limit ({limits.max_text_chars})")


def _check_languages(parameters: TranslateRequest, worker: Worker) -> None:
    known = (worker.engine.source_lang, worker.engine.target_lang)
    source, target = parameters.source.lower(), parameters.target.lower()
    source = known[0] if source == AUTO else source
    for given, code in ((parameters.source, source), (parameters.target, target)):
        if code not in known:
            raise HTTPException(400, f"{given} is not supported")
    if (source, target) != known:
        wanted, read = f"{language_name(target)} ({target})", f"{language_name(source)} ({source})"
        raise HTTPException(400, f"{wanted} is not available as a target language from {read}")
