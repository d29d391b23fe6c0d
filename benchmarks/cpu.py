"""A whole take on this machine's CPU: our engine against transformers' ``generate``.

Each contestant has a process of its own, with the same weights; they take turns, so that both
meet the same moods of a shared machine, and what counts is the ratio. Without a checkpoint
the weights are random ones in musicgen-small's shape, whose speed is the same: nobody should
have to download gigabytes to check a claim. Run it from the project's root::

    python -m benchmarks.cpu [--model FOLDER] [--seconds 10] [--peer-seconds 2] [--rounds 3]

``benchmarks.decoder`` measures steps of the decoder alone, after 5, 15 and 30 s of music.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musicgen_space.models import embedded_folder

PROMPT = "lo-fi music with a soothing melody"
SMALL = Path(".cache/benchmarks/musicgen-small-random")
Result = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SMALL, metavar="FOLDER")
    parser.add_argument("--nano", action="store_true", help="the embedded checkpoint")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--peer-seconds", type=float, default=2, help="of transformers' takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quant", default="auto", help="as MUSICGEN_QUANT")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/cpu.json"))
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.nano:
        options.model = embedded_folder()
    if options.model == SMALL and not SMALL.exists():
        make_small(SMALL)
    if options.contestant:
        serve(CONTESTANTS[options.contestant], options)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Let the contestants take turns; print the table and write the JSON."""
    contestants = {name: Contestant(name) for name in CONTESTANTS}
    runs: dict[str, list[Result]] = {name: [] for name in contestants}
    for round_ in range(options.rounds + 1):  # the first one warms up and does not count
        for name, contestant in contestants.items():
            result = contestant.ask()
            if round_:
                runs[name].append(result)
    report: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "model": options.model.name,
        "seconds": {"musicgen_space": options.seconds, "transformers": options.peer_seconds},
        "contestants": {name: each.end() for name, each in contestants.items()},
        "runs": runs,
        "ratio": statistics.median(
            ours["real_time_factor"] / theirs["real_time_factor"]
            for ours, theirs in zip(runs["musicgen_space"], runs["transformers"], strict=True)
        ),
    }
    show(report)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def show(report: dict[str, Any]) -> None:
    print(f"{report['model']} on {report['machine']}\n")
    print("| | × real time (min / median / max) | first sound | load | peak memory |")
    print("|---|---|---|---|---|")
    for name, runs in report["runs"].items():
        factors = sorted(run["real_time_factor"] for run in runs)
        spread = " / ".join(
            f"{number:.2f}" for number in (factors[0], statistics.median(factors), factors[-1])
        )
        first = statistics.median(run["first_sound"] for run in runs)
        facts = report["contestants"][name]
        print(
            f"| {name}, {report['seconds'][name]:g} s takes | {spread} | {first:.1f} s | "
            f"{facts['load']:.1f} s | {facts['peak_memory'] / 2**30:.1f} GiB |"
        )
    print(f"\nratio, median of the rounds': {report['ratio']:.1f}")


class Contestant:
    """A process that makes a take whenever it is asked for one."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-m", "benchmarks.cpu", *sys.argv[1:], "--contestant", name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._load = self._read()["load"]

    def ask(self) -> Result:
        """One take's figures."""
        assert self._process.stdin is not None
        self._process.stdin.write("take\n")
        self._process.stdin.flush()
        return self._read()

    def end(self) -> Result:
        """How long it took to load, and the most memory it had; both with the imports'."""
        rest, _ = self._process.communicate()
        return {"load": self._load, **json.loads(rest)}

    def _read(self) -> Result:
        assert self._process.stdout is not None
        result: Result = json.loads(self._process.stdout.readline())
        return result


def serve(contestant: Callable[[argparse.Namespace], Callable[[], Result]], options: Any) -> None:
    """What a contestant's process does."""
    started = time.perf_counter()
    take = contestant(options)
    print(json.dumps({"load": time.perf_counter() - started}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(take()), flush=True)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in kilobytes, on Linux
    print(json.dumps({"peak_memory": most * 1024}))


def ours(options: argparse.Namespace) -> Callable[[], Result]:
    import torch

    from musicgen_space.engine.generate import generate
    from musicgen_space.engine.loader import load
    from musicgen_space.engine.placement import choose_placement
    from musicgen_space.request import MusicRequest

    cores = os.cpu_count() or 1
    torch.set_num_threads(max(1, cores // 4))  # as backends/local.py does
    model = load(options.model, choose_placement("cpu", quant=options.quant, threads=cores))
    request = MusicRequest(PROMPT, duration=options.seconds)

    def take() -> Result:
        started, first = time.perf_counter(), 0.0
        for piece in generate(model, request):
            if piece.samples.size and not first:
                first = time.perf_counter() - started
        return measured(options.seconds, started, first)

    return take


def theirs(options: argparse.Namespace) -> Callable[[], Result]:
    import torch
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    model = MusicgenForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32)
    inputs = AutoTokenizer.from_pretrained(options.model)([PROMPT], return_tensors="pt")
    steps = round(options.peer_seconds * 50) + 3

    def take() -> Result:
        started = time.perf_counter()
        model.eval().generate(
            **inputs, do_sample=True, top_k=250, guidance_scale=3.0, max_new_tokens=steps
        )
        # It does not stream: the first sound comes with the last.
        return measured(options.peer_seconds, started, time.perf_counter() - started)

    return take


CONTESTANTS = {"musicgen_space": ours, "transformers": theirs}


def measured(seconds: float, started: float, first_sound: float) -> Result:
    wall = time.perf_counter() - started
    return {"wall": wall, "real_time_factor": seconds / wall, "first_sound": first_sound}


def make_small(folder: Path) -> None:
    """Random weights in the shape of facebook/musicgen-small, in float16; 1.2 GB."""
    import torch
    from transformers import (
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
    )

    # facebook/musicgen-small, config.json: t5-base, encodec_32khz, and the decoder's defaults.
    text = T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12)
    codec = EncodecConfig(
        sampling_rate=32000,
        num_filters=64,
        upsampling_ratios=[8, 5, 4, 4],
        codebook_size=2048,
        target_bandwidths=[2.2],
        use_causal_conv=False,
        use_conv_shortcut=False,
        normalize=False,
    )
    config = MusicgenConfig(
        text_encoder=text.to_dict(),
        audio_encoder=codec.to_dict(),
        decoder=MusicgenDecoderConfig().to_dict(),
    )
    torch.manual_seed(0)
    MusicgenForConditionalGeneration(config).half().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(embedded_folder() / name, folder)


if __name__ == "__main__":
    main()
