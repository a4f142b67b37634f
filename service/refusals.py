"""How each dialect says that a request is not let in.

What it owns: the status and the words of such a refusal; a client acts upon the status, and official ones differ.
What it must not know: why a request is refused; the shape around the words is of `service.errors`.
"""

from __future__ import annotations

from typing import NamedTuple

from starlette.exceptions import HTTPException


class Refusal(NamedTuple):
    """A status and what is said with it."""

    status: int
    message: str


class Refusals(NamedTuple):
    """How a dialect says no; its clients act upon the status."""

    missing: Refusal
    invalid: Refusal
    rate: Refusal
    quota: Refusal
    too_large: Refusal


_NO_KEY, _BAD_KEY = "An API key is required; ask who runs this server for one", "The API key is not valid"
_QUOTA = "Quota for this billing period has been exceeded."
_TOO_LARGE = "{characters} characters exceed the {limit} that are admitted in a minute"

DIALECTS: dict[str, Refusals] = {
    **dict.fromkeys(
        ("/v2/", "/v3/"),
        Refusals(
            missing=Refusal(403, "Authorization failed: an authentication key is required"),
            invalid=Refusal(403, "Authorization failed: the authentication key is not valid"),
            rate=Refusal(429, "Too many requests; wait {wait_s} s before the next one"),
            quota=Refusal(456, _QUOTA),
            too_large=Refusal(413, _TOO_LARGE),
        ),
    ),
    "/language/": Refusals(
        missing=Refusal(403, _NO_KEY),
        invalid=Refusal(403, _BAD_KEY),
        rate=Refusal(429, "Rate limit exceeded; wait {wait_s} s"),
        quota=Refusal(429, _QUOTA),
        too_large=Refusal(400, _TOO_LARGE),
    ),
    "/v1/": Refusals(
        missing=Refusal(403, _NO_KEY),
        invalid=Refusal(403, _BAD_KEY),
        rate=Refusal(429, "Rate limit exceeded; wait {wait_s} s"),
        quota=Refusal(429, _QUOTA),
        too_large=Refusal(413, _TOO_LARGE),
    ),
    "/": Refusals(
        missing=Refusal(400, "Please contact the server operator to get an API key"),
        invalid=Refusal(403, "Invalid API key"),
        rate=Refusal(429, "Slowdown: wait {wait_s} s"),
        quota=Refusal(403, _QUOTA),
        too_large=Refusal(400, "Invalid request: request ({characters}) exceeds text limit ({limit})"),
    ),
}
"""By the beginning of a path, the longest first. A 429 says in `Retry-After` when to come again."""


def refusals_of(path: str) -> Refusals:
    """How the dialect that a path belongs to says no."""
    return next(refusals for start, refusals in DIALECTS.items() if path.startswith(start))


def refuse(refusal: Refusal, *, wait_s: int = 0, **values: int) -> HTTPException:
    """The error to raise; its words are filled in, and a 429 says in `Retry-After` when to come again."""
    headers = {"Retry-After": str(wait_s)} if refusal.status == 429 else None
    return HTTPException(refusal.status, refusal.message.format(wait_s=wait_s, **values), headers=headers)
