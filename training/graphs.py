"""A training step as one CUDA graph: recorded once, then replayed without Python.

A small model's step is hundreds of kernels of a few microseconds each, which Python launches
ten times slower than a GPU runs them. A recorded step works in place: it reads its batch from
tensors that are filled before each replay, and may neither read a number back from the GPU nor
make a shape depend on one. On a CPU the same step simply runs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["Losses", "captured"]

Losses = dict[str, torch.Tensor]
_WARM_UP = 3  # runs before recording, so that kernels are chosen and memory is there


def captured(step: Callable[[], Losses], device: torch.device) -> Callable[[], Losses]:
    """``step``, or on a GPU its recording, which returns the same tensors each time.

    Recording runs ``step`` a few times first: on what its tensors hold then.
    """
    if device.type != "cuda":
        return step
    _warm_up(step)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses = step()

    def replay() -> Losses:
        graph.replay()
        return losses

    return replay


def _warm_up(step: Callable[[], Losses]) -> None:
    """On a stream of its own, as recording will be."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
