"""The page within another one: the script that brings it there, and the view with less of it.

What ``view=player`` shows, ``page.css`` says; ``view.js`` knows it early enough.
"""

from __future__ import annotations

import json
import re

import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from musicgen_space.page.form.fields import QUIET
from musicgen_space.page.gradio_compat import component_files
from musicgen_space.page.i18n.translate import tables
from musicgen_space.page.visitors.gate import COMPONENT
from musicgen_space.page.widget import source, widget

__all__ = ["choose_view", "component_route", "link_to_the_whole_page"]


def component_route() -> Route:
    """``embed.js``, for a page that has ``<gradio-app src="…">``."""
    script = _script()

    def embed(_: Request) -> Response:
        # Its address stays, what it names changes with Gradio's version.
        return Response(script, media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    return Route(COMPONENT, embed)


def choose_view() -> str:
    """HTML for the page's head."""
    style, script = source("embedding/first.css"), source("embedding/view.js")
    return f"<style>{style}</style><script>{script}</script>"


def link_to_the_whole_page(prompt: gr.Textbox) -> None:
    """A link to be seen where there is less of it; it has the text of ``prompt``."""
    link = widget("", "embedding/whole_page.html", "embedding/whole_page.js", elem_id="whole-page")
    prompt.change(None, prompt, link, js="(text) => text", **QUIET)


def _script() -> str:
    """The text of ``embed.js`` with what only this installation knows."""
    entry, sheet = component_files()
    known = {"TABLES": tables(), "ENTRY": entry, "SHEET": sheet}
    return re.sub(
        r"\b(TABLES|ENTRY|SHEET)\b",
        lambda mark: json.dumps(known[mark[0]], ensure_ascii=False),
        source("embedding/embed.js"),
    )
