"""DeepL v2, as its official clients speak it: `/v2/translate`, `/v2/languages`, `/v2/usage`, and no glossaries.

What it owns: its answers, its wording of errors (users search for it, official clients' tests match it), its codes of
languages. What it must not know: engines and models, beyond the worker it is given.
Why GET and POST do the same: old clients send GET, and official ones send a form body with it.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from service.access import admit, get_access, identify
from service.deepl_schemas import (
    MAX_TEXTS,
    DeepLError,
    DeepLLanguage,
    Glossaries,
    GlossaryPairs,
    LanguagesParameters,
    TranslateParameters,
    Translation,
    Translations,
    UsageAnswer,
)
from service.deps import Worker, WorkerDep
from service.forms import read_fields, read_json
from service.languages import language_name
from service.markup import MarkupError, translate_markup
from service.openapi import in_body_or_query

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": DeepLError, "description": "A parameter is missing, unknown or not supported"},
    403: {"model": DeepLError, "description": "A key is missing or not valid"},
    404: {"model": DeepLError, "description": "There is no such glossary"},
    413: {"model": DeepLError, "description": "The request is too large"},
    429: {"model": DeepLError, "description": "Too many requests; `Retry-After` says when to come again"},
    456: {"model": DeepLError, "description": "The quota is used up"},
    500: {"model": DeepLError, "description": "Our fault"},
    503: {"model": DeepLError, "description": "It took too long, or the model is being loaded"},
}
router = APIRouter(prefix="/v2", tags=["DeepL v2"], responses=_REFUSALS)

MAX_BYTES = 128 * 1024
"""Of a request's body."""
UNLIMITED = 1_000_000_000_000
"""The limit that DeepL shows those who have none."""
VARIANTS = {
    "EN": {"EN-GB": "English (British)", "EN-US": "English (American)"},
    "PT": {"PT-BR": "Portuguese (Brazilian)", "PT-PT": "Portuguese (European)"},
}
"""Targets that official clients ask for in place of the plain language, the one that the model knows."""
_WORDS = {
    ("text", "too_short"): "Parameter 'text' not specified",
    ("text", "too_long"): f"Too many texts: a request may have at most {MAX_TEXTS}.",
    ("tag_handling", "literal_error"): "Parameter 'tag_handling' is invalid.",
    ("type", "literal_error"): "Parameter 'type' is invalid. 'source' and 'target' are valid values.",
}
"""By parameter and pydantic's name of the problem, where it is not `Value for '...' not supported.`"""

Parameters = TypeVar("Parameters", bound=BaseModel)


async def read_translate_parameters(request: Request) -> TranslateParameters:
    """The parameters of a translation."""
    return await _read(request, TranslateParameters)


async def read_languages_parameters(request: Request) -> LanguagesParameters:
    """The parameters of a list of languages."""
    return await _read(request, LanguagesParameters)


@router.get(
    "/translate", response_model_exclude_none=True, openapi_extra=in_body_or_query(TranslateParameters, body=False)
)
@router.post("/translate", response_model_exclude_none=True, openapi_extra=in_body_or_query(TranslateParameters))
async def translate(
    request: Request, parameters: Annotated[TranslateParameters, Depends(read_translate_parameters)], worker: WorkerDep
) -> Translations:
    """Translate up to 50 texts.

    The model translates from one language, so nothing is detected: `detected_source_language` is that language.
    """
    _check_languages(parameters, worker)
    _check_promises(parameters)
    characters = sum(map(len, parameters.text))
    if characters > worker.settings.max_text_chars:
        raise HTTPException(413, f"Request too large: its texts exceed {worker.settings.max_text_chars} characters.")
    await admit(request, characters=characters, texts=len(parameters.text))
    split_sentences = parameters.split_sentences
    try:
        translations = await translate_markup(
            worker.translate,
            parameters.text,
            kind=parameters.tag_handling or "text",
            ignore_tags=parameters.ignore_tags,
            unwrap=None if split_sentences is None else split_sentences != "1",
        )
    except MarkupError as error:
        raise HTTPException(400, f"Tag handling parsing failed, please check input. ({error})") from None
    return Translations(
        translations=[
            Translation(
                detected_source_language=worker.engine.source_lang.upper(),
                text=translation,
                billed_characters=len(text),
                model_type_used=parameters.model_type,
                tag_handling_version=parameters.tag_handling_version if parameters.tag_handling else None,
            )
            for text, translation in zip(parameters.text, translations, strict=True)
        ]
    )


@router.get(
    "/languages", response_model_exclude_none=True, openapi_extra=in_body_or_query(LanguagesParameters, body=False)
)
@router.post("/languages", response_model_exclude_none=True, openapi_extra=in_body_or_query(LanguagesParameters))
async def languages(
    request: Request, parameters: Annotated[LanguagesParameters, Depends(read_languages_parameters)], worker: WorkerDep
) -> list[DeepLLanguage]:
    """The languages of texts, or those to translate into."""
    await identify(request)
    if parameters.type == "source":
        code = worker.engine.source_lang
        return [DeepLLanguage(language=code.upper(), name=language_name(code))]
    code = worker.engine.target_lang
    targets = VARIANTS.get(code.upper(), {code.upper(): language_name(code)})
    return [DeepLLanguage(language=key, name=name, supports_formality=False) for key, name in targets.items()]


@router.get("/usage")
@router.post("/usage")
async def usage(request: Request) -> UsageAnswer:
    """What was translated this month, by this key."""
    used = get_access(request).used(await identify(request))
    return UsageAnswer(character_count=used.characters, character_limit=used.characters_per_month or UNLIMITED)


@router.get("/glossary-language-pairs")
async def glossary_language_pairs() -> GlossaryPairs:
    """None; there all the same, because Weblate asks for them before it translates."""
    return GlossaryPairs()


@router.get("/glossaries")
async def glossaries() -> Glossaries:
    """None, likewise."""
    return Glossaries()


async def _read(request: Request, model: type[Parameters]) -> Parameters:
    """The parameters of a request, from a JSON body, else from query string and form together.

    Raises:
        HTTPException: 400 in DeepL's words, never with the value, which may be the text; 413 for a large body.
    """
    if len(await request.body()) > MAX_BYTES:
        raise HTTPException(413, f"Request too large: it exceeds {MAX_BYTES} bytes.")
    values = await read_json(request)
    if values is None:
        values = _of_fields(await read_fields(request), model)
    try:
        return model.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name, kind = str(problem["loc"][0]), problem["type"]
        is_missing = kind == "missing"
        words = f"Parameter '{name}' not specified" if is_missing else f"Value for '{name}' not supported."
        raise HTTPException(400, _WORDS.get((name, kind), words)) from None


def _of_fields(fields: list[tuple[str, str]], model: type[BaseModel]) -> dict[str, Any]:
    """A form's values; a list is a field that is sent several times, if only once."""
    values: dict[str, Any] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    known = model.model_fields
    lists = {name for name, field in known.items() if field.annotation == list[str]}
    return {name: value if name in lists or len(value) > 1 else value[0] for name, value in values.items()}


def _check_languages(parameters: TranslateParameters, worker: Worker) -> None:
    source, target = worker.engine.source_lang.upper(), worker.engine.target_lang.upper()
    if parameters.target_lang.upper() not in (target, *VARIANTS.get(target, ())):
        raise HTTPException(400, "Value for 'target_lang' not supported.")
    if parameters.source_lang and parameters.source_lang.upper() != source:
        raise HTTPException(400, "Value for 'source_lang' not supported.")


def _check_promises(parameters: TranslateParameters) -> None:
    """Refuse what would be promised and not kept: who asked for a term or a tone must know that he did not get it."""
    if parameters.formality in ("more", "less"):
        raise HTTPException(400, f"Target language '{parameters.target_lang.upper()}' doesn't support formality.")
    if parameters.glossary_id or parameters.glossary_ids:
        if parameters.glossary_id and parameters.glossary_ids:
            raise HTTPException(400, "Parameters 'glossary_id' and 'glossary_ids' exclude each other.")
        if not parameters.source_lang:
            raise HTTPException(400, "Use of a glossary requires the source_lang parameter to be specified")
        raise HTTPException(404, "Glossary not found: this server has none.")
    for name in ("style_id", "translation_memory_id", "custom_instructions"):
        if getattr(parameters, name):
            raise HTTPException(400, f"Parameter '{name}' is not supported by this server.")
