"""Who may ask, and for how much: the one call that each route makes before it translates.

What it owns: where a key may stand in a request, the order of the checks, when what was admitted is charged.
What it must not know: how keys are kept, how limits are counted, how a dialect says no, what is translated.

A route calls `admit`; `Accounting`, around all routes, charges what was admitted just before its answer goes out, and
releases it if the answer is an error or never comes. So a route cannot forget the second half.

A key that is none of ours is no reason to refuse where none is required: DeepL's clients cannot go without one, and a
proxy may put its own `Authorization` before us. One that begins like ours and is not in force is refused in any case:
its holder believes to have limits that he has not, or it was revoked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any, NamedTuple

from fastapi import Request
from starlette._utils import get_route_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtkd.errors import UsageError
from service.forms import read_values
from service.keys import Key, KeyStore, is_ours
from service.rates import Rates
from service.refusals import refusals_of, refuse
from service.settings import Settings
from service.usage import Month, Reservation, UsageLog

logger = logging.getLogger(__name__)

_SCOPE = "mtkd.reservations"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: the holder of a key, or, without one, an address of which only a bucket is known."""

    key: Key | None
    rate_id: str = field(repr=False)

    @property
    def client(self) -> str:
        """Whose usage it is: the key's name; '' for all without a key together."""
        return self.key.name if self.key else ""


class Usage(NamedTuple):
    """What a client has used of its quota; `characters_per_month` None: there is no quota."""

    characters: int
    characters_per_month: int | None
    month: Month


class Access:
    """Keys, rates and usage of one service."""

    def __init__(self, settings: Settings) -> None:
        """Open the state folder, if there is one, and log who may ask.

        Raises:
            UsageError: the folder cannot be used, or keys are required where there can be none.
        """
        if settings.require_key and settings.data is None:
            raise UsageError("MTKD_REQUIRE_KEY needs MTKD_DATA, the folder of the keys, or nobody could ask")
        self._settings = settings
        self._keys = KeyStore(settings.data) if settings.data else None
        self._usage = UsageLog(settings.data) if settings.data else None
        self._rates = Rates()
        if settings.data is None:
            logger.info("access: there are no keys (MTKD_DATA is not set): everyone may ask, and nothing is counted")
        else:
            who = "only holders of a key may ask" if settings.require_key else "everyone may ask (MTKD_REQUIRE_KEY)"
            logger.info("access: %s; keys and usage are in %s", who, settings.data)

    def close(self) -> None:
        """Write what waits and close the files."""
        for store in (self._keys, self._usage):
            if store is not None:
                store.close()

    @property
    def has_keys(self) -> bool:
        """Whether there can be keys, so that it is worth looking for one."""
        return self._keys is not None

    def identify(self, request: Request, *, presented: str | None) -> Identity:
        """Who presents this string; see the function `identify`."""
        key = self._keys.find(presented) if self._keys and presented else None
        if key is not None:
            return Identity(key, f"key {key.name}")
        refusals = refusals_of(get_route_path(request.scope))
        if self._keys and presented and (self._settings.require_key or is_ours(presented)):
            raise refuse(refusals.invalid)
        if self._settings.require_key:
            raise refuse(refusals.missing)
        return Identity(None, self._rates.bucket(request.client.host if request.client else None))

    def admit(self, request: Request, *, presented: str | None, characters: int, texts: int) -> Identity:
        """Let in or refuse who presents this string; see the function `admit`."""
        identity = self.identify(request, presented=presented)
        refusals, settings, key = refusals_of(get_route_path(request.scope)), self._settings, identity.key
        reservations: list[Reservation] = request.scope[_SCOPE]
        per_minute = settings.characters_per_minute
        if per_minute is not None and characters > per_minute:
            # No wait would help, so a 429 would have the client try for ever.
            raise refuse(refusals.too_large, characters=characters, limit=per_minute)
        # The quota first, since only it can be given back.
        reservation = None
        if self._usage is not None:
            month = Month.of(datetime.now(UTC))
            reservation = self._usage.reserve(
                identity.client,
                month=month,
                texts=texts,
                characters=characters,
                characters_per_month=key.characters_per_month if key else None,
            )
            if reservation is None:
                wait_s = ceil((month.end - datetime.now(UTC)).total_seconds())
                raise refuse(refusals.quota, wait_s=wait_s)
        own = key.requests_per_minute if key else None
        wait_s = self._rates.admit(
            identity.rate_id,
            characters=characters,
            requests_per_minute=own or settings.requests_per_minute,
            characters_per_minute=per_minute,
        )
        if reservation is not None:
            # From here on `Accounting` has it, whatever comes.
            reservations.append(reservation)
        if wait_s:
            raise refuse(refusals.rate, wait_s=wait_s)
        return identity

    def used(self, identity: Identity) -> Usage:
        """What a client has used this month, the requests being translated included; 0 without a state folder."""
        month = Month.of(datetime.now(UTC))
        characters = self._usage.used(identity.client, month) if self._usage else 0
        return Usage(characters, identity.key.characters_per_month if identity.key else None, month)

    async def settle(self, reservations: list[Reservation], *, is_answered: bool) -> None:
        """Charge what was answered, and return when that is on disk; forget what was not. Empties the list."""
        usage = self._usage
        taken = [reservations.pop() for _ in range(len(reservations))]
        if usage is None or not taken:
            return
        if is_answered:
            await usage.charge(taken)
        else:
            for reservation in taken:
                usage.release(reservation)


class Accounting:
    """Settles what a request's route had admitted, before the first byte of its answer; pure ASGI."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a `send` that settles."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reservations: list[Reservation] = []
        scope[_SCOPE] = reservations

        async def settle(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._access.settle(reservations, is_answered=message["status"] < 400)
            await send(message)

        try:
            await self._app(scope, receive, settle)
        finally:
            await self._access.settle(reservations, is_answered=False)


async def admit(request: Request, *, characters: int, texts: int) -> Identity:
    """Let a request in, or refuse it: the call that every route makes once it knows its texts, before it translates.

    `characters` are those of all texts together (0 and 0 texts for what is not translated, as in a detection: it
    counts as a request only). A request is one request, however many texts it has.

    Raises:
        HTTPException: no key or a bad one, too many requests or characters a minute, a used up quota; with the status
            and in the words of the dialect that the path belongs to.
    """
    access = get_access(request)
    return access.admit(request, presented=await _presented_key(request, access), characters=characters, texts=texts)


async def identify(request: Request) -> Identity:
    """Who asks, for routes that only tell something, as DeepL's `/v2/usage`; nothing is counted or limited.

    Raises:
        HTTPException: no key where one is required, or a bad one; as above.
    """
    access = get_access(request)
    return access.identify(request, presented=await _presented_key(request, access))


def get_access(request: Request) -> Access:
    """The `Access` that `create_app` put into this app."""
    access: Access = request.app.state.access
    return access


async def _presented_key(request: Request, access: Access) -> str | None:
    """The key that a request presents, wherever a dialect puts it; one that begins like ours wins, else the first.

    Headers and query string first; the body is read (once more, which costs its parsing) only where they hold none.
    """
    found = [*_in_headers(request), *_in_parameters(_query(request))]
    if access.has_keys and not any(map(is_ours, found)):
        found += _in_parameters(await read_values(request))
    return next((key for key in found if is_ours(key)), found[0] if found else None)


def _in_headers(request: Request) -> Iterator[str]:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "deepl-auth-key") and credentials.strip():
        yield credentials.strip()
    for name in ("x-api-key", "x-goog-api-key"):
        if header := request.headers.get(name):
            yield header


def _in_parameters(values: Mapping[str, list[Any]]) -> Iterator[str]:
    """`api_key` is LibreTranslate's, `auth_key` old DeepL's, `key` Google's."""
    for name in ("api_key", "auth_key", "key"):
        yield from (value for value in values.get(name, []) if isinstance(value, str) and value)


def _query(request: Request) -> dict[str, list[Any]]:
    return {name: list(request.query_params.getlist(name)) for name in request.query_params}
