"""The fields of a wish: prompt, model, length, seed, and what others are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from musicgen_space.backends.base import Backend
from musicgen_space.page.i18n.translate import say
from musicgen_space.page.widget import widget
from musicgen_space.request import (
    DOCUMENTED_DURATION,
    LIMITS,
    MAX_PROMPT_CHARACTERS,
    TEXTS,
    Limit,
    draw_seed,
)
from musicgen_space.take import FINISH_LIMITS

__all__ = [
    "FIELDS",
    "LONGER",
    "QUIET",
    "SLIDERS",
    "element_id",
    "folded",
    "is_obeyed",
    "model_choices",
    "model_field",
    "number_fields",
    "prompt_field",
    "seed_field",
    "slider",
]

# Handlers are for this page: not part of the API, and progress has words of its own.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

# The fields of the page for a request, besides its prompt and its clips, in a wish's order.
FIELDS = (*LIMITS, *TEXTS[1:])
# How far the page's slider of the length goes: not more than 30 s is documented.
LONGER = "longer"
# The limits of what the page shows as numbers at first, by field.
SLIDERS: dict[str, Limit] = {**LIMITS, "duration": DOCUMENTED_DURATION}


def prompt_field() -> gr.Textbox:
    """Where the music is described."""
    return gr.Textbox(
        label=say("Describe the music"),
        placeholder=say("lo-fi music with a soothing melody"),
        lines=2,
        max_lines=8,
        max_length=MAX_PROMPT_CHARACTERS,
        elem_id="prompt",
    )


def model_field(backend: Backend) -> gr.Dropdown:
    """The models of the backend that the page opens with."""
    choices = model_choices(backend)
    return gr.Dropdown(choices, value=choices[0][1], label=say("Model"), elem_id="model")


def model_choices(backend: Backend) -> list[tuple[str, str]]:
    """A backend's models as a list to choose from."""
    return [(f"{choice.name} ({choice.about})", choice.name) for choice in backend.models()]


def seed_field(last_seed: gr.State) -> tuple[gr.Slider, gr.HTML]:
    """The seed with its dice and the way back to the last one; whether it is to be kept."""
    with gr.Row(elem_id="seed-row"):
        seed = slider("seed", say("Seed"), say("Same seed, same music. −1: a new one each time."))
        keep = widget(False, "form/seed_tools.html", "form/seed_tools.js", elem_id="keep-seed")
    keep.retry(draw_seed, seed, seed, queue=False, **QUIET)
    keep.undo(lambda used: used, last_seed, seed, queue=False, **QUIET)
    return seed, keep


def folded(label: str, *, elem_id: str, visible: bool = True) -> gr.Accordion:
    """A section that is closed at first, with its fields there from the start.

    With ``open=False`` Gradio 6.31 makes the fields when the section is opened, and gives them
    their first values once more a frame later: in a busy browser that takes back what was typed.
    It looks for ``False`` itself, so 0 closes the section and no more.
    """
    closed: Any = 0
    return gr.Accordion(label, open=closed, elem_id=elem_id, visible=visible)


def slider(
    name: str, label: str, info: str | None = None, limits: Mapping[str, Limit] = SLIDERS
) -> gr.Slider:
    """A slider for one field of a request, or of what has ``limits``, within its own."""
    limit = limits[name]
    return gr.Slider(
        limit.minimum,
        limit.maximum,
        value=limit.default,
        step=limit.step,
        label=label,
        info=info,
        elem_id=element_id(name),
    )


def number_fields() -> gr.HTML:
    """Nothing to see: it names the page's numbers for readers, and completes what is typed."""
    limits = {**SLIDERS, **FINISH_LIMITS}
    defaults = {element_id(name): f"{limit.default:g}" for name, limit in limits.items()}
    return widget(None, "form/numbers.js", defaults=defaults, elem_id="numbers")


def element_id(name: str) -> str:
    """A field's name as that of its element."""
    return name.replace("_", "-")


def is_obeyed(field: str, backend: Backend) -> bool:
    """Whether one of ``FIELDS``, or ``LONGER``, has an effect on a backend."""
    if field == LONGER:
        return backend.limits["duration"].maximum > DOCUMENTED_DURATION.maximum
    return field in backend.knobs
