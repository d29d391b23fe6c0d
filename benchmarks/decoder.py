"""Steps a second of the decoder alone: torch against the native kernel.

The contenders take turns, so that all meet the same moods of a shared machine, and each
round's best counts. The shape of musicgen-small gets random weights (its speed does not
depend on them); musicgen-nano is the embedded checkpoint. Two rows: guidance. Run it from
the project's root::

    python -m benchmarks.decoder [--model small|nano] [--threads 1 2] [--modes exact int8 int4]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.engine.model import Condition, Decoder, Predictor, TextCondition
from musicgen_space.engine.runtimes.half import halve_lossless
from musicgen_space.engine.runtimes.native import kernel
from musicgen_space.engine.runtimes.native.decoder import NativeDecoder
from musicgen_space.models import embedded_folder

FRAME_RATE = 50
TOKENS = 10  # of a prompt's text
SMALL = DecoderConfig(
    width=1024,
    heads=16,
    layers=24,
    ffn_dim=4096,
    codebooks=4,
    codebook_size=2048,
    text_width=768,
)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["small", "nano"], default="small")
    parser.add_argument("--seconds", type=int, nargs="+", default=[5, 15, 30], help="of context")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--modes", nargs="+", default=["exact", "int8", "int4"])
    parser.add_argument("--torch", type=int, default=1, help="0 leaves torch out")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    options = parser.parse_args()

    if options.model == "small":
        decoder = random_decoder(SMALL)
    else:
        decoder = load(embedded_folder()).decoder
        torch.set_num_threads(1)  # a small model's threads cost more than they bring
    library = kernel.load()
    if library is None:
        raise SystemExit("There is no kernel for this machine; the log says why.")
    contenders: dict[str, Decoder | NativeDecoder] = {}
    for mode in options.modes:
        for threads in options.threads:
            native = NativeDecoder(decoder, mode, library, threads)
            contenders[f"native {mode}, {threads} threads"] = native
    if options.torch:
        halve_lossless(decoder)
        contenders["torch"] = decoder
    print(f"steps a second, {options.model}  " + "".join(f"{s:>6} s" for s in options.seconds))
    runs = {}
    for name, each in contenders.items():
        runs[name], read = zip(*(prepared(each, s) for s in options.seconds), strict=True)
        print(f"{name:32}" + "".join(f"{rate:8.0f}" for rate in read) + "  steps read beforehand")
    best = {name: [float("inf")] * len(options.seconds) for name in contenders}
    for _ in range(options.rounds):
        for place in range(len(options.seconds)):
            for name, run in runs.items():
                steps = 1 if name == "torch" and options.model == "small" else options.steps
                started = time.perf_counter()
                for _ in range(steps):
                    run[place]()
                each = (time.perf_counter() - started) / steps
                best[name][place] = min(best[name][place], each)
    for name, times in best.items():
        print(f"{name:32}" + "".join(f"{1 / each:8.1f}" for each in times))


def random_decoder(config: DecoderConfig) -> Decoder:
    """A decoder of these shapes, its weights float16 numbers like many published ones."""
    torch.manual_seed(0)
    decoder = Decoder(config)
    for parameter in decoder.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.02)
    for parameter in decoder.parameters():
        parameter.data = parameter.data.half().float()
    return decoder.eval().requires_grad_(False)


def prepared(decoder: Predictor, seconds: int) -> tuple[Callable[[], torch.Tensor], float]:
    """A function that makes one step after ``seconds`` of music, and how fast these were read.

    It returns the logits. The speed is in steps a second, in one prefill.
    """
    config = decoder.config
    steps = seconds * FRAME_RATE
    text = torch.randn(1, TOKENS, config.text_width)
    condition = Condition(TextCondition(text, torch.ones(1, TOKENS, dtype=torch.bool)), rows=2)
    codes = torch.randint(config.codebook_size, (1, config.codebooks, steps))
    started = time.perf_counter()
    _, state = decoder.prefill(codes, condition, max_steps=steps + 2000)
    read = steps / (time.perf_counter() - started)

    @torch.inference_mode()
    def step() -> torch.Tensor:
        return decoder.decode(codes[..., 0], state)

    return step, read


if __name__ == "__main__":
    main()
