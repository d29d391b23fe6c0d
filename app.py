"""Start the page: settings → backends → page. A Space runs this file."""

from __future__ import annotations

import logging
import sys

from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from musicgen_space.backends import open_backends
from musicgen_space.errors import InvalidSetting, LibraryUnavailable
from musicgen_space.library import Library
from musicgen_space.settings import Settings
from musicgen_space.ui.page import build_page, launch_options
from musicgen_space.ui.visitors import OWNER

log = logging.getLogger(__name__)


def main() -> None:
    """Serve the page until interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "mcp"):  # a line or more for each call of a program
        logging.getLogger(chatty).setLevel(logging.WARNING)
    settings = Settings.from_environment()
    backends = open_backends(settings)
    for backend in backends.values():
        backend.warm_up()

    library = open_library(settings)

    def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "backends": [*backends]})

    try:
        build_page(backends, settings, library).launch(
            server_name=settings.host,
            server_port=settings.port,
            share=False,  # a public tunnel would let strangers spend the owner's key
            app_kwargs={"routes": [Route("/healthz", healthz)]},
            **launch_options(),
        )
    finally:
        for backend in backends.values():
            backend.close()
        if library is not None:
            library.close()


def open_library(settings: Settings) -> Library | None:
    """Where finished takes are kept; None where none are to be, or can't be."""
    if settings.library is None:
        return None
    try:
        return Library(
            settings.library,
            total_bytes=settings.library_bytes,
            visitor_bytes=settings.visitor_bytes,
            owner=None if settings.strangers else OWNER,
        )
    except LibraryUnavailable as error:
        log.error("Takes are not kept. %s", error)
        return None


if __name__ == "__main__":
    try:
        main()
    except InvalidSetting as error:
        sys.exit(str(error))
