"""The API in a server of its own, without the page."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from musicgen_space.server.app import create_app
from musicgen_space.server.live.session import MOST_MESSAGE_BYTES
from musicgen_space.server.service import Service

__all__ = ["serve_alone"]

_MOST_CONNECTIONS = 1000
_GRACE_SECONDS = 20  # for answers that are under way at the end


@contextmanager
def serve_alone(service: Service) -> Iterator[None]:
    """Serve ``service`` in the block, by a thread; at its end both end, in good order."""
    settings = service.settings
    config = uvicorn.Config(
        create_app(service),
        host=settings.host,
        port=settings.port,
        root_path=settings.root_path if settings.root_path.startswith("/") else "",
        loop="asyncio",  # in uvloop's an answer to a client that has gone is an error
        lifespan="off",
        ws_max_size=MOST_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # sound gains nothing, and it lets messages grow
        log_level="warning",
        access_log=False,  # it would have addresses in it
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="api")
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    _drop_stalled(server, service.stall)
    try:
        yield
    finally:
        service.close()  # while it still answers whoever waits
        server.should_exit = True
        thread.join()


def _drop_stalled(server: uvicorn.Server, seconds: float) -> None:
    """Let the kernel drop connections whose reader takes nothing for so long.

    Else what was sent before waits for that reader, and the connection with it, however often it is
    closed. Sockets have the option from the one that listens; only Linux has it.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        for listening in (each for part in server.servers for each in part.sockets):
            option = socket.TCP_USER_TIMEOUT, round(1000 * seconds)
            listening.setsockopt(socket.IPPROTO_TCP, *option)
