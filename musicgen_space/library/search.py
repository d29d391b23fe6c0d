"""Search words: what a take is found by."""

from __future__ import annotations

import unicodedata

from sqlalchemy import ColumnElement, func

from musicgen_space.library.index import Record

__all__ = ["all_in", "findable", "plain"]

_MOST_WORDS = 200  # SQLite's expressions are at most 1000 deep


def findable(name: str, prompt: str, model: str) -> str:
    """The text that searches look at; no word reaches from one line into the next."""
    return _folded("\n".join((name, prompt, model)))


def all_in(words: str) -> list[ColumnElement[bool]]:
    """Conditions that every word of ``words`` (the first 200) is in a row's texts."""
    wanted = list(dict.fromkeys(_folded(plain(words)).split()))[:_MOST_WORDS]
    return [func.instr(Record.found_by, word) > 0 for word in wanted]


def plain(text: str) -> str:
    """``text`` without halves of characters, which browsers can send and SQLite can't take."""
    return text.encode("utf-8", "ignore").decode()


def _folded(text: str) -> str:
    """The same for upper and lower case, and for both ways to write a letter with an accent."""
    return unicodedata.normalize("NFC", text).casefold()
