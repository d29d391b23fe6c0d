"""One server of a cluster, as Ray runs it, and the application that is made of several."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve.config import AutoscalingContext
from ray.serve.schema import LoggingConfig
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders

from musicgen_space.backends import open_backends
from musicgen_space.errors import InvalidSetting
from musicgen_space.server.api.catalogue import backend_for_api
from musicgen_space.server.app import create_app
from musicgen_space.server.cluster.by_model import ByModel
from musicgen_space.server.cluster.replicas import Replicas
from musicgen_space.server.service import Service
from musicgen_space.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from musicgen_space.backends.base import Backend

__all__ = ["NAME", "QUIET", "Server", "application", "application_of", "wanted"]

NAME = "musicgen-space"
QUIET = LoggingConfig(enable_access_log=False)  # it would have addresses in it

_AT_ONCE = 1000  # requests of one server: they wait for each other in the database
_END_SECONDS = 30  # for a server to end in, once nobody waits for it
_PORT = 8000  # Serve's, unless it is told otherwise


def application(arguments: Mapping[str, str]) -> Any:
    """What Ray's own configuration files name; the settings are those of the environment.

    ``arguments`` are ``replicas``, ``max_replicas``, ``gpus`` and the ``port`` that Ray listens at.
    It does so beyond this machine, so nobody is taken for the owner: all need a key.
    """
    most = arguments.get("max_replicas")
    replicas = Replicas(
        int(arguments.get("replicas", 1)),
        None if most is None else int(most),
        float(arguments.get("gpus", 0)),
    )
    port = int(arguments.get("port", _PORT))
    settings = dataclasses.replace(Settings.from_environment(), host="0.0.0.0", port=port)
    return application_of(settings, replicas)


def application_of(
    settings: Settings,
    replicas: Replicas,
    opened: Callable[[Settings], dict[str, Backend]] = open_backends,
    **times: float,
) -> Any:
    """So many servers. One that is to end has as long as a take may have to finish its answers."""
    # No key of somebody else's leaves this process.
    shared = dataclasses.replace(settings, segmind_key=None, sign_in_secret=None)
    deployment: Any = serve.deployment(
        name="MusicGen",
        max_ongoing_requests=_AT_ONCE,
        ray_actor_options={"num_cpus": 0, "num_gpus": replicas.gpus},
        graceful_shutdown_timeout_s=settings.api_seconds + _END_SECONDS,
        logging_config=QUIET,
        **_size(replicas, settings.at_once),
    )
    return deployment(serve.ingress()(Server)).bind(shared, opened, **times)


def _size(replicas: Replicas, at_once: int) -> dict[str, Any]:
    """How many servers: a fixed number, or as many as it takes to make all that is asked for."""
    if replicas.most is None:
        return {"num_replicas": replicas.count}
    scaling = {
        "min_replicas": replicas.count,
        "max_replicas": replicas.most,
        "target_ongoing_requests": at_once,
        "upscale_delay_s": 10.0,
        "policy": {"policy_function": wanted},
    }
    return {"autoscaling_config": scaling}


def wanted(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """As many servers as make all requests at once, and the jobs that no request waits for."""
    told = (context.aggregated_metrics or {}).get("jobs") or {}
    work = context.total_num_requests + max(told.values(), default=0)
    return math.ceil(work / context.config.target_ongoing_requests), {}


class Server:
    """The API over the machine's model, which begins and ends with the process."""

    def __init__(
        self,
        settings: Settings,
        opened: Callable[[Settings], dict[str, Backend]],
        **times: float,
    ) -> None:
        self._backends = opened(settings)
        backend = backend_for_api(self._backends)
        if backend is None:
            raise InvalidSetting("A cluster needs a model on its machines: install torch.")
        backend.warm_up()
        self.service = Service(settings, backend, **times)
        self._api: ASGIApp = ByModel(create_app(self.service), self.service, settings.url)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """What Ray sends requests to: a function, as a method isn't taken for ASGI."""

        async def served(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await self._live(receive, send)
            else:
                await self._api(scope, _or_gone(receive), _with_ray_s_id(send))

        return served

    def check_health(self) -> None:
        """Ray asks now and then, and replaces whoever raises."""
        if not (self.service.ready or self.service.closing):
            raise RuntimeError("A thread of the server has ended.")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """For ``wanted``: the same number from each server."""
        return {"jobs": await run_in_threadpool(self.service.jobs.left_to_us)}

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self.service.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await run_in_threadpool(self.close)
        await send({"type": "lifespan.shutdown.complete"})

    def close(self) -> None:
        """In good order, as ``Service.close``."""
        self.service.close()
        for backend in self._backends.values():
            backend.close()


def _or_gone(receive: Receive) -> Receive:
    """Of a client that has gone, Ray's proxy may know nothing any more, which is an error there."""

    async def received() -> Message:
        try:
            return await receive()
        except Exception:
            return {"type": "http.disconnect"}

    return received


def _with_ray_s_id(send: Send) -> Send:
    """Answers have Ray's own id of the request."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            del MutableHeaders(scope=message)["x-request-id"]
        await send(message)

    return sent
