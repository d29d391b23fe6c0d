"""A line below each text field: what of it the model that is chosen can't read.

Its parts lie beside this file: ``text_notes.html`` (structure), ``text_notes.js`` (behaviour),
``prompt.css`` (looks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from musicgen_space.backends.base import Backend
from musicgen_space.engine.conditioners.alphabet import remark
from musicgen_space.message import as_json
from musicgen_space.page.form.fields import QUIET
from musicgen_space.page.widget import widget
from musicgen_space.request import MAX_PROMPT_CHARACTERS

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

        def remarks(asked: Any) -> Any:
            return self._remark(asked)

        note = widget(
            None,
            "prompt/text_notes.html",
            "prompt/text_notes.js",
            server_functions=[remarks],
            elem_classes="text-note-of",
        )
        self._notes.append((field, note))

    def wire(self, backend: gr.Radio, model: gr.Dropdown) -> None:
        """A note changes with its field, and with what reads that."""
        for field, note in self._notes:
            for event in (field.change, backend.change, model.change):
                event(None, [field, backend, model], note, js=_WITH_PLACE, **QUIET)

    def _remark(self, asked: Any) -> Any:
        """What a note says, for the scripts' ``told``; nothing in ``asked`` is trusted."""
        asked = asked if isinstance(asked, dict) else {}
        backend = self._backends.get(str(asked.get("backend")))
        knows = backend.reader(str(asked.get("model"))) if backend else None
        text = str(asked.get("text") or "")[:MAX_PROMPT_CHARACTERS]
        return as_json((knows and remark(text, knows)) or "")
