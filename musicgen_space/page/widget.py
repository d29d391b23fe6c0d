"""Components of our own: HTML and scripts, which lie in files beside the Python that uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

__all__ = ["source", "widget"]

_PAGE = Path(__file__).parent
_FIRST = ("gradio_compat.js", "i18n/translate.js")


def widget(value: Any, *files: str, **options: Any) -> gr.HTML:
    """A component of ``files``, named by their paths in ``page/``: its HTML and scripts.

    Without HTML there is nothing to see of it.

    The scripts can use ``served``, ``translated`` and ``told``, and what the scripts before
    them define. ``options`` are those of ``gr.HTML``.
    """
    html = "".join(source(file) for file in files if file.endswith(".html"))
    scripts = [*_FIRST, *(file for file in files if file.endswith(".js"))]
    return gr.HTML(
        value,
        html_template=html or " ",  # Gradio's own, for "", would show the value
        js_on_load="".join(map(source, scripts)),
        **{"apply_default_css": False, **options},
    )


def source(file: str) -> str:
    """The text of a file in ``page/``."""
    return (_PAGE / file).read_text(encoding="utf-8")
