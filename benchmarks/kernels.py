"""The prebuilt kernel against one compiled here, by SIMD level.

Both compute the same steps alternately on one thread, and what counts is that thread's CPU
time, which other programs disturb little. A ratio above 1 means that the prebuilt one takes
longer. Their logits are compared, too. Run it from the project's root::

    python -m benchmarks.kernels [--compiler g++] [--model small|nano] [--rounds 30]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.decoder import SMALL, prepared, random_decoder
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.model import Decoder
from musicgen_space.engine.placement import CPU
from musicgen_space.engine.runtimes.native import build, prebuilt
from musicgen_space.engine.runtimes.native.decoder import Mode, NativeDecoder, simd_levels
from musicgen_space.models import embedded_folder

MODES: tuple[Mode, ...] = ("exact", "int8", "int4")
SECONDS = 5  # of music before the steps


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--model", choices=["small", "nano"], default="nano")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/kernels.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    decoder = random_decoder(SMALL) if options.model == "small" else embedded()
    with tempfile.TemporaryDirectory() as folder:
        theirs = build.load(Path(folder), [options.compiler])
        ours = prebuilt.load()
        if ours is None or theirs is None:
            raise SystemExit("One of the two kernels is missing here; the log says why.")
        print("| level | weights | time of ours / theirs: median (min – max) | same logits |")
        print("|---|---|---|---|")
        rows = [
            compared(decoder, mode, level, ours, theirs, options.rounds)
            for level in simd_levels(ours)
            for mode in MODES
        ]
    report = {"machine": platform.processor(), "compiler": options.compiler, "rows": rows}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def embedded() -> Decoder:
    decoder = load(embedded_folder(), replace(CPU, native=False)).decoder
    assert isinstance(decoder, Decoder)
    return decoder


def compared(
    decoder: Decoder,
    mode: Mode,
    level: str,
    ours: ctypes.CDLL,
    theirs: ctypes.CDLL,
    rounds: int,
) -> dict[str, Any]:
    steps: list[Callable[[], torch.Tensor]] = []
    for library in (ours, theirs):
        torch.manual_seed(0)
        steps.append(prepared(NativeDecoder(decoder, mode, library, 1, level), SECONDS)[0])
    same = all(torch.equal(*(step() for step in steps)) for _ in range(3))
    ratios = []
    for round_ in range(rounds):
        order = steps if round_ % 2 else steps[::-1]  # neither is always the one that comes first
        seconds = {step: thread_seconds(step) for step in order}
        ratios.append(seconds[steps[0]] / seconds[steps[1]])
    median = statistics.median(ratios)
    print(
        f"| {level} | {mode} | {median:.2f} ({min(ratios):.2f} – {max(ratios):.2f}) | {same} |",
        flush=True,
    )
    return {"level": level, "mode": mode, "ratios": ratios, "same": same}


def thread_seconds(step: Callable[[], Any]) -> float:
    started = time.thread_time()
    for _ in range(3):
        step()
    return time.thread_time() - started


if __name__ == "__main__":
    main()
