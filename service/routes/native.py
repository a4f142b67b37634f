"""The native API: what the other dialects have no words for.

What it owns: `/v1/`, its limits and its stream. What it must not know: engines and models, beyond the worker it is
given. Why it streams: a page of a long document is there to read while the rest is being translated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import islice
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from service import translation
from service.access import admit
from service.deps import Worker, WorkerDep
from service.native_schemas import (
    Alternative,
    LastLine,
    ModelResponse,
    SegmentLine,
    TextsRequest,
    TextsResponse,
    TranslatedSegment,
    TranslatedText,
)
from service.schemas import ErrorResponse
from service.translation import Options, StreamedSegment

NDJSON = "application/x-ndjson"


class _PlainErrors(APIRoute):
    """Words FastAPI's 422 as every other error, and without what was sent: it may be a text, and no valid one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with that one exception translated."""
        handle = super().get_route_handler()

        async def handle_plainly(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                problems = (f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
                raise HTTPException(422, "; ".join(islice(problems, 5))) from None

        return handle_plainly


router = APIRouter(prefix="/v1", tags=["native"], route_class=_PlainErrors)
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "All at once, or as a stream",
        "content": {
            NDJSON: {
                "schema": {"type": "string"},
                "example": '{"before":"","source":"Hello!","translation":"Hallo!","after":"","text":0,"segment":0}\n'
                '{"model":"0123456789ab","characters":6}\n',
            }
        },
    },
    400: {"model": ErrorResponse, "description": "The body is not JSON"},
    403: {"model": ErrorResponse, "description": "A key is missing, or is not valid"},
    413: {"model": ErrorResponse, "description": "The texts are too many or too long"},
    422: {"model": ErrorResponse, "description": "A parameter is missing, unknown, too large or of the wrong type"},
    429: {"model": ErrorResponse, "description": "Too many requests; `Retry-After` says when to come again"},
    500: {"model": ErrorResponse, "description": "Our fault"},
    503: {"model": ErrorResponse, "description": "It took too long, or the model is being loaded"},
}


@router.post("/translate", response_model=TextsResponse, response_model_exclude_none=True, responses=_RESPONSES)
async def translate_texts(parameters: TextsRequest, request: Request, worker: WorkerDep) -> TextsResponse | Response:
    """Translate texts, sentence by sentence.

    With `Accept: application/x-ndjson` the answer is a stream of JSON lines: each sentence as soon as it is done, with
    the index of its text, then one with the model's digest. A stream without that last line is incomplete.
    """
    _check_size(parameters, worker)
    characters = sum(map(len, parameters.texts))
    await admit(request, characters=characters, texts=len(parameters.texts))
    options = Options(alternatives=parameters.alternatives)
    if NDJSON in request.headers.get("accept", ""):
        lines = _lines(worker.stream(parameters.texts, options), worker, characters)
        # The first lines are waited for, so that what goes wrong at once still has a status of its own.
        first = await anext(lines)
        return StreamingResponse(_chain(first, lines), media_type=NDJSON)
    digest = worker.engine.digest
    translations = await worker.translate_full(parameters.texts, options)
    return TextsResponse(
        model=translations[0].digest if translations else digest,
        translations=[
            TranslatedText(
                translation=translated.text,
                characters=translated.characters,
                segments=[_shown(segment) for segment in translated.segments],
            )
            for translated in translations
        ],
    )


@router.get("/model", response_model_exclude_none=True)
async def describe_model(worker: WorkerDep) -> ModelResponse:
    """The model that translates: its bundle's manifest, with its scores on each domain's test set."""
    engine = worker.engine
    return ModelResponse(
        digest=engine.digest,
        engine=engine.name,
        source_lang=engine.source_lang,
        target_lang=engine.target_lang,
        manifest=engine.manifest,
    )


async def _lines(parts: AsyncIterator[list[StreamedSegment]], worker: Worker, characters: int) -> AsyncIterator[str]:
    digest = worker.engine.digest
    async for batch in parts:
        digest = batch[-1].digest
        yield "".join(
            _line(SegmentLine(text=part.text, segment=part.number, **_shown(part.segment).model_dump()))
            for part in batch
        )
    yield _line(LastLine(model=digest, characters=characters))


async def _chain(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for lines in rest:
        yield lines


def _line(value: SegmentLine | LastLine) -> str:
    return value.model_dump_json(exclude_none=True) + "\n"


def _shown(segment: translation.TranslatedSegment) -> TranslatedSegment:
    decoded = segment.score is not None
    return TranslatedSegment(
        before=segment.before,
        source=segment.source,
        translation=segment.translation,
        after=segment.after,
        score=segment.score,
        alternatives=[Alternative(**other._asdict()) for other in segment.alternatives] or None,
        flags=list(segment.flags) if decoded else None,
    )


def _check_size(parameters: TextsRequest, worker: Worker) -> None:
    limits, texts, characters = worker.settings, len(parameters.texts), sum(map(len, parameters.texts))
    if texts > limits.max_batch_texts:
        raise HTTPException(413, f"{texts} texts are more than {limits.max_batch_texts}: send fewer at a time")
    if characters > limits.max_text_chars:
        raise HTTPException(413, f"{characters} characters are more than {limits.max_text_chars}: send fewer at a time")
    if parameters.alternatives > limits.max_alternatives:
        raise HTTPException(422, f"body.alternatives: Input should be less than or equal to {limits.max_alternatives}")
