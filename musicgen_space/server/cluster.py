"""Several servers of the API behind one address, on one machine or many: Ray Serve's replicas.

Each is as ``alone`` serves one, in a process that Ray starts, watches and replaces. What they share
is in the database, so which of them is asked, makes a job or dies makes no difference.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders

from musicgen_space.backends import open_backends
from musicgen_space.errors import InvalidSetting
from musicgen_space.request import Limit, checked_number
from musicgen_space.server.api.catalogue import backend_for_api
from musicgen_space.server.app import create_app
from musicgen_space.server.service import Service

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from musicgen_space.backends.base import Backend
    from musicgen_space.settings import Settings

__all__ = ["Replicas", "serve_cluster"]

_CODE = Path(__file__).parents[2]  # replicas on this machine run this very code
_NAME = "musicgen-space"
_AT_ONCE = 1000  # requests of one replica: they wait for each other in the database


@dataclasses.dataclass(frozen=True, slots=True)
class Replicas:
    """How many servers, each with so many ``gpus``; ``address`` is the Ray cluster's that they
    join, None: one that begins here and ends with this process. Raises ``InvalidRequest``.
    """

    count: int = 1
    gpus: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        checked_number("replicas", self.count, Limit(1, 1000, 1, 1))
        checked_number("gpus", self.gpus, Limit(0.0, 16.0, 0.0, 0.1))


@contextmanager
def serve_cluster(
    settings: Settings,
    replicas: Replicas,
    opened: Callable[[Settings], dict[str, Backend]] = open_backends,
) -> Iterator[None]:
    """Serve in the block; raises ``InvalidSetting`` without Ray."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # else it tells its makers
    try:
        import ray
        from ray import serve
        from ray.serve.schema import LoggingConfig
    except ImportError:
        raise InvalidSetting("A cluster needs Ray: pip install 'musicgen-space[cluster]'") from None
    # No key of somebody else's leaves this process.
    shared = dataclasses.replace(settings, segmind_key=None, sign_in_secret=None)
    code = {} if replicas.address else {"env_vars": {"PYTHONPATH": str(_CODE)}}
    ray.init(replicas.address, include_dashboard=False, runtime_env=code)
    try:
        quiet = LoggingConfig(enable_access_log=False)  # it would have addresses in it
        address = {"host": settings.host, "port": settings.port}
        serve.start(http_options=address, logging_config=quiet)
        deployment: Any = serve.deployment(
            num_replicas=replicas.count,
            max_ongoing_requests=_AT_ONCE,
            ray_actor_options={"num_cpus": 0, "num_gpus": replicas.gpus},
            logging_config=quiet,
        )
        server = serve.ingress(lambda: _Replica(shared, opened))(type("MusicGen", (), {}))
        serve.run(deployment(server).bind(), name=_NAME, route_prefix="/")
        yield
    finally:
        if replicas.address is None:
            serve.shutdown()
        else:
            serve.delete(_NAME)
        ray.shutdown()


class _Replica:
    """The API, which begins and ends with the process that Ray runs it in."""

    def __init__(
        self, settings: Settings, opened: Callable[[Settings], dict[str, Backend]]
    ) -> None:
        self._backends = opened(settings)
        backend = backend_for_api(self._backends)
        if backend is None:
            raise InvalidSetting("A cluster needs a model on its machines: install torch.")
        backend.warm_up()
        self._service = Service(settings, backend)
        self._app: ASGIApp = create_app(self._service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin, end, or serve one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":  # Ray adds one of its own
                del MutableHeaders(scope=message)["x-request-id"]
            await send(message)

        await self._app(scope, receive, sent)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._service.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await run_in_threadpool(self._close)
        await send({"type": "lifespan.shutdown.complete"})

    def _close(self) -> None:
        self._service.close()
        for backend in self._backends.values():
            backend.close()
