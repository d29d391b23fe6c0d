"""The list of keys that the page knows, in a dialog: ``shortcuts.html`` and ``shortcuts.js``."""

from __future__ import annotations

import gradio as gr

from musicgen_space.page.widget import widget

__all__ = ["list_of_keys"]


def list_of_keys() -> gr.HTML:
    """A quiet button that opens it; so does "?"."""
    return widget(None, "keys/shortcuts.html", "remember.js", "keys/shortcuts.js", elem_id="keys")
