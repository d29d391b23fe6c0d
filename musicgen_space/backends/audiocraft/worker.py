"""Runs inside the Python that has AudioCraft, as a script: takes orders, makes takes.

    python worker.py

Orders come on standard input, answers go to standard output. Each is a line of JSON; an
answer with ``bytes`` is followed by that many. While a take is made, ``stop`` may come.

    order   {"order": "take", "model", "prompt", "duration", "seed", "top_k", "top_p",
             "temperature", "guidance_scale", "device": "cpu" | "cuda" | null, "threads"}
            {"order": "stop"}

    answer  {"answer": "loading", "model": name | null}       on the way; null: AudioCraft itself
            {"answer": "progress", "fraction", "seconds"}     of making it, without loading
            {"answer": "take", "sample_rate", "shape": [channels, samples], "stopped",
             "seconds", "bytes"}                              float32, little-endian
            {"answer": "nothing"}                             stopped before any sound
            {"answer": "error", "type", "message", "loading": bool, "unreachable": bool}

Each order ``take`` ends with one of the last three. The process ends with its input. This
file is on its own: of this project it may import nothing, since AudioCraft's environment has
other versions of everything, down to Python 3.9.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

_PROGRESS_SECONDS = 0.1  # between two answers about progress
_EXTEND_STRIDE = 18.0  # AudioCraft's default, in seconds
# Whose errors mean that something is not to be had: AudioCraft lets them all through.
_DOWNLOADERS = (
    *("huggingface_hub", "requests", "urllib3", "socks"),
    *("httpx", "httpcore", "httpx2", "httpcore2", "socksio"),
)


def main() -> None:
    """Answer orders until the input ends."""
    # Whatever AudioCraft prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    workshop = Workshop(answers)
    orders = orders_from(sys.stdin.buffer, workshop.stop)
    while True:
        workshop.obey(orders.get())


def orders_from(source: BinaryIO, stop: threading.Event) -> queue.SimpleQueue[dict[str, Any]]:
    """A queue that a thread fills with the orders for takes; it notices a stop at once."""
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        for line in source:
            order = json.loads(line)
            if order["order"] == "stop":
                stop.set()
            else:
                stop.clear()
                orders.put(order)
        os._exit(0)  # whoever ordered is gone; nobody wants what is being made

    threading.Thread(target=listen, daemon=True).start()
    return orders


class Stopped(Exception):
    """Raised within a step to end a take."""


class Workshop:
    """Makes one take after the other and keeps the last model."""

    def __init__(self, answers: BinaryIO) -> None:
        self.stop = threading.Event()
        self._answers = answers
        self._loaded: tuple[str, Any] | None = None
        self._loading = False
        self._began = 0.0

    def obey(self, order: dict[str, Any]) -> None:
        """Make a take; whatever goes wrong becomes an answer."""
        try:
            self._make(order)
        except Exception as error:
            traceback.print_exc()
            self._answer(
                "error",
                type=type(error).__name__,
                message=str(error),
                loading=self._loading,
                unreachable=is_unreachable(error),
            )

    def _make(self, order: dict[str, Any]) -> None:
        self._loading = True
        model = self._model(order)
        self._loading = False
        self._began = time.monotonic()
        sound, stopped = self._sound(model, order)
        if sound is None:
            return self._answer("nothing")
        samples = sound[0].float().cpu().numpy()  # [C, N]
        return self._answer(
            "take",
            samples.tobytes(),
            sample_rate=model.sample_rate,
            shape=samples.shape,
            stopped=stopped,
            seconds=time.monotonic() - self._began,
        )

    def _model(self, order: dict[str, Any]) -> Any:
        name = order["model"]
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None  # free the memory before more is needed
            self._answer("loading", model=None)
            import torch
            from audiocraft.models import MusicGen

            if order["threads"]:
                torch.set_num_threads(order["threads"])
            self._answer("loading", model=name)
            self._loaded = (name, MusicGen.get_pretrained(name, device=order["device"]))
        return self._loaded[1]

    def _sound(self, model: Any, order: dict[str, Any]) -> tuple[Any, bool]:
        """The sound [1, C, N], None where there is none yet, and whether it was stopped."""
        import torch

        model.set_generation_params(
            duration=order["duration"],
            top_k=order["top_k"],
            top_p=order["top_p"],
            temperature=order["temperature"],
            cfg_coef=order["guidance_scale"],
            # It insists on a stride below what the model was trained on, needed or not.
            extend_stride=min(_EXTEND_STRIDE, model.max_duration / 2),
        )
        model.set_custom_progress_callback(self._reporter())
        torch.manual_seed(order["seed"])
        drawn = Drawn(model)
        try:
            return model.generate([order["prompt"]], progress=True), False
        except Stopped:
            # What is longer than the model can hear is made in stretches, one by one.
            return drawn.sound() if order["duration"] <= model.max_duration else None, True
        finally:
            drawn.close()

    def _reporter(self) -> Callable[[int, int], None]:
        """What AudioCraft calls after each step."""
        told = 0.0

        def report(done: int, wanted: int) -> None:
            nonlocal told
            if self.stop.is_set():
                raise Stopped
            if done >= wanted or time.monotonic() - told >= _PROGRESS_SECONDS:
                told = time.monotonic()
                seconds = told - self._began
                self._answer("progress", fraction=min(done / wanted, 1.0), seconds=seconds)

        return report

    def _answer(self, answer: str, content: bytes = b"", **facts: Any) -> None:
        header = {"answer": answer, **facts, "bytes": len(content)}
        self._answers.write(json.dumps(header).encode() + b"\n" + content)
        self._answers.flush()


class Drawn:
    """The codes that a model draws, kept step by step: of a take that ends early, the music.

    AudioCraft's ``generate`` returns codes at its end only, so this listens to the method
    that draws a step's codes, [1, K, 1], one for each of the K codebooks.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._draw = model.lm._sample_next_token
        self._steps: list[Any] = []
        model.lm._sample_next_token = self._listen

    def _listen(self, *args: Any, **kwargs: Any) -> Any:
        codes = self._draw(*args, **kwargs)
        self._steps.append(codes.clone())
        return codes

    def close(self) -> None:
        """Listen no more."""
        self._model.lm._sample_next_token = self._draw

    def sound(self) -> Any:
        """The sound [1, C, N] of all frames whose codebooks are complete; None without any."""
        import torch

        pattern_of = self._model.lm.pattern_provider.get_pattern
        # One frame takes the special step, its own, and as many as the last codebook is late.
        late = len(pattern_of(1).layout) - 2
        frames = len(self._steps) - late
        if frames <= 0:
            return None
        special = torch.full_like(self._steps[0], self._model.lm.special_token_id)
        sequence = torch.cat([special, *self._steps], dim=-1)
        codes, *_ = pattern_of(frames).revert_pattern_sequence(sequence, special_token=-1)
        return self._model.generate_audio(codes)


def is_unreachable(error: BaseException) -> bool:
    """Whether an error says that something could not be found or fetched."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _DOWNLOADERS


if __name__ == "__main__":
    main()
