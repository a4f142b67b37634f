"""Google Cloud Translation v2, as its client libraries speak it.

What it owns: its parameters, its answers, its wording of errors. What it must not know: engines and models, beyond the
worker it is given.
Why GET and POST do the same: clients send long texts as POST with `X-HTTP-Method-Override: GET`, and Google's own
libraries send JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from service.access import admit, identify
from service.deps import Worker, WorkerDep
from service.detection import detect
from service.forms import read_values
from service.google_schemas import (
    DetectAnswer,
    Detection,
    Detections,
    DetectParameters,
    GoogleError,
    GoogleLanguage,
    GoogleLanguages,
    LanguagesAnswer,
    LanguagesParameters,
    TranslateAnswer,
    TranslateParameters,
    Translation,
    Translations,
)
from service.languages import find_language, language_name
from service.markup import translate_markup
from service.openapi import in_body_or_query

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": GoogleError, "description": "A parameter is missing, unknown or too large"},
    403: {"model": GoogleError, "description": "A key is missing or not valid"},
    413: {"model": GoogleError, "description": "The body is too large"},
    429: {"model": GoogleError, "description": "Too many requests; `Retry-After` says when to come again"},
    500: {"model": GoogleError, "description": "Our fault"},
    503: {"model": GoogleError, "description": "It took too long, or the model is being loaded"},
}
router = APIRouter(prefix="/language/translate/v2", tags=["Google Translation v2"], responses=_REFUSALS)

FORMATS = ("html", "text")
UNDETERMINED = "und"
_RELIABLE = 90.0
Parameters = TypeVar("Parameters", bound=BaseModel)


async def read_translate_parameters(request: Request) -> TranslateParameters:
    """The parameters of a translation."""
    return await _read(request, TranslateParameters)


async def read_detect_parameters(request: Request) -> DetectParameters:
    """The parameters of a detection."""
    return await _read(request, DetectParameters)


async def read_languages_parameters(request: Request) -> LanguagesParameters:
    """The parameters of the list of languages."""
    return await _read(request, LanguagesParameters)


@router.get("", response_model_exclude_none=True, openapi_extra=in_body_or_query(TranslateParameters, body=False))
@router.post("", response_model_exclude_none=True, openapi_extra=in_body_or_query(TranslateParameters))
async def translate(
    request: Request, parameters: Annotated[TranslateParameters, Depends(read_translate_parameters)], worker: WorkerDep
) -> TranslateAnswer:
    """Translate texts; as HTML unless `format` is `text`, so what stands for itself comes back as an entity.

    Without `source` the answer says which language each text seems to be in; it is translated in any case, because the
    model reads one language only and a short text is easily mistaken.
    """
    _check_size(parameters.q, worker)
    _check_values(parameters, worker)
    await admit(request, characters=sum(map(len, parameters.q)), texts=len(parameters.q))
    if parameters.format == "html":
        translations = await translate_markup(worker.translate, parameters.q, kind="html")
    else:
        translations = await worker.translate(parameters.q)
    sources = [None] * len(translations) if parameters.source else [await _likeliest(q, worker) for q in parameters.q]
    return TranslateAnswer(
        data=Translations(
            translations=[
                Translation(translatedText=text, detectedSourceLanguage=source and source[0])
                for text, source in zip(translations, sources, strict=True)
            ]
        )
    )


@router.get("/detect", openapi_extra=in_body_or_query(DetectParameters, body=False))
@router.post("/detect", openapi_extra=in_body_or_query(DetectParameters))
async def detect_languages(
    request: Request, parameters: Annotated[DetectParameters, Depends(read_detect_parameters)], worker: WorkerDep
) -> DetectAnswer:
    """The likeliest language of each text; `und` for one without words."""
    _check_size(parameters.q, worker)
    await admit(request, characters=0, texts=0)
    found = [await _likeliest(text, worker) for text in parameters.q]
    return DetectAnswer(
        data=Detections(
            detections=[
                [
                    Detection(
                        language=code if confidence else UNDETERMINED,
                        confidence=round(confidence / 100, 3),
                        isReliable=confidence >= _RELIABLE,
                    )
                ]
                for code, confidence in found
            ]
        )
    )


@router.get(
    "/languages", response_model_exclude_none=True, openapi_extra=in_body_or_query(LanguagesParameters, body=False)
)
@router.post("/languages", response_model_exclude_none=True, openapi_extra=in_body_or_query(LanguagesParameters))
async def languages(
    request: Request, parameters: Annotated[LanguagesParameters, Depends(read_languages_parameters)], worker: WorkerDep
) -> LanguagesAnswer:
    """The model's source and target language."""
    await identify(request)
    return LanguagesAnswer(
        data=GoogleLanguages(
            languages=[
                GoogleLanguage(language=code, name=language_name(code) if parameters.target else None)
                for code in _pair(worker)
            ]
        )
    )


async def _read(request: Request, model: type[Parameters]) -> Parameters:
    """A request's parameters; `q` is every value, the others their first one, and an empty one counts as missing.

    Raises:
        HTTPException: 400 with Google's words.
    """
    sent = await read_values(request)
    values = {name: given[0] for name, given in sent.items() if name != "q" and given and given[0] != ""}
    try:
        return model.model_validate(values | ({"q": sent["q"]} if sent.get("q") else {}))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        missing = "Required Text" if problem["loc"][0] == "q" else f"Required parameter: {problem['loc'][0]}"
        raise HTTPException(400, missing if problem["type"] == "missing" else "Invalid Value") from None


def _check_size(texts: list[str], worker: Worker) -> None:
    limits = worker.settings
    if len(texts) > limits.max_batch_texts:
        raise HTTPException(400, "Too many text segments")
    if sum(map(len, texts)) > limits.max_text_chars:
        raise HTTPException(400, "Text too long")


def _check_values(parameters: TranslateParameters, worker: Worker) -> None:
    known = _pair(worker)
    source = known[0] if parameters.source is None else find_language(parameters.source, known)
    target = find_language(parameters.target, known)
    if source is None or target is None or parameters.format not in FORMATS:
        raise HTTPException(400, "Invalid Value")
    if (source, target) != known:
        raise HTTPException(400, f"Bad language pair: {source}|{target}")


async def _likeliest(text: str, worker: Worker) -> tuple[str, float]:
    return (await to_thread.run_sync(detect, text, _pair(worker)))[0]


def _pair(worker: Worker) -> tuple[str, str]:
    return worker.engine.source_lang, worker.engine.target_lang
