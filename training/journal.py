"""What a stage reports while it runs: lines to watch, and a file to plot."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from training.graphs import Losses

__all__ = ["Diverged", "Journal", "read"]

_NAME = "losses.jsonl"


class Diverged(Exception):
    """A loss is no number any more."""


class Journal:
    """Writes every ``every`` steps to ``folder``; reading a loss waits for the GPU, so not more."""

    def __init__(self, folder: Path, stage: str, steps: int, every: int) -> None:
        self._file = folder / _NAME
        self._stage, self._steps, self._every = stage, steps, every
        self._start = time.monotonic()
        self._file.write_text("")

    def note(self, step: int, losses: Losses, **numbers: float) -> None:
        """Report ``step``, if it is one to report. Raises ``Diverged``."""
        if step % self._every and step != self._steps - 1:
            return
        seconds = time.monotonic() - self._start
        values = {name: value.tolist() for name, value in losses.items()} | numbers
        line = {"step": step, "seconds": round(seconds, 2)} | values
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        shown = "  ".join(f"{name} {_short(value)}" for name, value in values.items())
        speed = (step + 1) / seconds if seconds else 0
        print(f"{self._stage} {step}/{self._steps}  {speed:.1f}/s  {shown}", flush=True)
        if not all(math.isfinite(number) for number in _numbers(values)):
            raise Diverged(f"The {self._stage} diverged at step {step}: {shown}")


def read(folder: Path) -> list[dict[str, float | list[float]]]:
    """The lines that a journal wrote in ``folder``; none if there was no journal."""
    file = folder / _NAME
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _numbers(values: dict[str, float | list[float]]) -> list[float]:
    return [
        number
        for value in values.values()
        for number in (value if isinstance(value, list) else [value])
    ]


def _short(value: float | list[float]) -> str:
    if isinstance(value, list):
        return " ".join(f"{number:.4g}" for number in value)
    return f"{value:.4g}"
