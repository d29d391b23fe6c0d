"""Takes at once on a GPU: our step as a CUDA graph and without, against transformers.

All have the same random weights, made on the device, in the shapes of the published models
(their speed does not depend on them), guidance, and the same music so far. They are compared
with each other first, then take turns. A step reads the weights once, and what each take has
in its cache: how fast the same device copies memory is the wall. Run it from the project's root::

    python -m benchmarks.gpu [--shapes small medium] [--takes 1 8 32] [--seconds 10]

With ``--device cpu`` it runs anywhere in seconds, in a tiny shape and with a stand-in for the
graph.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    MusicgenDecoderConfig,
    MusicgenForCausalLM,
)

from benchmarks.many import processor
from musicgen_space.engine.checkpoint.formats.transformers_format import decoder_sources
from musicgen_space.engine.checkpoint.tensors import LazyTensor, load_weights
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.model import Columns, Condition, Decoder, TextCondition
from musicgen_space.engine.placement import Placement, choose_placement
from musicgen_space.engine.runtimes.torch.decoder import SlotDecoder
from musicgen_space.engine.runtimes.torch.graphs import Capture, CudaCapture
from musicgen_space.engine.sampling import Knobs, TorchSampler, apply_guidance
from musicgen_space.errors import is_out_of_memory

FRAME_RATE, TOKENS = 50, 10
CHECKED = 8  # steps that are compared
SLICE = 50  # columns of the music so far that are read at a time
SHAPES = {
    name: DecoderConfig(
        width=width,
        heads=heads,
        layers=layers,
        ffn_dim=4 * width,
        codebooks=4,
        codebook_size=2048,
        text_width=width,  # it is projected once a take
    )
    for name, (width, heads, layers) in {
        "tiny": (64, 4, 2),
        "small": (1024, 16, 24),
        "medium": (1536, 24, 48),
        "large": (2048, 32, 48),
    }.items()
}


class Contestant(Protocol):
    """Advances some takes; logits are [takes, 2, K, V], with the prompt and without."""

    def read(self, codes: torch.Tensor) -> torch.Tensor:
        """The logits after ``codes`` [takes, K, S]."""


class Ours:
    """Takes of one column each join as they do in the scheduler."""

    def __init__(self, decoder: SlotDecoder, text: torch.Tensor, positions: int) -> None:
        self._decoder = decoder
        mask = torch.ones(1, TOKENS, dtype=torch.bool, device=text.device)
        conditions = (Condition(TextCondition(each[None], mask), rows=2) for each in text)
        self._states = [decoder.start(condition, positions)[0] for condition in conditions]

    def read(self, codes: torch.Tensor) -> torch.Tensor:
        """See ``Contestant``."""
        return torch.stack(
            self._decoder.step(self._states, [Columns(each[None]) for each in codes])
        )


class Theirs:
    """The forward of transformers, with the cache that its ``generate`` has."""

    def __init__(self, model: Any, text: torch.Tensor) -> None:
        self._model, self._text = model, torch.cat([text, torch.zeros_like(text)])
        self._cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

    def read(self, codes: torch.Tensor) -> torch.Tensor:
        """See ``Contestant``."""
        takes, codebooks, steps = codes.shape
        rows = codes.repeat(2, 1, 1).view(-1, steps)
        logits = self._model(rows, None, self._text, None, self._cache).logits[:, -1]
        return logits.view(2, takes, codebooks, -1).transpose(0, 1)


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["small", "medium"])
    parser.add_argument("--takes", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=10, help="of music so far")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="in a round")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/gpu.json"))
    if parser.parse_known_args(arguments)[0].device == "cpu":
        parser.set_defaults(shapes=["tiny"], seconds=1, rounds=2, steps=3)
        torch.set_num_threads(1)  # which on a busy machine wait for each other
    options = parser.parse_args(arguments)
    placement = choose_placement(options.device, options.dtype)
    told = complaints()
    bandwidth = copy_bandwidth(placement.device)
    report = {
        "device": name_of(placement.device),
        "dtype": str(placement.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "seconds": options.seconds,
        "copy_bandwidth": bandwidth,
        "shapes": {name: measured(SHAPES[name], placement, options) for name in options.shapes},
        "complaints": told,
    }
    show(report)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2))


def complaints() -> list[str]:
    """What the log will say, such as that a graph was left out, or that slots were."""
    told: list[str] = []
    handler, log = logging.Handler(), logging.getLogger("musicgen_space.engine.runtimes.torch")
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    return told


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a large copy on the device; the best of some."""
    size = 2**30 if device.type == "cuda" else 2**26
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * size / min(seconds_of(lambda: target.copy_(source), device) for _ in range(10))


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Until the device has done it."""
    finish(device)
    started = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - started


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured(
    shape: DecoderConfig, placement: Placement, options: argparse.Namespace
) -> dict[int, dict[str, Any]]:
    theirs = random_model(shape, placement)
    decoder = same_weights(theirs, shape, placement)
    found: dict[int, dict[str, Any]] = {}
    for takes in options.takes:
        try:
            found[takes] = compared(decoder, theirs, takes, placement.device, options)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            found[takes] = {}
    return found


def random_model(shape: DecoderConfig, placement: Placement) -> Any:
    """The decoder of transformers, made where it is needed."""
    torch.manual_seed(0)
    config = MusicgenDecoderConfig(
        vocab_size=shape.codebook_size,
        num_codebooks=shape.codebooks,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        ffn_dim=shape.ffn_dim,
        pad_token_id=None,
        bos_token_id=None,
    )
    with placement.device:
        return MusicgenForCausalLM(config).to(placement.dtype).eval()


def same_weights(theirs: Any, shape: DecoderConfig, placement: Placement) -> Decoder:
    """Our decoder with the weights of theirs."""
    weights = {
        f"decoder.{name}": LazyTensor(name, tensor) for name, tensor in theirs.state_dict().items()
    }
    with torch.device("meta"):
        decoder = Decoder(shape)
    sources = decoder_sources(weights, shape)
    load_weights(decoder, sources, placement.device, placement.dtype)
    return decoder


def compared(
    decoder: Decoder, theirs: Any, takes: int, device: torch.device, options: argparse.Namespace
) -> dict[str, Any]:
    """The largest differences of logits, relative to the largest logit; and the times of each."""
    config, so_far = decoder.config, round(options.seconds * FRAME_RATE)
    positions = so_far + CHECKED + (options.rounds + 1) * options.steps
    codes = torch.randint(
        config.codebook_size, (takes, config.codebooks, positions + 1), device=device
    )
    text = torch.randn(takes, TOKENS, config.width, device=device, dtype=decoder.norm.weight.dtype)
    capture: Capture = CudaCapture(device) if device.type == "cuda" else lambda step: step
    makers: dict[str, Callable[[], Contestant]] = {
        "graph": lambda: Ours(SlotDecoder(decoder, takes, capture), text, positions),
        "plain": lambda: Ours(SlotDecoder(decoder, takes), text, positions),
        "transformers": lambda: Theirs(theirs, text),
    }
    contestants, memory = {}, {}
    for name, make in makers.items():
        before = allocated(device)
        contestants[name] = make()
        for first in range(0, so_far, SLICE):
            contestants[name].read(codes[..., first : min(so_far, first + SLICE)])
        memory[name] = (allocated(device) - before) / takes
    checked = codes[..., so_far : so_far + CHECKED]
    differences = differences_of(contestants, checked)
    rest = codes[..., so_far + CHECKED :]
    times = times_of(contestants, rest, device, options)
    length = positions - options.rounds * options.steps / 2  # as a mean
    return {
        "differences": differences,
        "seconds_a_step": times,
        "seconds_of_sampling": sampling_seconds(config, takes, device),
        "bytes_a_step": bytes_read(decoder, takes, length),
        "memory_a_take": memory if device.type == "cuda" else {},
    }


def allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def differences_of(contestants: dict[str, Contestant], codes: torch.Tensor) -> dict[str, float]:
    found: dict[str, float] = {}
    for step in range(codes.shape[-1]):
        logits = {
            name: each.read(codes[..., step : step + 1]).float()
            for name, each in contestants.items()
        }
        largest = float(logits["plain"].abs().max())
        for name in ("graph", "transformers"):
            difference = float((logits[name] - logits["plain"]).abs().max()) / largest
            found[name] = max(found.get(name, 0.0), difference)
    return found


def times_of(
    contestants: dict[str, Contestant],
    codes: torch.Tensor,
    device: torch.device,
    options: argparse.Namespace,
) -> dict[str, list[float]]:
    """Of a step in each round but the first, which warms up."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(options.rounds + 1):
        steps = codes[..., number * options.steps : (number + 1) * options.steps].split(1, dim=-1)
        for name, each in contestants.items():
            seconds = seconds_of(partial(read_all, each, steps), device)
            times[name].append(seconds / len(steps))
    return {name: each[1:] for name, each in times.items()}


def read_all(contestant: Contestant, steps: Sequence[torch.Tensor]) -> None:
    for step in steps:
        contestant.read(step)


def sampling_seconds(config: DecoderConfig, takes: int, device: torch.device) -> float:
    """Guidance and sampling, which our scheduler does besides."""
    logits = torch.randn(takes, 2, config.codebooks, config.codebook_size, device=device)
    sampler = TorchSampler(device)
    generators = [sampler.generator(seed) for seed in range(takes)]

    def draw() -> None:
        merged = torch.stack([apply_guidance(*each, 3.0) for each in logits])
        sampler.sample(merged, generators, [Knobs()] * takes)

    draw()
    return seconds_of(lambda: [draw() for _ in range(10)], device) / 10


def bytes_read(decoder: Decoder, takes: int, length: float) -> float:
    """The weights, and keys and values of so many positions."""
    config = decoder.config
    numbers = config.weights + 2 * takes * length * 2 * config.layers * config.width
    return numbers * decoder.norm.weight.element_size()


def show(report: dict[str, Any]) -> None:
    wall = report["copy_bandwidth"]
    print(f"{report['device']}, {report['dtype']}, torch {report['torch']}; a copy: ", end="")
    print(f"{wall / 1e9:.0f} GB/s; after {report['seconds']:g} s of music, with guidance")
    for shape, found in report["shapes"].items():
        print(f"\n{shape}\n")
        print("| takes | | ms a step | × real time | of the bandwidth | MB a take | graph is |")
        print("|---|---|---|---|---|---|---|")
        for takes, each in found.items():
            show_takes(takes, each, wall)
    for line in report["complaints"]:
        print(f"\n{line}")


def show_takes(takes: int, found: dict[str, Any], wall: float) -> None:
    if not found:
        print(f"| {takes} | out of memory |")
        return
    times, differences = found["seconds_a_step"], found["differences"]
    for name, own in times.items():
        seconds = statistics.median(own)
        ratio = statistics.median(b / a for a, b in zip(times["graph"], own, strict=True))
        memory = found["memory_a_take"].get(name)
        print(
            f"| {takes} | {name} | {1000 * seconds:.2f} | {takes / FRAME_RATE / seconds:.1f} "
            f"| {found['bytes_a_step'] / seconds / wall:.0%} "
            f"| {'–' if memory is None else f'{memory / 1e6:.0f}'} | {ratio:.2f} × as fast |"
        )
    print(f"| | sampling besides | {1000 * found['seconds_of_sampling']:.2f} |")
    told = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
    print(f"| | differs from plain by, at most | {told} |")


if __name__ == "__main__":
    main()
