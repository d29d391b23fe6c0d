"""Serve the page and the API: settings → environment → backends → both of them."""

from __future__ import annotations

import dataclasses
import errno
import logging
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from musicgen_space.backends import open_backends
from musicgen_space.backends.base import Backend
from musicgen_space.errors import InvalidSetting, LibraryUnavailable
from musicgen_space.library import BucketLibrary, Library, is_mounted
from musicgen_space.process.addresses import in_url
from musicgen_space.process.environment import prepare_environment
from musicgen_space.process.termination import Termination, catch_termination
from musicgen_space.settings import Settings

if TYPE_CHECKING:
    from musicgen_space.server.cluster.replicas import Replicas
    from musicgen_space.server.service import Service

__all__ = [
    "check_address",
    "check_folder",
    "on_one_line",
    "open_library",
    "serve",
    "serve_replicas",
]

log = logging.getLogger(__name__)

_PATIENCE = 15  # seconds that a take is made or waits while nobody listens


def serve(
    settings: Settings,
    opened: Callable[[Settings], dict[str, Backend]] = open_backends,
    *,
    api_only: bool = False,
) -> int:
    """Serve the page over the backends that are ``opened``, until told to end; → the exit code.

    The API is beside it, or alone where ``api_only``. Raises ``InvalidSetting`` where they can't
    be served as the settings say.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "mcp"):  # a line or more for each call of a program
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger().addFilter(on_one_line)
    check_address(settings)
    check_folder(settings)
    with prepare_environment(settings), ExitStack() as ending:
        library = None if api_only else open_library(settings)
        if library is not None:  # it closes last: what the backends made till then is kept
            ending.callback(library.close)
        backends = opened(settings)
        for backend in backends.values():
            ending.callback(backend.close)
            backend.warm_up()
        if api_only:
            return _serve_api(settings, backends)
        return _show(settings, backends, library)


def on_one_line(record: logging.LogRecord) -> bool:
    """Shorten what is logged by no name: MCP's library has 120 lines for each senseless message."""
    first, *_ = record.getMessage().splitlines() or [""]
    record.msg, record.args = first[:200], None
    return True


def _show(settings: Settings, backends: dict[str, Backend], library: Library | None) -> int:
    """Show the page, with the API beside it; → the exit code."""
    # Not before: Gradio reads its environment while it is imported.
    from musicgen_space.page.embedding.component import component_route
    from musicgen_space.page.gradio_compat import bound_websockets, serve_by_asyncio
    from musicgen_space.page.page import build_page, launch_options
    from musicgen_space.page.visitors.audience import Audience
    from musicgen_space.page.visitors.gate import Gate
    from musicgen_space.page.visitors.named_files import bound_named_files
    from musicgen_space.page.visitors.sign_in import sign_in_routes
    from musicgen_space.page.visitors.uploads import Uploads

    service = _api_beside(settings, backends)
    audience = Audience(patience=_PATIENCE)
    uploads = Uploads()
    bound_named_files(uploads)
    signing_in = sign_in_routes(settings)

    def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "backends": [*backends]})

    beside = []
    if service is not None:
        from musicgen_space.server.app import create_app, in_front_of
        from musicgen_space.server.live.session import MOST_MESSAGE_BYTES

        beside.append(Middleware(in_front_of(create_app(service))))

    serve_by_asyncio()
    try:
        page = build_page(backends, settings, library, audience)
        with closing(page.live), catch_termination() as told:
            page.launch(
                server_name=in_url(settings.host),
                server_port=settings.port,
                root_path=settings.root_path,
                share=False,  # a public tunnel would let strangers spend the owner's key
                ssr_mode=False,  # with it, as Spaces ask for, Node answers in place of our routes
                app_kwargs={
                    "routes": [
                        *(Route("/healthz", healthz), uploads.route(), component_route()),
                        *signing_in,
                    ],
                    "middleware": [
                        *beside,
                        Middleware(Gate, more=[route.path for route in signing_in]),
                        Middleware(audience.in_front_of),
                        Middleware(page.plain_form.in_front_of),
                    ],
                },
                quiet=True,
                prevent_thread_lock=True,
                **launch_options(),
            )
            if service is not None:
                bound_websockets(page, MOST_MESSAGE_BYTES)
            print(f"The page is on {settings.url}", flush=True)
            wait_for_the_end(page, service, told)
        return told.code
    finally:
        if service is not None:
            service.close()


def _api_beside(settings: Settings, backends: dict[str, Backend]) -> Service | None:
    """The API's service, begun; None where there is to be none, or nothing to make music with."""
    from musicgen_space.server.api.catalogue import backend_for_api
    from musicgen_space.server.service import Service  # not before: the command line needs none

    backend = backend_for_api(backends) if settings.api else None
    if backend is None:
        return None
    service = Service(settings, backend)
    service.start()
    return service


def _serve_api(settings: Settings, backends: dict[str, Backend]) -> int:
    """Serve the API alone; → the exit code."""
    from musicgen_space.server.alone import serve_alone

    service = _api_beside(dataclasses.replace(settings, api=True), backends)
    if service is None:
        raise InvalidSetting("--api-only needs a model on this machine: install torch.")
    with catch_termination() as told, serve_alone(service):
        print(f"The API is on {settings.url}", flush=True)
        told.awaited()
    return told.code


def serve_replicas(settings: Settings, replicas: Replicas) -> int:
    """Serve the API by several servers, until told to end; → the exit code.

    Raises ``InvalidSetting`` where that can't be.
    """
    from musicgen_space.server.cluster.serving import serve_cluster  # not before: it imports Ray

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    check_address(settings)
    with (
        prepare_environment(settings),
        catch_termination() as told,
        serve_cluster(settings, replicas),
    ):
        print(f"The API is on {settings.url}", flush=True)
        told.awaited()
    return told.code


def wait_for_the_end(page: Any, service: Service | None, told: Termination) -> None:
    """Until a signal came; then nobody new is served, and who waits for the API's music gets it."""
    from musicgen_space.page.gradio_compat import stop_serving  # not before: it imports Gradio

    told.awaited()
    if service is not None:
        service.close()
    stop_serving(page)


def check_address(settings: Settings) -> None:
    """Raise ``InvalidSetting`` where the page can't be served: Gradio would not say why.

    It asks IPv4 whether a port is free, so a page on IPv6 needs it there, too.
    """
    families = {settings.host: socket.AF_INET}
    if ":" in settings.host:
        families = {settings.host: socket.AF_INET6, "127.0.0.1": socket.AF_INET}
    for host, family in families.items():
        try:
            socket.create_server((host, settings.port), family=family).close()
        except OSError as error:
            raise _unusable(host, settings.port, error) from None


def _unusable(host: str, port: int, error: OSError) -> InvalidSetting:
    """Why a socket can't listen there, as the setting that it is about."""
    if error.errno == errno.EADDRINUSE:
        return InvalidSetting(f"GRADIO_SERVER_PORT must be free, {port} on {host} is in use.")
    if error.errno == errno.EACCES:
        return InvalidSetting(
            f"GRADIO_SERVER_PORT must be a port that this user may listen on, got {port}."
        )
    return InvalidSetting(
        f"GRADIO_SERVER_NAME must be an address or a name of this machine, got {host!r}."
    )


def check_folder(settings: Settings) -> None:
    """Raise ``InvalidSetting`` where the files that pages are given can't be written."""
    if settings.files is None:
        return
    try:
        settings.files.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=settings.files).close()
    except OSError as error:
        raise InvalidSetting(
            "GRADIO_TEMP_DIR must be the path of a folder that can be written to, "
            f"got '{settings.files}': {error.strerror}."
        ) from None


def open_library(settings: Settings) -> Library | None:
    """Where finished takes are kept; None where none are to be, or can't be."""
    folder = settings.library
    if folder is None:
        return None
    from musicgen_space.page.visitors.identity import OWNER  # not before: it imports Gradio

    kept: dict[str, Any] = {
        "total_bytes": settings.library_bytes,
        "visitor_bytes": settings.visitor_bytes,
        "owner": None if settings.strangers else OWNER,
    }
    try:
        if not settings.library_bucket:
            return Library(folder, **kept)
        if is_mounted(folder):
            return BucketLibrary(folder, **kept)
        log.warning("No bucket is mounted at %s: takes are kept until a restart only", folder)
        return Library(folder, lasting=False, **kept)
    except LibraryUnavailable as error:
        log.error("Takes are not kept. %s", error)
        return None
