"""Every use of something that Gradio keeps private: what to check before another version is taken.

Written against Gradio 6.31. What scripts use of it is in ``gradio_compat.js``, and ``page.js``
finds the places for files by the elements that Gradio makes of them. Besides, ``fields.folded``
and ``page.py`` say where they work around something of this version.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.context import LocalContext
from gradio.processing_utils import save_bytes_to_cache
from gradio.route_utils import MultiPartException, upload_fn
from gradio.routes import file_upload_statuses
from gradio.utils import get_upload_folder
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Scope
from uvicorn.config import LOOP_FACTORIES

__all__ = [
    "FILE",
    "MCP",
    "READ",
    "UPLOAD",
    "WRITTEN",
    "asks_for_configuration",
    "bound_websockets",
    "call_id",
    "component_files",
    "configuration_of",
    "describe",
    "endpoint_fields",
    "fetch_by",
    "is_by_mcp",
    "is_for_programs",
    "kept_till_deleted",
    "look_less_often",
    "path_of",
    "receive_files",
    "save_file",
    "schema_of",
    "serve_by_asyncio",
    "serve_file",
    "served_folder",
    "stop_serving",
    "stream_about",
    "upload_folder",
]

# ---- Addresses. Gradio documents none of them; the page's own client and gradio_client use them.

_API = "/gradio_api"
UPLOAD = f"{_API}/upload"
FILE = f"{_API}/file="
READ = re.compile(
    r"/|/config/?|/favicon\.ico|/theme\.css|/robots\.txt|/manifest\.json|/pwa_icon(/.*)?"
    r"|/(static|assets|svelte)/.*"
    rf"|{_API}/(theme\.css|info/?|openapi\.json|startup-events|app_id/?|login_check/?"
    r"|heartbeat/[^/]+|queue/data|upload_progress|call/(v2/)?[^/]+/[^/]+|file=(?!https?:).*)"
)
WRITTEN = re.compile(
    rf"{_API}/(upload|queue/join|cancel|reset/?|component_server/?|run/[^/]+/?"
    r"|call/(v2/)?[^/]+/?)"
)
MCP = re.compile(rf"{_API}/mcp(/.*)?")

_CONFIGURATION = re.compile(r"/config/?")
_NEWS_OF_CALL = re.compile(r"/call/(?:v2/)?[^/]+/([^/]+)/?$")
_NEWS_OF_SESSION = re.compile(r"/queue/data/?$")


def path_of(scope: Scope) -> str:
    """The path that routes go by: a reverse proxy may have left its prefix in front of it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


def stream_about(scope: Scope) -> str | None:
    """The call or the session whose stream of news a request opens, if it does.

    Gradio makes what was asked for whether or not anybody opens it, and tells nobody.
    """
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    if call := _NEWS_OF_CALL.search(scope["path"]):
        return call[1]
    if _NEWS_OF_SESSION.search(scope["path"]):
        return QueryParams(scope["query_string"]).get("session_hash")
    return None


def asks_for_configuration(scope: Scope) -> bool:
    """Whether gradio_client asks what the page is made of; ``gr.load`` does so through it."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and _CONFIGURATION.fullmatch(path_of(scope)) is not None
        and "gradio_client/" in Headers(scope=scope).get("user-agent", "")
    )


def call_id() -> str:
    """The id of the call that runs, by which its stream is opened: no handler is given it."""
    return str(LocalContext.event_id.get(None))


def is_by_mcp(request: gr.Request) -> bool:
    """Whether a call came through MCP: its server calls the page's own, with a header for it."""
    return bool(request.headers.get("x-gradio-user") == "mcp")


# ---- Files. Gradio serves what lies in its folders, and deletes what it has noted, after a day.


def save_file(data: bytes, name: str, component: gr.Component) -> str:
    """Write a file that ``component`` offers; → its path.

    Only what a handler returns is kept so by Gradio itself, and a server function is none.
    """
    path: str = save_bytes_to_cache(data, name, component.GRADIO_CACHE)
    serve_file(path, component)
    return path


def serve_file(path: str | Path, component: gr.Component) -> None:
    """Have a file served that was written to ``served_folder``, and deleted in time."""
    component.temp_files.add(str(path))


def served_folder(component: gr.Component) -> Path:
    """Where the files of ``component`` are served from."""
    return Path(component.GRADIO_CACHE)


def upload_folder() -> Path:
    """Where uploads are: a parameter that is no file to Gradio is not checked to be one of them."""
    return Path(get_upload_folder())


async def receive_files(request: Request, folder: str, most_bytes: int) -> list[str]:
    """Write an upload's files below ``folder`` as Gradio's own route does; → their paths.

    That route keeps everything for a day. Raises ``HTTPException`` for a form that is none (400)
    or has a file of more than ``most_bytes`` (413).
    """
    upload_id = request.query_params.get("upload_id")
    progress = file_upload_statuses if upload_id else None
    try:
        files, _, _ = await upload_fn(
            request, folder, most_bytes, upload_id, upload_progress=progress
        )
    except MultiPartException as error:
        status = 413 if "maximum allowed size" in error.message else 400
        raise HTTPException(status, error.message) from None
    return [str(file) for file in files]


def kept_till_deleted(request: Request, paths: list[str]) -> None:
    """Note uploaded files as Gradio's route does, so that it deletes them in time."""
    request.app.get_blocks().upload_file_set.update(paths)


def fetch_by(file_of: Callable[[str], str], kept: Callable[[str], None]) -> None:
    """Have Gradio get a file's path by ``file_of`` an address in place of downloading that.

    It would fetch any address for anybody. ``kept`` is told of the files that it writes of
    ``data:`` addresses, which only raise ``ValueError`` where they aren't Base64.
    """

    async def by_address(url: str, cache_dir: str) -> str:
        return file_of(url)

    def by_content(data_url: str, cache_dir: str) -> str:
        content = b64decode(data_url.rpartition(",")[2])
        path: str = save_bytes_to_cache(content, "sound", cache_dir)
        kept(path)
        return path

    processing_utils.async_ssrf_protected_download = by_address
    processing_utils.save_base64_to_cache = by_content


def component_files() -> tuple[str, str]:
    """The script and the style sheet of ``<gradio-app>``, relative to the page's address."""
    html = (Path(gr.__file__).parent / "templates/frontend/index.html").read_text(encoding="utf-8")
    entry, sheet = (
        re.search(rf'{name}="(\./assets/index-[^"]+)"', html) for name in ("src", "href")
    )
    assert entry
    assert sheet
    return entry[1], sheet[1]


# ---- Events and endpoints.


def endpoint_fields(
    page: gr.Blocks, event: Mapping[str, Any]
) -> tuple[list[gr.Component], list[gr.Component]]:
    """What ``gr.api`` made of a function's parameters and of its results: it returns an id only."""
    endpoint = page.fns[event["id"]]
    return endpoint.inputs, endpoint.outputs


def is_for_programs(event: Any) -> bool:
    """Whether an event is an endpoint that ``gr.api`` made, whose fields have what is usual."""
    return bool(event.api_visibility == "public")


def configuration_of(form: gr.Blocks, endpoints: Mapping[str, int]) -> dict[str, Any]:
    """What stands in a page's configuration in place of its own, for ``form``.

    Its events are those of the page's ``endpoints``, by name. Without its looks: they make most
    of a configuration.
    """
    config = form.get_config_file()
    events = [
        {**event, "id": endpoints[event["api_name"]]}
        for event in config["dependencies"]
        if event["api_name"] in endpoints  # some of Gradio's components have events of their own
    ]
    made_of = {name: config[name] for name in ("components", "layout")}
    looks = dict.fromkeys(("css", "js", "head", "i18n_translations"))
    return {**made_of, **looks, "dependencies": events, "page": {}}


def describe(
    field: gr.Component, name: str, schema: Mapping[str, Any], example: Any = None
) -> None:
    """Say what a parameter or result is: Gradio knows its place and its Python type only.

    Its ``api_info`` is the one dictionary of which all descriptions of an API are made.
    """
    field.label = name
    info = field.api_info()
    info.clear()
    info.update(schema)
    field.example_payload = lambda: example


def schema_of(field: gr.Component) -> dict[str, Any]:
    """What Gradio says itself of a parameter or result."""
    return dict(field.api_info())


# ---- The server.


def serve_by_asyncio() -> None:
    """Have the server run in asyncio's own loop, not in uvloop's, which comes with Ray.

    There an answer to a client that has gone is an error, which the server logs with all that led
    to it (https://github.com/MagicStack/uvloop/issues/506).
    """
    LOOP_FACTORIES["auto"] = LOOP_FACTORIES["asyncio"]


def look_less_often(page: gr.Blocks) -> None:
    """Look for calls 100 times a second: 1,000 took a twentieth of a core, and nobody called."""
    page._queue.sleep_when_free = 0.01


def bound_websockets(page: gr.Blocks, most_bytes: int) -> None:
    """Take no larger messages on WebSockets, and none that are packed: these grow."""
    config = page.server.config
    config.ws_max_size, config.ws_per_message_deflate = most_bytes, False


def stop_serving(page: gr.Blocks) -> None:
    """Serve nobody new: the page's own ``close`` would wait for every tab that is open."""
    page.server.should_exit = True
