"""Our engine against AudioCraft's recorded answers, on the same files in AudioCraft's format.

    .venv/bin/python -m tests.audiocraft.compare [FOLDER] [--write FILE]

FOLDER is what ``reference.py`` filled. Prints one line for each model and take, as Markdown,
and ends with 1 if codes differ, or numbers by more than ``TOLERANCE``; takes with top-p are
shown, not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from musicgen_space.clip import Clip
from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.conditioners.chroma import extract_chroma
from musicgen_space.engine.conditioning import Conditioning
from musicgen_space.engine.delay import DelayPattern
from musicgen_space.engine.generate import MusicGen, generate
from musicgen_space.request import MusicRequest

TOLERANCE = 1e-3
# With top-p AudioCraft draws from the probabilities in falling order, transformers (and so we)
# in the codebook's: the same odds, another draw.
DRAWN_IN_ANOTHER_ORDER = "nucleus"
HEADER = "| model | what | codes | largest difference |\n|---|---|---|---|"


@dataclass(frozen=True)
class Result:
    """One comparison; ``same`` and ``codes`` count codes, where codes are compared."""

    model: str
    what: str
    difference: float
    same: int = 0
    codes: int = 0

    @property
    def good(self) -> bool:
        return self.same == self.codes and self.difference < TOLERANCE

    def __str__(self) -> str:
        codes = f"{self.same} of {self.codes} equal" if self.codes else ""
        return f"| {self.model} | {self.what} | {codes} | {self.difference:.1e} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".cache/audiocraft"))
    parser.add_argument("--write", type=Path, metavar="FILE", help="where to write the table too")
    options = parser.parse_args()

    torch.set_num_threads(1)  # as in reference.py: sums in another order round differently
    results = [result for name in ("text", "stereo", "melody") for result in compare(options, name)]
    versions = json.loads((options.folder / "text" / "reference.json").read_text())["versions"]
    against = ", ".join(f"{library} {version}" for library, version in versions.items())
    page = "\n".join([f"Against {against}:\n", HEADER, *map(str, results)])
    print(page)
    if options.write:
        words = options.write.read_text().split("\nAgainst ")[0]
        options.write.write_text(f"{words}\n{page}\n")
    counted = [result for result in results if not result.what.endswith(DRAWN_IN_ANOTHER_ORDER)]
    sys.exit(not all(result.good for result in counted))


@torch.inference_mode()
def compare(options: argparse.Namespace, name: str) -> list[Result]:
    """All comparisons of one model."""
    folder = options.folder / name
    facts = json.loads((folder / "reference.json").read_text())
    recorded = load_file(folder / "reference.safetensors")
    model = load(folder)
    states = model.text.encode([facts["prompt"]]).states[0]
    results = [
        Result(name, "T5's states", gap(states, recorded["text.states"])),
        codec_codes(model, name, recorded),
        logits(model, name, facts["prompt"], recorded, None),
    ]
    if "melody" in recorded:
        tune = Clip(recorded["melody"].numpy(), facts["sample_rate"])
        heard = extract_chroma(recorded["melody"][0], facts["sample_rate"], 12, 235)
        results.append(Result(name, "chroma", gap(heard, recorded["melody.chroma"])))
        features = recorded["melody.features"]
        of_transformers = gap(heard[: len(features)], features)
        results.append(Result(name, "chroma, transformers' extractor", of_transformers))
        results.append(logits(model, name, facts["prompt"], recorded, tune))
    for case, wish in facts["cases"].items():
        results.append(take(model, name, case, facts, wish, recorded))
    return results


def codec_codes(model: MusicGen, name: str, recorded: dict[str, torch.Tensor]) -> Result:
    """EnCodec's codes of the clip; their sound is compared with each take."""
    codes = model.encode(Clip(recorded["clip"].numpy(), model.codec.sample_rate))
    same = int((codes == recorded["clip.codes"]).sum())
    return Result(name, "EnCodec's codes", 0.0, same, codes.numel())


def logits(
    model: MusicGen,
    name: str,
    prompt: str,
    recorded: dict[str, torch.Tensor],
    melody: Clip | None,
) -> Result:
    """Teacher-forced logits of both rows of guidance, in the order of the codes they predict."""
    codes, config = recorded["forced.codes"], model.decoder.config
    expected = recorded["forced.logits" if melody is None else "forced_melody.logits"]
    request = MusicRequest(prompt, melody=melody)
    condition = Conditioning(request, model.text, config, model.codec.sample_rate).at(0)
    pattern = DelayPattern(config.delays, codes.shape[-1])
    sequence = pattern.build_sequence(codes[None], config.special_token)
    made, cache = model.decoder.prefill(sequence[..., :1], condition, max_steps=pattern.steps)
    predicted = torch.zeros(2, *sequence.shape[1:], config.codebook_size)
    for step in range(1, pattern.steps + 1):
        predicted[:, :, step] = made
        if step < pattern.steps:
            made = model.decoder.decode(sequence[..., step], cache)
    rows = [
        predicted[:, codebook, 1 + delay : 1 + delay + pattern.frames]
        for codebook, delay in enumerate(config.delays)
    ]
    what = "logits" if melody is None else "logits with a melody"
    return Result(name, what, gap(torch.stack(rows, dim=1), expected))


def take(
    model: MusicGen,
    name: str,
    case: str,
    facts: dict[str, Any],
    wish: dict[str, Any],
    recorded: dict[str, torch.Tensor],
) -> Result:
    """A whole take: its codes, and the largest difference of its samples."""
    inputs: dict[str, Clip] = {}
    length = wish["duration"]
    if wish["input"]:
        clip = Clip(recorded[wish["input"]].numpy(), facts["sample_rate"])
        inputs["continue_from" if wish["input"] == "clip" else "melody"] = clip
        if wish["input"] == "clip":
            length -= clip.duration  # AudioCraft's length counts the clip
    request = MusicRequest(
        facts["prompt"],
        duration=length,
        seed=wish["seed"],
        top_k=wish["top_k"] if wish["sampling"] else 1,
        top_p=wish["top_p"],
        temperature=wish["temperature"],
        guidance_scale=wish["guidance_scale"],
        **inputs,
    )
    heard: list[torch.Tensor] = []
    embed = model.codec.embed
    model.codec.embed = lambda codes: heard.append(codes) or embed(codes)  # type: ignore
    pieces = [piece.samples for piece in generate(model, request)]
    del model.codec.embed
    codes = torch.cat(heard, dim=-1).transpose(0, 1).flatten(0, 1)
    sound = torch.from_numpy(np.concatenate(pieces, axis=-1)[0])
    expected = recorded[f"{case}.codes"]
    same = int((codes == expected).sum()) if codes.shape == expected.shape else 0
    return Result(
        name, f"take: {case}", gap(sound, recorded[f"{case}.samples"]), same, expected.numel()
    )


def gap(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference; infinite where even the shapes differ."""
    return float((ours - theirs).abs().max()) if ours.shape == theirs.shape else float("inf")


if __name__ == "__main__":
    main()
