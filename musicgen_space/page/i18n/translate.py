"""The page in other languages: English text → translation, one file for each beside this one.

Gradio's components get their texts from ``say``, the widgets' scripts theirs from ``translated``,
and what the server says while it works comes as a ``Message``, for ``told`` (both in
``translate.js``). So the server never needs to know who reads, and what no table has stays English.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import gradio as gr

__all__ = ["LANGUAGES", "say", "tables", "translations"]

LANGUAGES = ("de", "es", "fr", "zh-CN")  # and English

_HERE = Path(__file__).parent
_mark = gr.I18n()


def say(text: str) -> str:
    """``text`` so that Gradio's components show it in the visitor's language.

    It can stand in a longer string, once.
    """
    return str(_mark(text))


def translations() -> gr.I18n:
    """All tables, for ``launch``."""
    return gr.I18n(**tables())


@cache
def tables() -> dict[str, dict[str, str]]:
    """By language, English text → translation."""
    return {
        name: json.loads((_HERE / f"{name}.json").read_text(encoding="utf-8")) for name in LANGUAGES
    }
