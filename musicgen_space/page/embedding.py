"""The page as a component of another one: the script that brings it there."""

from __future__ import annotations

import json
import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from musicgen_space.page.gradio_compat import component_files
from musicgen_space.page.i18n.translate import tables
from musicgen_space.page.visitors.gate import COMPONENT
from musicgen_space.page.widget import source

__all__ = ["component_route"]


def component_route() -> Route:
    """``embed.js``, for a page that has ``<gradio-app src="…">``."""
    script = _script()

    def embed(_: Request) -> Response:
        # Its address stays, what it names changes with Gradio's version.
        return Response(script, media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    return Route(COMPONENT, embed)


def _script() -> str:
    """The text of ``embed.js`` with what only this installation knows."""
    entry, sheet = component_files()
    known = {"TABLES": tables(), "ENTRY": entry, "SHEET": sheet}
    return re.sub(
        r"\b(TABLES|ENTRY|SHEET)\b",
        lambda mark: json.dumps(known[mark[0]], ensure_ascii=False),
        source("embed.js"),
    )
