"""Makes tiny random MusicGen models with AudioCraft and records what it does with them.

    .venv-audiocraft/bin/python tests/audiocraft/reference.py FOLDER

runs inside the environment of ``install.py`` and needs no network. FOLDER then holds

    t5-base/                      a random T5 of t5-base's width, with a tokenizer of letters;
                                  AudioCraft loads "t5-base" from the working directory
    text/ stereo/ melody/         one model each, in AudioCraft's own format:
        state_dict.bin                the language model, written by AudioCraft's export_lm
        compression_state_dict.bin    EnCodec, written by its export_encodec
        reference.json                what was asked for (see ``CASES``)
        reference.safetensors         what AudioCraft answered

``text`` is stored in half precision, as the published models are, the others in float32. The
EnCodec of ``stereo`` pads with reflections, the others' with zeros, as AudioCraft's own
configuration says.

``reference.json``: ``prompt``; ``sample_rate`` (Hz); ``versions`` of what computed it; ``cases``,
by name, each with ``seed``, ``duration`` (seconds), ``sampling`` (false: greedy), ``top_k``,
``top_p``, ``temperature``, ``guidance_scale`` and ``input``: null, "clip" (continued) or
"melody" (followed).

``reference.safetensors``, with K codebooks of ``card`` entries, T frames, C channels and N samples:

    clip [C, N], clip.codes [K, T]        a sound, and EnCodec's codes of it
    clip.decoded [C, 640 T]               the sound of these codes
    melody [1, N], melody.chroma [235, 12]    only in ``melody``: a tune and what is heard of it
    melody.features [F, 12]               the same by transformers' extractor, not repeated
    text.ids [L], text.states [L, 768]    the prompt's tokens and what T5 makes of them
    forced.codes [K, T]                   random codes …
    forced.logits [2, K, T, card]         … and the logits that predict each of them from those
                                          before it; row 0 with the prompt, row 1 unconditional
    forced_melody.logits                  the same, only in ``melody``, with the tune
    CASE.codes [K, T], CASE.samples [C, 640 T]    the take of each case
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import audiocraft
import torch
import transformers
from audiocraft.models import CompressionModel, MusicGen, builders
from audiocraft.modules.conditioners import ClassifierFreeGuidanceDropout, ConditioningAttributes
from audiocraft.utils.export import export_encodec, export_lm
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

CONFIGS = Path(__file__).parent / "configs"
SAMPLE_RATE = 32000
PROMPT = "slow blues, 12 bars"
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """One take; the defaults are AudioCraft's own."""

    seed: int = 7
    duration: float = 2.0
    sampling: bool = True
    top_k: int = 250
    top_p: float = 0.0
    temperature: float = 1.0
    guidance_scale: float = 3.0
    input: str | None = None


CASES = {
    "greedy": Case(sampling=False),
    "sampled": Case(),
    "few": Case(seed=8, top_k=5),
    "nucleus": Case(seed=9, top_p=0.7),
    "cool": Case(seed=10, temperature=0.6),
    "unguided": Case(seed=11, guidance_scale=1.0),
    "continued": Case(seed=12, input="clip"),
}
MELODY_CASES = {
    "followed": Case(seed=13, input="melody"),
    "followed_greedily": Case(sampling=False, input="melody"),
}


def main() -> None:
    """Fill the folder given as the only argument."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        torch.manual_seed(1)
        make_t5(Path("t5-base"))
        make_model(Path("text"), half=True)
        make_model(Path("stereo"), pad_mode="reflect")
        make_model(Path("melody"))
        for name in ("text", "stereo", "melody"):
            record(Path(name))


# The models.


def make_t5(folder: Path) -> None:
    """As wide as t5-base, which AudioCraft takes for granted, and small in all the rest."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), ("▁", -2.0)]
    letters = [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789,.-'"]
    transformers.T5Tokenizer(vocab=pieces + letters, extra_ids=0).save_pretrained(folder)
    config = transformers.T5Config(
        vocab_size=len(pieces + letters), d_model=768, d_kv=4, d_ff=16, num_layers=2, num_heads=2
    )
    transformers.T5EncoderModel(config).save_pretrained(folder)


def make_model(folder: Path, half: bool = False, pad_mode: str = "constant") -> None:
    """A random model, through AudioCraft's builders and export functions."""
    config = OmegaConf.load(CONFIGS / "text.yaml")
    if folder.name != "text":
        config = OmegaConf.merge(config, OmegaConf.load(CONFIGS / f"{folder.name}.yaml"))
    model = roughened(builders.get_lm_model(config))
    export(export_lm, model.half() if half else model, config, folder / "state_dict.bin")
    config = OmegaConf.load(CONFIGS / "codec.yaml")
    config.seanet.pad_mode = pad_mode
    codec = builders.get_compression_model(config)
    hear_noise(codec)
    export(export_encodec, codec, config, folder / "compression_state_dict.bin")


def roughened(model: torch.nn.Module) -> torch.nn.Module:
    """The model with noise on all that begins as ones or zeros, so that each number counts."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


@torch.no_grad()
def hear_noise(codec: CompressionModel) -> None:
    """Fill the codebooks as training begins: with the means of what the encoder hears."""
    # Left as it is, a random EnCodec fades to the sum of its biases, whatever it is given.
    for name, parameter in codec.named_parameters():
        parameter.mul_(1.75 if name.endswith("weight_g") else 1)
        parameter.mul_(0.2 if name.endswith(".bias") else 1)
    codec.train()(0.3 * torch.randn(4, 1, 2 * SAMPLE_RATE))
    codec.eval()
    loudest = codec.decode(torch.randint(codec.cardinality, (4, 4, 100))).abs().max()
    for parameter in (
        codec.decoder.model[-1].conv.conv.weight_g,
        codec.decoder.model[-1].conv.conv.bias,
    ):
        parameter.mul_(0.7 / loudest)


def export(
    exporter: Callable[[str, Path], object],
    model: torch.nn.Module,
    config: DictConfig,
    destination: Path,
) -> None:
    """Write a training checkpoint, and let AudioCraft make a published one of it."""
    state = {"model": model.state_dict()}
    # The configuration in a training checkpoint is an object, not text.
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    with tempfile.NamedTemporaryFile(suffix=".th") as checkpoint:
        torch.save({"best_state": state, "fsdp_best_state": {}, "xp.cfg": config}, checkpoint.name)
        exporter(checkpoint.name, destination)
    del os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]


# What AudioCraft does with them.


def record(folder: Path) -> None:
    """Load a model as a user of AudioCraft would, and write down its answers."""
    # The whole path: AudioCraft takes the bare word "melody" for a model on the hub.
    model = MusicGen.get_pretrained(str(folder.resolve()), device="cpu")
    cases = dict(CASES)
    inputs = {"clip": a_clip(model.audio_channels)}
    if folder.name == "melody":
        cases |= MELODY_CASES
        inputs["melody"] = a_tune()
    tensors = {**inputs, **of_clip(model, inputs["clip"]), **of_text(model)}
    tensors["forced.codes"] = torch.randint(model.lm.card, (model.lm.n_q, 20))
    tensors["forced.logits"] = forced_logits(model, tensors["forced.codes"])
    if "melody" in inputs:
        tune = inputs["melody"]
        tensors["melody.chroma"] = chroma(model, tune)
        extractor = transformers.MusicgenMelodyFeatureExtractor()
        features = extractor(tune[0].numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        tensors["melody.features"] = features["input_features"][0]
        tensors["forced_melody.logits"] = forced_logits(model, tensors["forced.codes"], tune)
    for name, case in cases.items():
        samples, codes = take(model, case, inputs)
        tensors |= {f"{name}.codes": codes[0], f"{name}.samples": samples[0]}
    save_file(
        {name: t.contiguous() for name, t in tensors.items()}, folder / "reference.safetensors"
    )
    facts = {
        "prompt": PROMPT,
        "sample_rate": SAMPLE_RATE,
        "versions": {m.__name__: m.__version__ for m in (audiocraft, torch, transformers)},
        "cases": {name: asdict(case) for name, case in cases.items()},
    }
    (folder / "reference.json").write_text(json.dumps(facts, indent=2) + "\n")


def a_clip(channels: int) -> torch.Tensor:
    """Noise [C, N] of nearly a second: the last of its 50 frames is not full."""
    return torch.rand(channels, SAMPLE_RATE - 300) - 0.5


def a_tune() -> torch.Tensor:
    """The notes c, e and g, a second each: [1, N]."""
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    notes = [torch.sin(2 * torch.pi * pitch * time) for pitch in (261.63, 329.63, 392.0)]
    return 0.5 * torch.cat(notes)[None]


@torch.no_grad()
def of_clip(model: MusicGen, clip: torch.Tensor) -> Tensors:
    """The codes of the clip, and their sound."""
    codes, _ = model.compression_model.encode(clip[None])
    decoded = model.compression_model.decode(codes)
    return {"clip.codes": codes[0], "clip.decoded": decoded[0]}


@torch.no_grad()
def of_text(model: MusicGen) -> Tensors:
    """The prompt's tokens and T5's states."""
    conditioner = model.lm.condition_provider.conditioners["description"]
    tokens = conditioner.tokenize([PROMPT])
    states = conditioner.t5(**tokens).last_hidden_state
    return {"text.ids": tokens["input_ids"][0], "text.states": states[0]}


def attributes(model: MusicGen, tune: torch.Tensor | None) -> list[ConditioningAttributes]:
    """The prompt, and a tune [1, N] if there is one, as AudioCraft passes them on."""
    return model._prepare_tokens_and_attributes(
        [PROMPT], None, [tune] if tune is not None else None
    )[0]


@torch.no_grad()
def forced_logits(
    model: MusicGen, codes: torch.Tensor, tune: torch.Tensor | None = None
) -> torch.Tensor:
    """Codes [K, T] → the logits [2, K, T, card] that predict them, with and without the prompt."""
    wanted = attributes(model, tune)
    both = wanted + ClassifierFreeGuidanceDropout(p=1.0)(wanted)
    provider = model.lm.condition_provider
    conditions = provider(provider.tokenize(both))
    rows = codes.expand(2, -1, -1)
    output = model.lm.compute_predictions(rows, [], conditions, keep_only_valid_steps=False)
    assert output.mask.all()
    return output.logits


def chroma(model: MusicGen, tune: torch.Tensor) -> torch.Tensor:
    """What the decoder is told of the tune [1, N]: one of 12 pitches a frame, [235, 12]."""
    conditioner = model.lm.condition_provider.conditioners["self_wav"]
    wav = attributes(model, tune)[0].wav["self_wav"]
    return conditioner._get_wav_embedding(wav)[0]


def take(model: MusicGen, case: Case, inputs: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """One take: samples [1, C, N] and codes [1, K, T]."""
    model.set_generation_params(
        use_sampling=case.sampling,
        top_k=case.top_k,
        top_p=case.top_p,
        temperature=case.temperature,
        cfg_coef=case.guidance_scale,
        duration=case.duration,
    )
    torch.manual_seed(case.seed)
    if case.input == "clip":
        return model.generate_continuation(
            inputs["clip"], SAMPLE_RATE, [PROMPT], return_tokens=True
        )
    if case.input == "melody":
        return model.generate_with_chroma(
            [PROMPT], [inputs["melody"]], SAMPLE_RATE, return_tokens=True
        )
    return model.generate([PROMPT], return_tokens=True)


if __name__ == "__main__":
    main()
