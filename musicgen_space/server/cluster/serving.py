"""``musicgen-space cluster``: Ray's cluster, begun or joined, with the servers in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from musicgen_space.backends import open_backends
from musicgen_space.backends.base import Backend
from musicgen_space.errors import InvalidSetting
from musicgen_space.server.cluster.replicas import Replicas
from musicgen_space.settings import Settings

__all__ = ["serve_cluster"]

_CODE = Path(__file__).parents[3]  # servers on this machine run this very code


@contextmanager
def serve_cluster(
    settings: Settings,
    replicas: Replicas,
    opened: Callable[[Settings], dict[str, Backend]] = open_backends,
    **times: float,
) -> Iterator[None]:
    """Serve in the block; ``times`` are those of ``Service``.

    Raises ``InvalidSetting`` without Ray.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # else it tells its makers
    try:
        import ray
        from ray import serve

        from musicgen_space.server.cluster.replica import NAME, QUIET, application_of
    except ImportError:
        raise InvalidSetting("A cluster needs Ray: pip install 'musicgen-space[cluster]'") from None
    code = {} if replicas.address else {"env_vars": {"PYTHONPATH": str(_CODE)}}
    ray.init(replicas.address, include_dashboard=False, runtime_env=code)
    try:
        address = {"host": settings.host, "port": settings.port}
        serve.start(http_options=address, logging_config=QUIET)
        servers = application_of(settings, replicas, opened, **times)
        serve.run(servers, name=NAME, route_prefix="/")
        yield
    finally:
        if replicas.address is None:
            serve.shutdown()
        else:
            serve.delete(NAME)
        ray.shutdown()
