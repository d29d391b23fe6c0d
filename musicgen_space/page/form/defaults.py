"""What a folded section's title says of its fields, and the way back to what is usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gradio as gr

from musicgen_space.page.form.fields import QUIET
from musicgen_space.page.widget import widget

__all__ = ["back_to_defaults"]

_VALUES = "(...values) => [values]"


def back_to_defaults(
    fields: Sequence[gr.Component],
    backend: gr.Radio | None = None,
    obeyed: Mapping[str, Sequence[bool]] | None = None,
) -> None:
    """To be called inside of the section. ``obeyed``, by ``backend``: which have an effect.

    None of it asks the server.
    """
    usual = [field.value for field in fields]
    seen = [*fields, *([backend] if backend else [])]
    panel = widget(
        [field.value for field in seen],
        "form/defaults.html",
        "form/title.js",
        "form/defaults.js",
        defaults=usual,
        obeyed=obeyed or {},
        elem_classes="defaults-of",
    )
    gr.on([field.change for field in seen], None, seen, panel, js=_VALUES, **QUIET)
    back = f"(values) => values.slice(0, {len(usual)})"
    panel.submit(None, panel, [*fields], js=back, **QUIET)
