"""Full-text search of takes by words."""

from __future__ import annotations

import unicodedata

from sqlalchemy import ColumnElement, func

from musicgen_space.library.index import Record

__all__ = ["matches_all_words", "plain", "searchable_text"]

_MAX_WORDS = 200  # SQLite's expressions are at most 1000 deep


def searchable_text(name: str, prompt: str, model: str) -> str:
    """The text that searches match; fields are on separate lines, so no word spans two."""
    return _normalise("\n".join((name, prompt, model)))


def matches_all_words(query: str) -> list[ColumnElement[bool]]:
    """Conditions that every word of ``query`` (up to the first 200) is in a row's text."""
    words = list(dict.fromkeys(_normalise(plain(query)).split()))[:_MAX_WORDS]
    return [func.instr(Record.found_by, word) > 0 for word in words]


def plain(text: str) -> str:
    """``text`` without lone surrogates, which browsers can send and SQLite rejects."""
    return text.encode("utf-8", "ignore").decode()


def _normalise(text: str) -> str:
    """Normalised for case and Unicode composition."""
    return unicodedata.normalize("NFC", text).casefold()
