"""Files that a call names by an address, or brings along, where others are uploaded.

Gradio would fetch any address for anybody, of any size, and keep it for a day. Here nothing is
fetched: an address stands for a file only where this page gave it out.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import gradio as gr

from musicgen_space.page.gradio_compat import FILE, fetch_by, upload_folder
from musicgen_space.page.visitors.identity import BY_MCP
from musicgen_space.page.visitors.uploads import Uploads

__all__ = ["bound_named_files"]

_NOT_FETCHED = (
    "Files are not fetched from other addresses, got {!r}. Upload the file, "
    "or name one by the address under which this page serves it."
)
_MOST_TOLD = 200  # characters of an address


def bound_named_files(uploads: Uploads) -> None:
    """From now on Gradio fetches nothing, and keeps what comes along among the ``uploads``."""
    fetch_by(_file_of, lambda path: uploads.keep([path], BY_MCP))  # only MCP brings files along


def _file_of(url: str) -> str:
    """The file that this page serves under an address; raises ``gr.Error`` if there is none."""
    _, _, path = unquote(urlsplit(url).path).partition(FILE)
    file = Path(path).resolve()
    if not (path and file.is_file() and file.is_relative_to(upload_folder().resolve())):
        raise gr.Error(_NOT_FETCHED.format(url[:_MOST_TOLD]), print_exception=False)
    return str(file)
