"""Files that a call names by an address, or brings along, where others are uploaded.

Gradio would fetch any address for anybody, of any size, and keep it for a day. Here nothing is
fetched: an address stands for a file only where this page gave it out.
"""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from urllib.parse import unquote, urlsplit

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_upload_folder

from musicgen_space.page.visitors.identity import BY_MCP
from musicgen_space.page.visitors.uploads import Uploads

__all__ = ["bound_named_files"]

_SERVED = "/gradio_api/file="
_NOT_FETCHED = (
    "Files are not fetched from other addresses, got {!r}. Upload the file, "
    "or name one by the address under which this page serves it."
)
_MOST_TOLD = 200  # characters of an address


def bound_named_files(uploads: Uploads) -> None:
    """From now on Gradio fetches nothing, and keeps what comes along among the ``uploads``."""

    async def not_downloaded(url: str, cache_dir: str) -> str:
        return _file_of(url)

    def kept(data_url: str, cache_dir: str) -> str:
        """Only MCP brings files along; raises ``ValueError`` for what isn't Base64."""
        content = b64decode(data_url.rpartition(",")[2])
        path: str = processing_utils.save_bytes_to_cache(content, "sound", cache_dir)
        uploads.keep([path], BY_MCP)
        return path

    processing_utils.async_ssrf_protected_download = not_downloaded
    processing_utils.save_base64_to_cache = kept


def _file_of(url: str) -> str:
    """The file that this page serves under an address; raises ``gr.Error`` if there is none."""
    _, _, path = unquote(urlsplit(url).path).partition(_SERVED)
    file = Path(path).resolve()
    if not (path and file.is_file() and file.is_relative_to(Path(get_upload_folder()).resolve())):
        raise gr.Error(_NOT_FETCHED.format(url[:_MOST_TOLD]), print_exception=False)
    return str(file)
