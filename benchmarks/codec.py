"""EnCodec's decoder: bfloat16 on the native kernel against float32 in torch, and its noise.

Both decode the same second of music alternately on one thread, and what counts is that
thread's CPU time, which other programs disturb little. A ratio below 1 means that bfloat16
takes less. Streams that are ready together are pushed together. Run it from the project's
root::

    python -m benchmarks.codec [--model small|nano] [--sounds 1 4] [--rounds 12]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import EncodecConfig, EncodecModel

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.codec.encodec import Codec, CodecStream, Push
from musicgen_space.engine.runtimes.native import kernel
from musicgen_space.models import embedded_folder

FRAMES = 50  # a second
ENTRIES = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["small", "nano"], default="small")
    parser.add_argument("--sounds", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/codec.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = random_encodec() if options.model == "small" else load(embedded_folder()).codec._model
    ours, theirs = Codec(model, kernel.load()), Codec(model)
    if not ours.uses_bfloat16:
        raise SystemExit("This processor has no products in bfloat16, or there is no kernel.")
    print(f"{processor()}, load {os.getloadavg()[0]:.1f}; noise {noise(ours):.1f} dB\n")
    print("| sounds | bfloat16, ms a second of each | float32 | ratio: median (min – max) |")
    print("|---|---|---|---|")
    rows = [compared(ours, theirs, sounds, options.rounds) for sounds in options.sounds]
    report = {"machine": processor(), "model": options.model, "noise": noise(ours), "rows": rows}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def random_encodec() -> EncodecModel:
    """musicgen-small's EnCodec with random weights, whose speed is the same."""
    config = EncodecConfig(
        sampling_rate=32000,
        num_filters=64,
        upsampling_ratios=[8, 5, 4, 4],
        codebook_size=ENTRIES,
        target_bandwidths=[2.2],
        use_causal_conv=False,
        use_conv_shortcut=False,
        normalize=False,
    )
    model = EncodecModel(config).eval()
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    return model


@dataclass(frozen=True, slots=True)
class Contestant:
    """Streams of one codec that are ready together."""

    codec: Codec
    streams: list[CodecStream]

    @classmethod
    def of(cls, codec: Codec, sounds: int) -> Contestant:
        """With as many new streams."""
        return cls(codec, [codec.stream() for _ in range(sounds)])

    def seconds(self, codes: torch.Tensor) -> float:
        """How long the next FRAMES of each stream take."""
        pushes = [Push(stream, codes, last=False) for stream in self.streams]
        started = time.thread_time()
        self.codec.push_together(pushes)
        return time.thread_time() - started


def compared(ours: Codec, theirs: Codec, sounds: int, rounds: int) -> dict[str, Any]:
    codes = torch.randint(ENTRIES, (1, 4, FRAMES))
    pair = [Contestant.of(codec, sounds) for codec in (ours, theirs)]
    times = []
    for round_ in range(rounds + 2):
        order = pair if round_ % 2 else pair[::-1]  # neither is always the one that comes first
        seconds = {id(each): each.seconds(codes) for each in order}
        times.append([seconds[id(each)] for each in pair])
    times = times[2:]  # the first pushes hold frames back
    ratios = [our_time / their_time for our_time, their_time in times]
    our_time, their_time = (
        statistics.median(each) * 1000 / sounds for each in zip(*times, strict=True)
    )
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
    print(f"| {sounds} | {our_time:.0f} | {their_time:.0f} | {spread} |", flush=True)
    return {"sounds": sounds, "bfloat16": our_time, "float32": their_time, "ratios": ratios}


def noise(codec: Codec) -> float:
    """Decibels above what float32 makes of four seconds of random codes."""
    codes = torch.randint(ENTRIES, (1, 4, 4 * FRAMES), generator=torch.Generator().manual_seed(0))
    whole = codec.decode(codes)
    return 20 * math.log10((codec.stream().push(codes, last=True) - whole).norm() / whole.norm())


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    known = {name.strip(): value.strip() for name, _, value in (s.partition(":") for s in lines)}
    parts = (known.get(name) for name in ("model name", "cpu family", "model"))
    return "{}, family {}, model {}".format(*parts)


if __name__ == "__main__":
    main()
