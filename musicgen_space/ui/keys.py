"""The list of keys that the page knows, in a dialog: ``keys.html`` and ``keys.js``."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from musicgen_space.ui.languages import script

__all__ = ["list_of_keys"]


def list_of_keys() -> gr.HTML:
    """A quiet button that opens it; so does "?"."""
    here = Path(__file__).parent
    return gr.HTML(
        html_template=(here / "keys.html").read_text(encoding="utf-8"),
        js_on_load=script("keys.js"),
        apply_default_css=False,
        elem_id="keys",
    )
