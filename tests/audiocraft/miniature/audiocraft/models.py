"""What the worker uses of ``audiocraft.models``, with the names and shapes of 1.3.0.

It makes no music: a code is a number that counts up, its sound is 640 times that number over
1000. The names of models and the words of prompts choose what goes wrong.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import torch

CODEBOOKS = 4
FRAME_RATE = 50
SAMPLES = 640  # a frame


class MusicGen:
    """One model; ``max_duration`` in seconds."""

    sample_rate = 32000
    max_duration = 30.0

    def __init__(self, name: str) -> None:
        print("AudioCraft prints on standard output")
        self.name = name
        self.lm = Language()
        self._callback: Callable[[int, int], None] | None = None

    @staticmethod
    def get_pretrained(name: str, device: str | None = None) -> MusicGen:
        if name == "facebook/unheard-of":
            raise ConnectionError("We couldn't connect to the hub")
        if name == "facebook/slow-to-load":
            time.sleep(60)
        if os.path.isdir(name) and not os.path.getsize(f"{name}/state_dict.bin"):
            raise EOFError("Ran out of input")
        return MusicGen(name)

    def set_generation_params(
        self, *, duration: float, extend_stride: float, **knobs: float
    ) -> None:
        assert extend_stride < self.max_duration
        assert knobs.keys() == {"top_k", "top_p", "temperature", "cfg_coef"}
        self._frames = int(duration * FRAME_RATE)

    def set_custom_progress_callback(self, callback: Callable[[int, int], None]) -> None:
        self._callback = callback

    def generate(self, descriptions: list[str], progress: bool = False) -> torch.Tensor:
        return self.generate_audio(self._codes(descriptions[0]))

    def generate_audio(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [B, K, T] → sound [B, 1, 640 T] of the first codebook."""
        assert (codes >= 0).all()
        return codes[:, :1].repeat_interleave(SAMPLES, dim=-1) / 1000

    def _codes(self, prompt: str) -> torch.Tensor:
        """[1, K, T]; the first is drawn with the seed, and from there they count up."""
        go_wrong(prompt)
        start = int(torch.randint(100, ()))
        steps = self._frames + CODEBOOKS - 1
        columns = []
        for step in range(steps):
            columns.append(self.lm._sample_next_token(start + step))
            if self._callback:
                self._callback(step + 1, steps)
            if prompt == "slowly":
                time.sleep(0.02)
        sequence = torch.cat([torch.full((1, CODEBOOKS, 1), -1), *columns], dim=-1)
        return Pattern(self._frames).revert_pattern_sequence(sequence, special_token=-1)[0]


class Language:
    """``MusicGen.lm``."""

    special_token_id = -1

    def __init__(self) -> None:
        self.pattern_provider = PatternProvider()

    def _sample_next_token(self, number: int) -> torch.Tensor:
        return number - torch.arange(CODEBOOKS).reshape(1, CODEBOOKS, 1)


class PatternProvider:
    """Codebook k runs k steps behind."""

    def get_pattern(self, timesteps: int) -> Pattern:
        return Pattern(timesteps)


class Pattern:
    """``layout``: one entry for the special step, and one for each step after it."""

    def __init__(self, timesteps: int) -> None:
        self._timesteps = timesteps
        self.layout = [None] * (1 + timesteps + CODEBOOKS - 1)

    def revert_pattern_sequence(
        self, sequence: torch.Tensor, special_token: int
    ) -> tuple[torch.Tensor, None, None]:
        """[B, K, S] → codes [B, K, T], and two things that nobody asks for."""
        assert sequence.shape[-1] == len(self.layout)
        rows = [sequence[:, k, 1 + k : 1 + k + self._timesteps] for k in range(CODEBOOKS)]
        return torch.stack(rows, dim=1), None, None


def go_wrong(prompt: str) -> None:
    if prompt == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if prompt == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if prompt == "quit":
        os._exit(3)
    if prompt == "memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
    if prompt == "memory of the computer":
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 B")
    if prompt == "bug":
        raise IndexError("list index out of range")
    if prompt == "stuck":
        time.sleep(60)
    if prompt == "keys" and (found := [name for name in os.environ if "SEGMIND" in name]):
        raise AssertionError(found)
