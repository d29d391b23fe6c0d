"""CUDA graphs without a card: a stand-in records a step, and replays it, fails, or lies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.musicgen import MusicGen
from musicgen_space.engine.runtimes.torch import slots
from musicgen_space.engine.runtimes.torch.decoder import SlotDecoder
from musicgen_space.engine.runtimes.torch.graphs import Capture, CudaCapture, Step
from musicgen_space.engine.scheduler.events import Failed
from musicgen_space.engine.scheduler.scheduler import Scheduler
from musicgen_space.request import MusicRequest
from tests.conftest import TORCH

REQUESTS = [MusicRequest("jazz", duration=1, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def plain(tiny_folder: Path) -> MusicGen:
    return load(tiny_folder, TORCH)


def codes(model: MusicGen, capture: Capture | None) -> list[torch.Tensor]:
    """Of requests that come one after the other."""
    decoder = SlotDecoder(model.decoder, 4, capture)
    with Scheduler(replace(model, decoder=decoder)) as scheduler:
        makings = []
        while scheduler.busy or len(makings) < len(REQUESTS):
            if len(makings) < len(REQUESTS) and (not makings or makings[-1].steps > 10):
                makings.append(scheduler.add(REQUESTS[len(makings)]))
            assert not any(isinstance(event, Failed) for event in scheduler.step())
    return [making.generation.codes for making in makings]


@pytest.fixture(scope="module")
def expected(plain: MusicGen) -> list[torch.Tensor]:
    return codes(plain, None)


class Recorder:
    """As CUDA does it: each replay writes the logits to the same memory."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, step: Step) -> Step:
        self.recorded += 1
        output = step().clone()

        def replay() -> torch.Tensor:
            self.replayed += 1
            return output.copy_(step())

        return replay


def test_a_step_is_recorded_once_for_each_bucket_and_replayed_from_then_on(
    plain: MusicGen, expected: list[torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    assert all(map(torch.equal, codes(plain, recorder), expected))
    assert recorder.recorded == 5  # 1, 2 and 4 slots as they come, 2 and 1 as they go
    assert recorder.replayed > 60
    assert not caplog.records


def fails(step: Step) -> Step:
    raise RuntimeError("operation not permitted when stream is capturing")


def fails_when_replayed(step: Step) -> Step:
    return lambda: fails(step)()


def is_off(step: Step) -> Step:
    return lambda: step() + 0.5


def makes_no_sense(step: Step) -> Step:
    return lambda: step() * torch.nan


def remembers_its_first_answer(step: Step) -> Step:
    recorded = step()
    return lambda: recorded


@pytest.mark.parametrize(
    ("capture", "complaint"),
    [
        # Without a card it fails; with one, it records nothing of what the CPU does.
        (CudaCapture(torch.device("cuda")), "CUDA graph"),
        (fails, "can't be a CUDA graph, so it is computed without: operation not permitted"),
        (fails_when_replayed, "can't be a CUDA graph"),
        (is_off, "as a CUDA graph differs by up to 0.5, so it is computed without"),
        (makes_no_sense, "as a CUDA graph differs by up to nan"),
        (remembers_its_first_answer, "as a CUDA graph differs by up to"),
    ],
)
def test_where_a_graph_fails_or_differs_the_plain_step_serves_and_the_log_says_so(
    capture: Callable[[Step], Step],
    complaint: str,
    plain: MusicGen,
    expected: list[torch.Tensor],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert all(map(torch.equal, codes(plain, capture), expected))
    first, *others = caplog.messages
    assert first.startswith("A step of 1 slots and 512 positions")
    assert complaint in first
    assert 1 <= len(others) <= 4  # once for a bucket, not for each step


def test_slots_that_move_are_recorded_anew(
    plain: MusicGen, expected: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph would go on reading the memory where they were."""
    monkeypatch.setattr(slots, "_POSITIONS", 16)
    read: list[int] = []

    def records_where(step: Step) -> Step:
        [buffers] = {c.cell_contents for c in step.__closure__ or () if _is_buffers(c)}
        read.append(id(buffers))
        return step

    def _is_buffers(cell: object) -> bool:
        return isinstance(getattr(cell, "cell_contents", None), slots.Buffers)

    assert all(map(torch.equal, codes(plain, records_where), expected))
    assert len(set(read)) >= 2
