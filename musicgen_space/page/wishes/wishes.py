"""What is said of wishes above the button that makes them: made already, or to be made next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from musicgen_space.errors import QueueFull
from musicgen_space.page.widget import widget

__all__ = ["Wish", "Wishes", "wishes_note"]

_MOST_WAITING = 5
_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Wish:
    """The ``fields`` of a page for ``whose`` takes, with the ``prompt`` to tell it by."""

    whose: Any
    fields: Sequence[Any]
    prompt: str


class Wishes:
    """What one tab has asked for while something else was made: its next wishes, in order."""

    def __init__(self) -> None:
        self._waiting: dict[int, Wish] = {}

    def add(self, wish: Wish) -> None:
        """Have it made when everything before it is; raises ``QueueFull``."""
        if len(self._waiting) >= _MOST_WAITING:
            raise QueueFull(_MOST_WAITING, own=True)
        self._waiting[next(_ids)] = wish

    def drop(self, id: object) -> None:
        """Not that one, if it still waits."""
        if isinstance(id, int):
            self._waiting.pop(id, None)

    def take(self) -> Wish | None:
        """The next one, which no longer waits."""
        return self._waiting.pop(next(iter(self._waiting))) if self._waiting else None

    def clear(self) -> None:
        """None of them."""
        self._waiting.clear()

    def shown(self, made: dict[str, Any] | None = None) -> dict[str, Any]:
        """The note's value: ``next`` are those that wait; ``made`` is what came of a repeated wish.

        That is its ``take`` in the player, and what it is ``kept`` as.
        """
        waiting = [{"id": id, "prompt": wish.prompt} for id, wish in self._waiting.items()]
        return {"made": made, "next": waiting, "told": next(_ids)}


def wishes_note() -> gr.HTML:
    """The note. Its event ``again`` asks for what has been made, ``drop`` takes a wish back."""
    return widget(Wishes().shown(), "wishes/wishes.html", "wishes/wishes.js", elem_id="wishes")
