"""Errors in OpenAI's envelope, as programs for its endpoints read them."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse, Response

__all__ = ["envelope", "in_openai_s_words", "refusal"]

_TYPES = {
    **{400: "BadRequestError", 401: "AuthenticationError", 402: "InsufficientCreditsError"},
    **{403: "PermissionDeniedError", 404: "NotFoundError", 409: "ConflictError"},
    429: "RateLimitError",
}


def envelope(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    """The body of an error; ``param`` is the field that it is about."""
    kind = _TYPES.get(status, "BadRequestError" if status < 500 else "InternalServerError")
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def refusal(status: int, message: str, param: str | None = None) -> Response:
    """An answer with it."""
    return JSONResponse(envelope(status, message, param), status)


def in_openai_s_words(response: Response) -> Response:
    """A refusal of this server's in this envelope, with its headers."""
    said = json.loads(bytes(response.body))["error"]
    if not isinstance(said, str):
        return response
    status = response.status_code
    if status == 406:  # Segmind's for both
        status = 402 if said.startswith("Insufficient") else 415
    ours = refusal(status, said)
    for name, value in response.headers.items():
        if name in ("retry-after", "x-rate-limit-reset-at-utc"):
            ours.headers[name] = value
    return ours
