"""What the OpenAPI description says of the endpoints; they read their bodies themselves."""

from __future__ import annotations

from typing import Any

from musicgen_space.audio.files import FORMATS
from musicgen_space.request import ABOUT, CLIP_LIMITS, LIMITS, MAX_PROMPT_CHARACTERS, TEXTS
from musicgen_space.server.api.contract import media_type
from musicgen_space.server.jobs.order import FIELDS

__all__ = [
    "AUDIO",
    "CREDITS",
    "FILE",
    "MODELS",
    "RESULT",
    "STATUS",
    "SUBMISSION",
    "described",
    "generation",
    "json_of",
    "responses",
    "sound",
]

_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": _TEXT,
        "error_description": _TEXT,
        "status_code": {"type": "integer"},
    },
}
_STATUS = {
    "type": "object",
    "required": ["status", "metrics"],
    "properties": {
        "status": {"enum": ["QUEUED", "PROCESSING", "COMPLETED", "FAILED"]},
        "request_id": _TEXT,
        "error": _TEXT,
        "output": {"type": "string", "format": "uri"},
        "metrics": {"type": "object", "additionalProperties": _NUMBER},
    },
}
_PLAIN = r"[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*"  # no control characters
_VISIBLE = r"[^\s\u0000-\u001f\u007f-\u009f]"
_LINKS = ("poll_url", "status_url", "response_url")
_ABOUT = {
    400: "The body is no JSON object, or a field is missing",
    401: "There is no key, or none that may be used",
    402: "There are too few credits",
    403: "The key may not be used for this",
    404: "There is no such model, request, file or balance",
    405: "Another verb",
    406: "The type of the body, a parameter, or too few credits",
    409: "The Idempotency-Key is another request's, or of one that is being made",
    408: "The body did not come in time",
    413: "The body is too large",
    415: "The type of the body",
    429: "Too many jobs, in this minute or waiting",
    500: "The music could not be made; nothing is billed",
    503: "The server is stopping, or its database is away; nothing is billed",
    504: "The music was not made in time; nothing is billed",
}
_HTML = (405, 504)


def json_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The content of a body of JSON."""
    return {"application/json": {"schema": schema}}


def sound(*others: str) -> dict[str, Any]:
    """The content of an answer that is a file."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return dict.fromkeys((*map(media_type, FORMATS), *others), binary)


def responses(
    content: dict[str, Any], about: str, *statuses: int, envelope: dict[str, Any] = _ERROR
) -> dict[int | str, dict[str, Any]]:
    """What is answered: 200 with ``content``, or one of the errors."""
    found: dict[int | str, dict[str, Any]] = {200: {"description": about, "content": content}}
    for status in sorted({*statuses, 405, 503}):
        kind = {"text/html": {"schema": _TEXT}} if status in _HTML else json_of(envelope)
        found[status] = {"description": _ABOUT[status], "content": kind}
    return found


def described(
    answers: dict[int | str, dict[str, Any]], body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The arguments of a route."""
    key: dict[str, Any] = {"security": [{"key": []}, {}]}
    if body is None:
        return {"responses": answers, "openapi_extra": key}
    name = {
        **{"name": "Idempotency-Key", "in": "header", "required": False},
        "description": "A name of the client's for this job: with it, it is made once",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }
    given = {"required": True, "content": json_of(body)}
    return {
        "responses": answers,
        "openapi_extra": {**key, "requestBody": given, "parameters": [name]},
    }


def _field(name: str) -> dict[str, Any]:
    about = {"description": ABOUT[name]}
    if name in CLIP_LIMITS:
        return {"type": "string", "contentEncoding": "base64", **about}
    if name in TEXTS:
        most = {"maxLength": MAX_PROMPT_CHARACTERS}
        pattern = f"^{_PLAIN}{_VISIBLE}{_PLAIN}$" if name == "prompt" else f"^{_PLAIN}$"
        return {"type": "string", "pattern": pattern, **most, **about}
    limit = LIMITS[name]
    kind = "integer" if limit.whole else "number"
    bounds = {"minimum": limit.minimum, "maximum": limit.maximum, "default": limit.default}
    return {"type": kind, **bounds, **about}


_WISH = {
    "type": "object",
    "required": ["prompt"],
    "additionalProperties": False,
    "properties": {name: _field(name) for name in (*FIELDS, *CLIP_LIMITS)},
}
_KEY = (401, 403)
_ORDERED = (*_KEY, 400, 404, 406, 408, 409, 413, 429)


def generation(about: str) -> dict[str, Any]:
    """A blocking call."""
    return described(responses(sound(), about, *_ORDERED, 500, 504), _WISH)


SUBMISSION = described(
    responses(
        json_of(
            {
                "type": "object",
                "required": ["request_id", "status", *_LINKS],
                "properties": {
                    "request_id": _TEXT,
                    "status": {"const": "QUEUED"},
                    **{name: {"type": "string", "format": "uri"} for name in _LINKS},
                },
            }
        ),
        "The job is taken",
        *_ORDERED,
    ),
    _WISH,
)
_FAILED: dict[int | str, dict[str, Any]] = {
    422: {"description": "The job failed", "content": json_of(_STATUS)}
}
_JOB = responses(json_of(_STATUS), "How far the job is", *_KEY, 404)
STATUS = described({**_JOB, **_FAILED})
RESULT = described({**_JOB, **_FAILED})
FILE = described(responses(sound(), "The file", 404))
CREDITS = described(
    responses(
        json_of({"type": "object", "required": ["credits"], "properties": {"credits": _NUMBER}}),
        "What the key can spend",
        *_KEY,
        404,
    )
)

_OPENAI_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "anyOf": [
                _TEXT,  # where the request came to no endpoint
                {
                    "type": "object",
                    "required": ["message", "type", "param", "code"],
                    "properties": {
                        "message": _TEXT,
                        "type": _TEXT,
                        "param": {"type": ["string", "null"]},
                        "code": {"type": "integer"},
                    },
                },
            ]
        }
    },
}
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["speech.audio.delta", "speech.audio.done", "error"]},
        "data": {**_TEXT, "description": "JSON: the event's type, audio in base64, error"},
    },
}
_NULL = {"type": "null"}


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, _NULL]}


_AUDIO_FIELDS = {
    "input": _field("prompt"),
    "model": _optional({**_TEXT, "description": "See /v1/models"}),
    "response_format": _optional({"enum": ["wav", "pcm", "flac", "ogg", "mp3"], "default": "wav"}),
    "stream_format": _optional(
        {
            "enum": ["audio", "sse"],
            "default": "audio",
            "description": "wav and pcm are sent while they are made: as they are, or in events",
        }
    ),
    "audio_length": _optional(_field("duration")),
    **{
        name: _optional(_field(name))
        for name in (*FIELDS, *CLIP_LIMITS)
        if name not in ("prompt", "duration")
    },
    "speed": _optional({"const": 1}),
    "audio_start": _optional({"const": 0}),
    "num_inference_steps": _NULL,
}
AUDIO = described(
    responses(
        sound("audio/pcm") | {"text/event-stream": {"schema": _EVENT}},
        "The sound, while it is made",
        *(400, *_KEY, 402, 404, 408, 409, 413, 415, 429, 500),
        envelope=_OPENAI_ERROR,
    ),
    {
        "type": "object",
        "required": ["input"],
        "additionalProperties": False,
        "properties": _AUDIO_FIELDS,
    },
)
MODELS = described(
    responses(
        json_of({"type": "object", "required": ["object", "data"]}),
        "The models",
        *_KEY,
        envelope=_OPENAI_ERROR,
    )
)
