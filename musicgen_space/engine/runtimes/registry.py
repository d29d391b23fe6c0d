"""The registry of runtimes, a line each; the first that supports a placement is used."""

from __future__ import annotations

from collections.abc import Callable

from musicgen_space.engine.placement import Placement
from musicgen_space.engine.runtimes.base import Runtime
from musicgen_space.engine.runtimes.native.runtime import NativeRuntime
from musicgen_space.engine.runtimes.torch.runtime import TorchRuntime

__all__ = ["choose_runtime"]

_RUNTIMES: tuple[Callable[[Placement], Runtime | None], ...] = (
    NativeRuntime.for_placement,
    TorchRuntime.for_placement,  # supports every placement
)


def choose_runtime(placement: Placement) -> Runtime:
    """What computes decoder steps for ``placement``."""
    supported = (runtime_for(placement) for runtime_for in _RUNTIMES)
    return next(runtime for runtime in supported if runtime is not None)
