"""Who takes part in ``benchmarks.cpu``, each in a process of its own.

A process loads its model, says how long that took, and then does what it is told on its
standard input, answering each line with a line of JSON: ``take`` makes one and measures it,
``steps N`` measures the decoder's steps after N seconds of music. At the end of the input
it says how much memory it had at most.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.small import PROMPT, in_audiocrafts_format

__all__ = ["CONTESTANTS", "Contestant", "Result", "serve"]

Result = dict[str, float]

FRAME_RATE = 50
_STEPS_SECONDS = 1.5  # for which steps are measured at a time


@dataclass(frozen=True)
class Loaded:
    """A model that is ready: ``take`` makes one, ``step_after(seconds)`` → a step's function."""

    take: Callable[[], Result]
    step_after: Callable[[int], Callable[[], None]] | None = None


class Contestant:
    """The process, as seen from the benchmark."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-m", "benchmarks.cpu", *sys.argv[1:], "--contestant", name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._load = self._read()["load"]

    def take(self) -> Result:
        """One take's figures."""
        return self._ask("take")

    def steps(self, seconds: int) -> float | None:
        """Steps a second after so much music; None where only whole takes can be measured."""
        return self._ask(f"steps {seconds}").get("steps")

    def end(self) -> Result:
        """How long it took to load, and the most memory it had; both with the imports'."""
        rest, _ = self._process.communicate()
        return {"load": self._load, **json.loads(rest)}

    def _ask(self, order: str) -> Result:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Result:
        assert self._process.stdout is not None
        result: Result = json.loads(self._process.stdout.readline())
        return result


def serve(name: str, options: Namespace) -> None:
    """What a contestant's process does."""
    started = time.perf_counter()
    loaded = CONTESTANTS[name](options)
    print(json.dumps({"load": time.perf_counter() - started}), flush=True)
    steps: dict[int, Callable[[], None]] = {}
    for line in sys.stdin:
        order, *seconds = line.split()
        if order == "take":
            answer = loaded.take()
        elif loaded.step_after is None:
            answer = {}
        else:
            after = int(seconds[0])
            step = steps.get(after) or steps.setdefault(after, loaded.step_after(after))
            answer = {"steps": steps_a_second(step)}
        print(json.dumps(answer), flush=True)
    most = max(
        resource.getrusage(whose).ru_maxrss  # in kilobytes, on Linux
        for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(json.dumps({"peak_memory": most * 1024}))


def musicgen_space(options: Namespace) -> Loaded:
    """Our engine, as the local backend runs it."""
    import torch

    from benchmarks.decoder import prepared
    from musicgen_space.backends.local.backend import torch_threads
    from musicgen_space.engine.checkpoint.loader import load
    from musicgen_space.engine.generate import generate
    from musicgen_space.engine.placement import choose_placement
    from musicgen_space.engine.runtimes.native.build import default_cache
    from musicgen_space.request import MusicRequest

    cores = os.cpu_count() or 1
    torch.set_num_threads(torch_threads(weights=0))
    placement = choose_placement("cpu", quant=options.quant, threads=cores, cache=default_cache())
    model = load(options.model, placement)
    request = MusicRequest(PROMPT, duration=options.seconds)

    def take() -> Result:
        started, first = time.perf_counter(), 0.0
        for piece in generate(model, request):
            if piece.samples.size and not first:
                first = time.perf_counter() - started
        return measured(options.seconds, started, first)

    return Loaded(take, lambda seconds: prepared(model.decoder, seconds)[0])


def transformers(options: Namespace) -> Loaded:
    """``generate`` of transformers, in float32, which is its fastest here."""
    import torch
    from transformers import (
        AutoTokenizer,
        DynamicCache,
        EncoderDecoderCache,
        MusicgenForConditionalGeneration,
    )

    model = MusicgenForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32)
    model.eval()
    inputs = AutoTokenizer.from_pretrained(options.model)([PROMPT], return_tensors="pt")
    frames = round(options.peer_seconds * FRAME_RATE) + 3  # the delays of 4 codebooks

    def take() -> Result:
        started = time.perf_counter()
        model.generate(
            **inputs, do_sample=True, top_k=250, guidance_scale=3.0, max_new_tokens=frames
        )
        return measured(options.peer_seconds, started)

    def step_after(seconds: int) -> Callable[[], None]:
        config = model.config.decoder
        # Two rows, since there is guidance.
        text = torch.randn(2, inputs.input_ids.shape[1], config.hidden_size)
        codes = torch.randint(config.vocab_size, (2 * config.num_codebooks, seconds * FRAME_RATE))
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

        def step(codes: torch.Tensor = codes[:, :1]) -> None:
            with torch.inference_mode():
                model.decoder(codes, None, text, None, cache)

        step(codes)
        return step

    return Loaded(take, step_after)


def audiocraft(options: Namespace) -> Loaded:
    """AudioCraft in its own environment, through this project's backend for it."""
    import threading

    from musicgen_space.backends.audiocraft import AudioCraftBackend
    from musicgen_space.request import MusicRequest
    from musicgen_space.settings import Settings
    from musicgen_space.take import Take

    folder = in_audiocrafts_format(options.model)
    os.chdir(folder)  # where it finds "t5-base"
    python = str(options.audiocraft)
    backend = AudioCraftBackend(Settings(device="cpu", audiocraft_python=python), python)

    def take(seconds: float = options.peer_seconds) -> Result:
        started = time.perf_counter()
        wish = MusicRequest(PROMPT, duration=seconds, model=str(folder))
        made = list(backend.generate(wish, threading.Event()))
        assert isinstance(made[-1], Take)
        return measured(seconds, started)

    take(1)  # it loads with the first take
    return Loaded(take)


CONTESTANTS: dict[str, Callable[[Namespace], Loaded]] = {
    "musicgen_space": musicgen_space,
    "transformers": transformers,
    "audiocraft": audiocraft,
}


def steps_a_second(step: Callable[[], None]) -> float:
    """How often ``step`` can be done in a second."""
    started, steps = time.perf_counter(), 0
    while (taken := time.perf_counter() - started) < _STEPS_SECONDS:
        step()
        steps += 1
    return steps / taken


def measured(seconds: float, started: float, first_sound: float = 0.0) -> Result:
    """A take's figures; who does not stream has the first sound with the last."""
    wall = time.perf_counter() - started
    return {
        "wall": wall,
        "real_time_factor": seconds / wall,
        "first_sound": first_sound or wall,
    }
