"""The length of a take: a slider that goes as far as is documented, or further when asked to."""

from __future__ import annotations

from typing import Any

import gradio as gr

from musicgen_space.backends.base import Backend
from musicgen_space.page.form.fields import LONGER, QUIET, is_obeyed
from musicgen_space.request import DOCUMENTED_DURATION, LIMITS

__all__ = ["length_shown", "wire_length"]


def length_shown(seconds: float) -> tuple[Any, bool]:
    """The slider for a length that was checked, and whether it goes further for that."""
    longer = seconds > DOCUMENTED_DURATION.maximum
    return gr.update(maximum=_most(longer), value=seconds), longer


def wire_length(
    backends: dict[str, Backend], backend: gr.Radio, longer: gr.Component, duration: gr.Component
) -> None:
    """The slider goes as far as is asked for, where the backend does: what is seen is made."""

    def bounded(name: str, asked: bool, seconds: float | None) -> list[Any]:
        further = asked and is_obeyed(LONGER, backends[name])
        most = _most(further)
        beyond = seconds is not None and seconds > most
        return [further, gr.update(maximum=most, **({"value": most} if beyond else {}))]

    for event in (backend.change, longer.change):
        event(bounded, [backend, longer, duration], [longer, duration], queue=False, **QUIET)


def _most(longer: bool) -> float:
    """Seconds at the slider's end."""
    return LIMITS["duration"].maximum if longer else DOCUMENTED_DURATION.maximum
