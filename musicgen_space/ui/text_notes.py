"""A line below each text field: what of it the model that is chosen can't read.

Its parts lie beside this file: ``text_notes.html`` (structure), ``text_notes.js`` (behaviour),
``page.css`` (looks).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen_space.alphabet import remark
from musicgen_space.backends.base import Backend
from musicgen_space.request import MAX_PROMPT_CHARACTERS
from musicgen_space.ui.controls import QUIET
from musicgen_space.ui.languages import script

__all__ = ["TextNotes"]

# The server has no part in it: the note itself asks, once nobody types for a moment.
_WITH_PLACE = "(text, backend, model) => ({ text, backend, model })"


class TextNotes:
    """Notes below text fields, of a page over ``backends``."""

    def __init__(self, backends: Mapping[str, Backend]) -> None:
        self._backends = backends
        self._notes: list[tuple[gr.Textbox, gr.HTML]] = []

    def below(self, field: gr.Textbox) -> None:
        """Add a note here, for ``field``; it is empty while there is nothing to tell."""
        here = Path(__file__).parent

        def remarks(asked: Any) -> str:
            return self._remark(asked)

        note = gr.HTML(
            None,
            html_template=(here / "text_notes.html").read_text(encoding="utf-8"),
            js_on_load=script("text_notes.js"),
            server_functions=[remarks],
            apply_default_css=False,
            elem_classes="text-note-of",
        )
        self._notes.append((field, note))

    def wire(self, backend: gr.Radio, model: gr.Dropdown) -> None:
        """A note changes with its field, and with what reads that."""
        for field, note in self._notes:
            for event in (field.change, backend.change, model.change):
                event(None, [field, backend, model], note, js=_WITH_PLACE, **QUIET)

    def _remark(self, asked: Any) -> str:
        """What a note says; nothing in ``asked`` is trusted."""
        asked = asked if isinstance(asked, dict) else {}
        backend = self._backends.get(str(asked.get("backend")))
        knows = backend.reader(str(asked.get("model"))) if backend else None
        text = str(asked.get("text") or "")[:MAX_PROMPT_CHARACTERS]
        return remark(text, knows) if knows else ""
