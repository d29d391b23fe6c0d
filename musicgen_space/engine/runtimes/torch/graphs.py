"""CUDA graphs: a step recorded once is launched as a whole, which spares hundreds of launches.

A graph wraps a step from outside and is compared with it before it is used. Where they differ,
or where recording fails, the plain step serves, with a line in the log.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import torch

__all__ = ["Capture", "CudaCapture", "Step", "checked_graph"]

log = logging.getLogger(__name__)

Step = Callable[[], torch.Tensor]  # reads and writes memory that stays where it is
Capture = Callable[[Step], Step]  # → what replays a step, with the same tensor each time


class CudaCapture:
    """Records on one device. Its graphs share memory, so no two may be replayed at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        stream: torch.cuda.Stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return stream

    @cached_property
    def _pool(self) -> Any:
        return torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> Step:
        """See ``Capture``; raises whatever torch raises."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), _same_stream_afterwards():
            self._warm_up(step)
            # Other threads go on with work of their own, as EnCodec's does.
            recording = torch.cuda.graph(
                graph, self._pool, self._stream, capture_error_mode="thread_local"
            )
            with recording:
                output = step()

        def replay() -> torch.Tensor:
            graph.replay()
            return output

        return replay

    def _warm_up(self, step: Step) -> None:
        """Libraries allocate what they need for a stream, which a graph must not own."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            step()
        torch.cuda.current_stream().wait_stream(self._stream)


def _same_stream_afterwards() -> AbstractContextManager[None]:
    """``torch.cuda.graph`` leaves its own stream as the current one where recording fails."""
    return torch.cuda.stream(torch.cuda.current_stream())


def checked_graph(
    step: Step,
    capture: Capture,
    next_inputs: Callable[[], AbstractContextManager[None]],
    name: str,
) -> Step:
    """What replays ``step`` where that gives the same; else ``step``, and a line in the log.

    The same for what is to be computed now, and for ``next_inputs``: a graph that had recorded
    a length as a constant would still be right in its first step.
    """
    step()  # later steps may read what it writes
    try:
        replay = capture(step)
        with next_inputs():
            differences = [_difference(replay, step)]
        differences.append(_difference(replay, step))
    except Exception as error:  # torch and CUDA raise anything
        log.warning("%s can't be a CUDA graph, so it is computed without: %s", name, error)
        return step
    if not all(difference <= tolerance for difference, tolerance in differences):
        largest = max(difference for difference, _ in differences)
        log.warning(
            "%s as a CUDA graph differs by up to %.2g, so it is computed without", name, largest
        )
        return step
    return replay


def _difference(replay: Step, step: Step) -> tuple[float, float]:
    """The largest of the logits, and what rounding explains of a sum in another order."""
    replayed = replay().float()
    plain = step()
    tolerance = math.sqrt(torch.finfo(plain.dtype).eps) * max(1.0, float(plain.abs().max()))
    return float((replayed - plain).abs().max()), tolerance
