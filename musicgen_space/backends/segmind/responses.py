"""What Segmind's answers mean: bytes and headers in, sound, receipts and errors out.

Pure functions; no network here. Segmind's own pages disagree in places, so nothing that
a server says is taken for granted: not the media type, not JSON, not a number's type.
Whatever is shown of an answer is short, printable and without the key.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from musicgen_space import errors
from musicgen_space.audio.sniff import HEAD, describe_non_audio
from musicgen_space.backends.segmind.http import CUT, MAX_BYTES, TOO_LARGE, Response
from musicgen_space.key import ApiKey
from musicgen_space.request import shortened
from musicgen_space.take import Receipt

__all__ = [
    "JobLinks",
    "check_status",
    "check_whole",
    "job_links",
    "job_status",
    "parse_balance",
    "parse_file",
    "parse_receipt",
    "parse_result",
    "parse_seed",
    "reset_time",
    "server_message",
]

_SHOWN = 300  # characters of a server's message
_KEYS_PAGE = "https://cloud.segmind.com/console/api-keys"

_MEANINGS: Mapping[int, tuple[type[errors.SegmindError], str]] = {
    400: (errors.MalformedRequest, "Segmind could not read the request (400)."),
    401: (
        errors.KeyRefused,
        f"Segmind refused the API key (401). Copy yours again, or make one at {_KEYS_PAGE}.",
    ),
    403: (
        errors.AccessDenied,
        "This account or team may not call the model (403); trying again will not help.",
    ),
    404: (errors.NotFound, "Segmind knows no such model (404)."),
    405: (
        errors.WrongVerb,
        "The server does not take this kind of call (405): is SEGMIND_BASE_URL right?",
    ),
    410: (
        errors.ModelRetired,
        "Segmind has retired this model (410); choose another backend.",
    ),
    422: (errors.GenerationFailed, "Segmind ran the job and it failed (422)."),
    500: (
        errors.ServerFailed,
        "Segmind's server failed (500). Nothing was billed; try again, or change the prompt.",
    ),
    503: (
        errors.ServerFailed,
        "Segmind is not available just now (503). Nothing was billed; try again later.",
    ),
}
_GATEWAY = {502: "A gateway at Segmind was down", 504: "A gateway at Segmind timed out"}


@dataclass(frozen=True, slots=True)
class JobLinks:
    """Where a v2 job is followed."""

    request_id: str
    status_url: str
    response_url: str


def check_status(answer: Response, key: ApiKey | None) -> None:
    """Raise the error that ``answer``'s status stands for; success passes."""
    if answer.ok:
        return
    message = server_message(answer, key)
    quoted = f" It said: {message}" if message else ""
    if answer.status in _MEANINGS:
        error, meaning = _MEANINGS[answer.status]
        raise error(meaning + quoted)
    if answer.status > 500:
        meaning = _GATEWAY.get(answer.status, "A gateway at Segmind failed")
        raise errors.GatewayFailed(
            f"{meaning} ({answer.status}). What became of the job is unknown: "
            f"it may have been billed.{quoted}"
        )
    if answer.status == 406:
        raise _not_accepted(message)
    if answer.status == 429:
        raise _rate_limited(answer, quoted)
    raise errors.UnexpectedStatus(
        f"The server answered with HTTP {answer.status}, which the API does not use: "
        f"is SEGMIND_BASE_URL right?{quoted}"
    )


def _not_accepted(message: str) -> errors.NotAccepted:
    """The three causes of a 406, told apart by the message."""
    words = message.lower()
    if "content type" in words or "content-type" in words:
        return errors.ContentTypeRefused(
            f"The request's media type was not accepted (406): does a proxy change it? {message}"
        )
    if "insufficient" in words or ("credit" in words and "limit" not in words):
        return errors.InsufficientCredits(f"Not enough credits for a take (406). {message}")
    return errors.RequestDeclined(
        f"Segmind declined a parameter, or a team's spend limit is reached (406). {message}"
    )


def _rate_limited(answer: Response, quoted: str) -> errors.RateLimited:
    resets_at = reset_time(answer)
    when = "Try again in a minute."
    if resets_at is not None:
        seconds = max(0, math.ceil((resets_at - datetime.now(UTC)).total_seconds()))
        when = f"Try again at {resets_at:%Y-%m-%d %H:%M:%S} UTC, in {seconds} s."
    return errors.RateLimited(f"Too many calls (429). {when}{quoted}", resets_at)


def reset_time(answer: Response) -> datetime | None:
    """``x-rate-limit-reset-at-utc`` as a time; ISO 8601, an HTTP date and epoch seconds do."""
    text = answer.headers.get("x-rate-limit-reset-at-utc", "").strip()
    seconds = _number(text)
    try:
        if seconds is not None:  # milliseconds, when it would be centuries away otherwise
            return datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = parsedate_to_datetime(text)
        # "utc" is in the header's name, so a time without a zone is in UTC.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def check_whole(answer: Response) -> None:
    """Refuse a successful answer whose body is cut short, too large or empty."""
    if answer.body_error == TOO_LARGE:
        limit = MAX_BYTES // 2**20
        raise errors.ResultTooLarge(f"The answer is larger than {limit} MiB, so it was dropped.")
    if answer.body_error == CUT:
        raise errors.ResultCutShort("The connection ended in the middle of the answer.")
    if not answer.body.strip():
        raise errors.UnusableResult("The server reported success, but its answer is empty.")


def parse_result(answer: Response, key: ApiKey | None) -> bytes | str:
    """The sound file in a successful answer, or the URL where it lies.

    The bytes decide, not the media type. JSON may hold the sound as base64 (``audio``,
    ``image``) or its address (``output``, ``url``). Raises ``UnusableResult``.
    """
    check_whole(answer)
    document = _json_in(answer.body)
    if not isinstance(document, dict):
        return parse_file(answer, key)
    for name in ("output", "url"):
        url = _first_text(document.get(name))
        if url:
            return url
    for name in ("audio", "image"):
        text = _first_text(document.get(name))
        if text.startswith(("https://", "http://")):
            return text
        if text:
            return _from_base64(text)
    message = server_message(answer, key) or "neither a file nor an address is in it"
    raise errors.UnusableResult(f"The server reported success, but sent no sound: {message}")


def parse_file(answer: Response, key: ApiKey | None) -> bytes:
    """The body, if it may be a sound file; raises ``UnusableResult`` for anything else."""
    if not describe_non_audio(answer.body[:HEAD]):
        return answer.body
    # An echoed key must not show as hex either.
    start = key.redact_bytes(answer.body) if key else answer.body
    kind = _shown(answer.headers.get("content-type", "not given"), key)
    raise errors.UnusableResult(
        f"The server's answer is no sound file: its type is {kind}, "
        f"its first bytes are {start[:16].hex(' ')}."
    )


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise errors.UnusableResult("The server's answer has a sound that is no base64.") from None
    if describe_non_audio(data[:HEAD]):
        raise errors.UnusableResult(
            f"The server's answer holds no sound file: its first bytes are {data[:8].hex(' ')}."
        )
    return data


def job_links(answer: Response, key: ApiKey | None) -> JobLinks:
    """Where the v2 job that was just accepted is followed; raises ``UnusableResult``."""
    check_whole(answer)
    fields = _fields_in(answer)
    status_url = _first_text(fields.get("status_url")) or _first_text(fields.get("poll_url"))
    response_url = _first_text(fields.get("response_url"))
    if not status_url or not response_url:
        raise errors.UnusableResult(
            "Segmind accepted the job but did not say where to follow it. It may be billed."
        )
    return JobLinks(_shown(fields.get("request_id") or "", key), status_url, response_url)


def job_status(answer: Response) -> str:
    """QUEUED, PROCESSING, COMPLETED, FAILED, or "" for an answer that says none of it."""
    fields = _fields_in(answer)
    status = _first_text(fields.get("status")).upper()
    return status or ("COMPLETED" if fields.get("output") else "")


def parse_receipt(answer: Response, key: ApiKey | None) -> Receipt:
    """What the take cost: from the headers (v1) or the JSON's ``metrics`` (v2)."""
    fields = _fields_in(answer)
    metrics = fields.get("metrics") if isinstance(fields.get("metrics"), dict) else {}
    found = {**answer.headers, **fields, **(metrics or {})}
    return Receipt(
        cost=_first_number(found, "cost", "x-cost"),
        credits_left=_first_number(found, "remaining_credits", "x-remaining-credits"),
        request_id=_shown(found.get("request_id") or found.get("x-request-id") or "", key) or None,
        generation_seconds=_first_number(found, "inference_time", "x-generation-time"),
    )


def parse_seed(answer: Response, asked: int) -> int:
    """The seed that the server reports, where it is one that a request can hold."""
    seed = _number(answer.headers.get("x-seed-value"))
    return int(seed) if seed is not None and 0 <= seed <= 9999 and seed == int(seed) else asked


def parse_balance(answer: Response, key: ApiKey | None) -> float:
    """The balance; 0 for an account without a balance record, which is served as a 404."""
    if answer.status == 404 and "no credits" in server_message(answer, key).lower():
        return 0.0
    check_status(answer, key)
    balance = _number(_fields_in(answer).get("credits"))
    if balance is None:
        raise errors.UnexpectedStatus("The server did not say how many credits there are.")
    return balance


def server_message(answer: Response, key: ApiKey | None) -> str:
    """The message in an answer, fit to be shown; "" when there is none (an HTML page)."""
    document = _json_in(answer.body)
    if not isinstance(document, dict):
        plain = answer.headers.get("content-type", "").startswith("text/plain")
        return _shown(answer.body.decode("utf-8", "replace"), key) if plain else ""
    texts = [document.get(name) for name in ("error", "error_description", "message", "detail")]
    return ": ".join(_shown(text, key) for text in texts if text)


def _json_in(body: bytes) -> Any:
    """The JSON document in ``body``, or None."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _fields_in(answer: Response) -> dict[str, Any]:
    """The fields of the JSON object that the body is; none for anything else."""
    document = _json_in(answer.body)
    return document if isinstance(document, dict) else {}


def _shown(value: object, key: ApiKey | None) -> str:
    """A server's text as people see it: one line, printable, short, the key taken out."""
    text = value if isinstance(value, str) else json.dumps(value, default=repr)
    visible = (
        character
        for character in text
        if character.isspace() or unicodedata.category(character)[0] != "C"
    )
    line = " ".join("".join(visible).split())
    line = key.redact(line) if key else line
    return shortened(line, _SHOWN)


def _first_text(value: object) -> str:
    """``value``, or the first item of a list, if it is text."""
    first = value[0] if isinstance(value, list) and value else value
    return first.strip() if isinstance(first, str) else ""


def _first_number(found: Mapping[str, Any], *names: str) -> float | None:
    numbers = (_number(found.get(name)) for name in names)
    return next((number for number in numbers if number is not None), None)


def _number(value: object) -> float | None:
    """``value`` as a finite number, if it is one or spells one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
