"""What the endpoint for programs takes, made of ``request.LIMITS``, ``TEXTS`` and ``ABOUT``."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import gradio as gr

from musicgen_space.audio.files import FORMATS
from musicgen_space.backends.base import Backend
from musicgen_space.request import (
    ABOUT,
    CLIP_LIMITS,
    LIMITS,
    MAX_PROMPT_CHARACTERS,
    TEXTS,
    Limit,
)

__all__ = ["Parameter", "parameters_of"]

_EXAMPLE = "upbeat funk with brass"  # of a prompt
# A file as Gradio describes files, without what it says to programmers of Gradio.
_FILE = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "what an upload answered"},
        "meta": {"type": "object", "properties": {"_type": {"const": "gradio.FileData"}}},
    },
    "required": ["path"],
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an endpoint, for Python and as JSON Schema; required without a default."""

    kind: Any
    about: str
    schema: dict[str, Any]
    default: Any = inspect.Parameter.empty

    @property
    def example(self) -> Any:
        """What it may be, for snippets of code: the default, if there is one."""
        return _EXAMPLE if self.default is inspect.Parameter.empty else self.default


def parameters_of(backends: dict[str, Backend]) -> dict[str, Parameter]:
    """What ``generate`` takes, by name, in order."""
    required, *texts = TEXTS
    return {
        required: _text(required, minLength=1),
        **{name: _number(name, backends) for name in LIMITS if name != "variations"},
        **{name: _text(name, default="") for name in texts},
        **{name: _file(name, limit) for name, limit in CLIP_LIMITS.items()},
        "model": Parameter(
            str, "one of the backend's models; empty: its default", {"type": "string"}, ""
        ),
        "backend": _one_of([*backends], "where the music is made"),
        "format": _one_of([*FORMATS], "of the sound file"),
    }


def _text(name: str, default: Any = inspect.Parameter.empty, **limits: int) -> Parameter:
    about = f"{ABOUT[name]}; at most {MAX_PROMPT_CHARACTERS} characters"
    schema = {"type": "string", **limits, "maxLength": MAX_PROMPT_CHARACTERS}
    return Parameter(str, about, schema, default)


def _number(name: str, backends: dict[str, Backend]) -> Parameter:
    """A number within what one of the backends can do; which can do less says so when asked."""
    limit = max((each.limits[name] for each in backends.values()), key=lambda each: each.maximum)
    kind, called = (int, "integer") if limit.whole else (float, "number")
    schema = {"type": called, "minimum": kind(limit.minimum), "maximum": kind(limit.maximum)}
    return Parameter(kind, f"{limit.range}; {ABOUT[name]}", schema, kind(limit.default))


def _file(name: str, limit: Limit) -> Parameter:
    return Parameter(gr.FileData, f"{ABOUT[name]}; {limit.range} long", _FILE, None)


def _one_of(names: list[str], about: str) -> Parameter:
    """A choice of which the first is the default."""
    schema = {"type": "string", "enum": names}
    return Parameter(str, f"{about}: {', '.join(names)}", schema, names[0])
