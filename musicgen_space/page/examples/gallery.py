"""Takes that musicgen-nano made and that everybody finds on the page, ready to play.

The cards' parts lie beside this file: ``gallery.html`` (structure), ``gallery.js``
(behaviour), ``gallery.css`` (looks); the takes are in ``examples/``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from musicgen_space.audio.files import read_settings, read_take
from musicgen_space.backends.base import Backend
from musicgen_space.message import Message
from musicgen_space.page.form.fields import QUIET
from musicgen_space.page.form.recall import Recall, recalled
from musicgen_space.page.player.player import View, view, view_of_takes
from musicgen_space.page.widget import widget
from musicgen_space.take import Take

__all__ = ["EXAMPLES", "build_gallery", "example", "view_of_example", "wire_gallery"]

_HERE = Path(__file__).parent
_PREFIX = "example-"  # before a name: the id under which players know the take

# File → what its card is called; the first is the one that a visitor finds in the player.
EXAMPLES = {
    "lo-fi": "Lo-fi",
    "funk": "Funk",
    "piano": "Piano",
    "chiptune": "Chiptune",
    "lullaby": "Lullaby",
    "bossa-nova": "Bossa nova",
}


def example(key: str) -> Take | None:
    """The take of an id, decoded when it is first asked for; None for any other id."""
    name = key.removeprefix(_PREFIX)
    return _take(name) if key.startswith(_PREFIX) and name in EXAMPLES else None


def view_of_example(key: str = f"{_PREFIX}{next(iter(EXAMPLES))}") -> View:
    """What the player shows of an example, by default the first."""
    take = example(key)
    if take is None:
        return view("idle")
    status = Message("An example, made by {model}", model=take.model)
    return view_of_takes([take], key, status=status)


def build_gallery() -> gr.HTML:
    """Buttons to press; its value is the id of the one that was."""
    cards = [
        {"key": f"{_PREFIX}{name}", "title": title, "prompt": _settings(name).get("prompt", "")}
        for name, title in EXAMPLES.items()
    ]
    return widget(
        "",
        "examples/gallery.html",
        "roving.js",
        "examples/gallery.js",
        cards=cards,
        elem_id="examples",
    )


def wire_gallery(
    gallery: gr.HTML, player: gr.HTML, recall: Recall, backends: dict[str, Backend]
) -> None:
    """A card brings its take to the player and its settings to the fields."""

    def chosen(key: str) -> list[Any]:
        if example(str(key)) is None:
            return [gr.skip(), *recall.nothing()]
        settings = _settings(str(key).removeprefix(_PREFIX))
        # A page without that model, a hosted one above all, has use for the prompt alone.
        if recalled(settings, backends).notes:
            settings = {**settings, "backend": None, "model": None}
        return [view_of_example(str(key)), *recall.updates(settings)]

    outputs = [player, *recall.outputs]
    # Who presses one after the other wants the last.
    gallery.select(
        chosen, gallery, outputs, concurrency_limit=None, trigger_mode="always_last", **QUIET
    )


def _bytes(name: str) -> bytes:
    return (_HERE / f"{name}.ogg").read_bytes()


def _settings(name: str) -> dict[str, Any]:
    return read_settings(_bytes(name)) or {}


@cache
def _take(name: str) -> Take | None:
    return read_take(_bytes(name))
