"""Seed and model: in sight where there is room, on a phone behind a line that says what they are.

The line's parts lie beside this file: ``summary.html`` (structure), ``summary.js`` (behaviour),
``form.css`` (looks).
"""

from __future__ import annotations

import gradio as gr

from musicgen_space.backends.base import Backend
from musicgen_space.page.form.fields import QUIET, model_field, seed_field
from musicgen_space.page.widget import widget
from musicgen_space.request import LIMITS

__all__ = ["particulars"]


def particulars(backend: Backend, last_seed: gr.State) -> tuple[gr.Slider, gr.HTML, gr.Dropdown]:
    """→ the seed, whether it is to be kept, and the model, of the backend that is first shown."""
    first = {"model": backend.models()[0].name, "seed": LIMITS["seed"].default}
    summary = widget(first, "form/summary.html", "form/summary.js", elem_id="summary")
    with gr.Column(elem_id="particulars"):
        seed, keep = seed_field(last_seed)
        model = model_field(backend)
    # The server has no part in it.
    as_shown = "(model, seed) => ({ model, seed })"
    gr.on([model.change, seed.change], None, [model, seed], summary, js=as_shown, **QUIET)
    return seed, keep, model
