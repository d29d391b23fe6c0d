"""What Segmind's API says, and how: bodies, headers and limits, for this server and its stand-in.

From its pages on ``meta-musicgen-medium``, on serverless and asynchronous calls and on accounts,
as of November 2026. Knows nothing of keys, jobs or music.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from starlette.responses import HTMLResponse, JSONResponse, Response

__all__ = [
    "MODEL",
    "Refused",
    "error",
    "failed_job",
    "insufficient_credits",
    "invalid_value",
    "job_links",
    "job_result",
    "job_status",
    "media_type",
    "missing_field",
    "no_balance",
    "page",
    "parsed",
    "rate_limited",
    "receipt_headers",
    "unknown_key",
    "unknown_model",
    "unknown_request",
    "unusable_key",
    "wrong_content_type",
]

MODEL = "meta-musicgen-medium"


class Refused(Exception):
    """Ends the handling of a request with a response."""

    def __init__(self, response: Response) -> None:
        self.response = response


def error(status: int, message: str, description: str | None = None) -> Response:
    """The envelope of errors; with a description, the one of authentication."""
    envelope: dict[str, Any] = {"error": message}
    if description:
        envelope |= {"error_description": description, "status_code": status}
    return JSONResponse(envelope, status)


def page(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """405 and what gateways say is HTML."""
    return HTMLResponse(f"<html><h1>{status}</h1></html>", status, headers)


def unknown_key() -> Response:
    """401, where there is no key or not one of theirs."""
    return error(401, "Invalid or missing API key")


def unusable_key(why: str) -> Response:
    """401, where it was a key once."""
    return error(401, "invalid_token", why)


def unknown_model(model: str) -> Response:
    """404."""
    return error(404, f"Model {model} not found")


def unknown_request() -> Response:
    """404, also where a job is somebody else's or its record has expired."""
    return error(404, "Request not found")


def no_balance() -> Response:
    """404: the account has no balance record."""
    return error(404, "No credits found for the user")


def wrong_content_type() -> Response:
    """406, of its three causes the first."""
    return error(406, "Invalid content type")


def insufficient_credits(balance: float, price: float) -> Response:
    """406, the second one."""
    return error(406, f"Insufficient credits: balance {balance:g}, price {price:g}")


def invalid_value(why: str) -> Response:
    """406, the third one: ``why`` names the field."""
    return error(406, f"Invalid value for parameter: {why}")


def missing_field(name: str) -> Response:
    """400."""
    return error(400, f"Missing required field: {name}")


def rate_limited(resets_at: float, message: str = "Rate limit exceeded") -> Response:
    """429, until a Unix time."""
    response = error(429, message)
    moment = datetime.fromtimestamp(resets_at, UTC)
    response.headers["x-rate-limit-reset-at-utc"] = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    return response


def parsed(body: bytes) -> dict[str, Any]:
    """A body's JSON object; raises ``Refused`` with a 400 for anything else."""
    try:
        fields = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refused(error(400, "Malformed request body"))
    return fields


def receipt_headers(
    cost: float, credits_left: float | None, request_id: str, seconds: float, seed: object
) -> dict[str, str]:
    """What a billed answer of v1 says about itself; money in credits."""
    known: dict[str, object] = {
        "x-cost": cost,
        "x-remaining-credits": credits_left,
        "x-request-id": request_id,
        "x-generation-time": round(seconds, 3),
        "x-seed-value": seed,
    }
    return {name: f"{value}" for name, value in known.items() if value is not None}


def job_links(address: str, status_url: str = "") -> dict[str, str]:
    """What v2 says to a new job, which is followed at ``address``."""
    status_url = status_url or f"{address}/status"
    return {
        "request_id": address.rpartition("/")[2],
        "status": "QUEUED",
        "poll_url": status_url,
        "status_url": status_url,
        "response_url": address,
    }


def job_status(request_id: str, status: str) -> dict[str, Any]:
    """What v2 says of a job that hasn't failed."""
    return {"status": status, "request_id": request_id, "metrics": {}}


def failed_job(why: str) -> Response:
    """422: how the status and the result of a failed job are served."""
    return JSONResponse({"status": "FAILED", "error": why, "metrics": {}}, 422)


def job_result(
    output: str | list[str],
    cost: float,
    credits_left: float | None,
    inference_seconds: float,
    queue_seconds: float,
) -> dict[str, Any]:
    """What v2 says of a job that is done; ``output`` is the file's address."""
    metrics: dict[str, float] = {
        "cost": cost,
        "inference_time": round(inference_seconds, 3),
        "queue_time": round(queue_seconds, 3),
        "total_time": round(inference_seconds + queue_seconds, 3),
    }
    if credits_left is not None:
        metrics["remaining_credits"] = credits_left
    return {"status": "COMPLETED", "output": output, "metrics": metrics}


def media_type(format_name: str) -> str:
    """The Content-Type of a file of sound."""
    return "audio/mpeg" if format_name == "mp3" else f"audio/{format_name}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
