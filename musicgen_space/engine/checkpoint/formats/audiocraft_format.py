"""AudioCraft's own format, as its ``export_lm`` and ``export_encodec`` write it.

``state_dict.bin`` holds the language model and ``compression_state_dict.bin`` EnCodec, each
as ``{"best_state": tensors, "xp.cfg": the whole Hydra configuration in YAML}``; the second
may be ``{"pretrained": the name of an EnCodec in transformers' format}`` instead. T5 is not
stored, only named. Based on AudioCraft 1.3.0: models/builders.py and what that builds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from musicgen_space.engine.checkpoint.files import AUDIOCRAFT_FILES
from musicgen_space.engine.checkpoint.formats import transformers_format
from musicgen_space.engine.checkpoint.formats.training import EXPORT, SAVE
from musicgen_space.engine.checkpoint.parts import (
    Checkpoint,
    CodecPart,
    encodec_config,
    encodec_sources,
)
from musicgen_space.engine.checkpoint.references import Fetch, find
from musicgen_space.engine.checkpoint.tensors import (
    LazyTensor,
    Sources,
    Weights,
    as_weights,
    check_tensor,
    read_pickle,
)
from musicgen_space.engine.config import DecoderConfig
from musicgen_space.errors import InvalidCheckpoint

__all__ = ["read"]


def read(folder: Path, fetch: Fetch) -> Checkpoint:
    """A folder with AudioCraft's two files; ``fetch`` gets the models they refer to.

    Raises ``InvalidCheckpoint``, also for models of AudioCraft that are not MusicGen.
    """
    model, codec = (_package(folder / name) for name in AUDIOCRAFT_FILES)
    config = _Config.of(model, AUDIOCRAFT_FILES[0])
    _check_options(config, _REQUIRED, _DEFAULTED)
    name = config.get("conditioners.description.t5.name")
    text = transformers_format.read_text(find(name, folder, fetch), name)
    shapes = _shapes(config, text.config.d_model)
    file = folder / AUDIOCRAFT_FILES[0]
    decoder = _decoder(as_weights(model.get("best_state"), file), shapes)
    return Checkpoint(shapes, (file,), decoder, text, _codec(codec, folder, fetch))


def _package(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise InvalidCheckpoint(f"{file.parent} lacks {file.name}. {EXPORT}")
    try:
        package = read_pickle(file)
    except InvalidCheckpoint as error:
        if "omegaconf" in str(error):  # how training checkpoints store the configuration
            raise _not_exported(file, "a training checkpoint of AudioCraft", EXPORT) from None
        raise
    if not isinstance(package, dict):
        raise InvalidCheckpoint(f"{file.name} is not what AudioCraft exports.")
    if "pretrained" not in package and not package.keys() >= {"best_state", "xp.cfg"}:
        raise _not_exported(file, "weights without their configuration (xp.cfg)", SAVE)
    best = package.get("best_state")
    if isinstance(best, dict) and isinstance(best.get("model"), dict):
        raise _not_exported(file, "a training checkpoint of AudioCraft", EXPORT)
    return package


def _not_exported(file: Path, what: str, to_do: str) -> InvalidCheckpoint:
    return InvalidCheckpoint(f"{file.name} holds {what}, not what AudioCraft exports. {to_do}")


# The configuration.

_Options = Mapping[str, object]

# Options that change what the weights mean, with MusicGen's value, the only supported one.
_REQUIRED: _Options = {
    "lm_model": "transformer_lm",
    "transformer_lm.activation": "gelu",
    "transformer_lm.norm_first": True,
    "transformer_lm.causal": True,
    "transformer_lm.bias_ff": False,
    "transformer_lm.bias_attn": False,
    "transformer_lm.bias_proj": False,
    "conditioners.description.model": "t5",
}
# The same for options whose default in AudioCraft is that value.
_DEFAULTED: _Options = {
    "transformer_lm.norm": "layer_norm",
    "transformer_lm.positional_embedding": "sin",
    "transformer_lm.max_period": 10_000,
    "transformer_lm.positional_scale": 1,
    "transformer_lm.past_context": None,
    "transformer_lm.layer_scale": None,
    "transformer_lm.qk_layer_norm": False,
    "transformer_lm.qk_layer_norm_cross": False,
    "transformer_lm.kv_repeat": 1,
    "codebooks_pattern.delay.flatten_first": 0,
    "codebooks_pattern.delay.empty_initial": 0,
    "interleave_stereo_codebooks.per_timestep": False,
    "fuser.cross_attention_pos_emb": False,
    "fuser.sum": [],
    "fuser.input_interpolate": [],
    "conditioners.description.t5.finetune": False,
    "conditioners.description.t5.normalize_text": False,
}
# Chroma of windows of 2 ** 14 samples, one-hot.
_MELODY: _Options = {
    "conditioners.self_wav.model": "chroma_stem",
    "conditioners.self_wav.chroma_stem.radix2_exp": 14,
    "conditioners.self_wav.chroma_stem.argmax": True,
}
_CODEC_REQUIRED: _Options = {
    "compression_model": "encodec",
    "encodec.autoencoder": "seanet",
    "encodec.quantizer": "rvq",
    "seanet.norm": "weight_norm",
}
_CODEC_DEFAULTED: _Options = {
    "encodec.causal": False,
    "encodec.renormalize": False,
    "encodec.channels": 1,
    "seanet.activation": "ELU",
    "seanet.activation_params": {"alpha": 1.0},
    "seanet.norm_params": {},
    "seanet.disable_norm_outer_blocks": 0,
    "seanet.encoder": {},
    "seanet.decoder.final_activation": None,
}
# EnCodec's configuration: transformers' name → AudioCraft's path.
_CODEC_NAMES = {
    "sampling_rate": "encodec.sample_rate",
    "audio_channels": "seanet.channels",
    "use_causal_conv": "seanet.causal",
    "hidden_size": "seanet.dimension",
    "num_filters": "seanet.n_filters",
    "num_residual_layers": "seanet.n_residual_layers",
    "upsampling_ratios": "seanet.ratios",
    "kernel_size": "seanet.kernel_size",
    "last_kernel_size": "seanet.last_kernel_size",
    "residual_kernel_size": "seanet.residual_kernel_size",
    "dilation_growth_rate": "seanet.dilation_base",
    "pad_mode": "seanet.pad_mode",
    "compress": "seanet.compress",
    "num_lstm_layers": "seanet.lstm",
    "codebook_size": "rvq.bins",
}


_MAX_CONFIG = 2**18  # characters; published ones have 20,000


class _Loader(yaml.SafeLoader):
    """Refuses YAML aliases, by which a few lines expand to any number of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """As ``SafeLoader`` has it."""
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has aliases")
        return super().compose_node(parent, index)


class _Config:
    """The values of ``xp.cfg`` by dotted path, ``${path}`` interpolated as OmegaConf does."""

    def __init__(self, values: object, file: str) -> None:
        self._values, self._file = values, file

    @classmethod
    def of(cls, package: Mapping[str, Any], file: str) -> _Config:
        try:
            text = package["xp.cfg"]
            if len(text) > _MAX_CONFIG:
                raise ValueError(f"it has {len(text):,} characters, more than {_MAX_CONFIG:,}")
            return cls(yaml.load(text, _Loader), file)
        except Exception as error:  # yaml's errors, and ValueErrors of odd numbers and dates
            reason = " ".join(str(error).split())[:200]
            raise InvalidCheckpoint(f"{file} has no readable xp.cfg: {reason}") from None

    def get(self, path: str, *default: object, depth: int = 0) -> Any:
        """The value at ``path``; ``default``, if given, where there is none."""
        value = self._values
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                if default:
                    return default[0]
                raise InvalidCheckpoint(f"The configuration in {self._file} lacks {path}.")
            value = self._interpolated(value[key], depth)
        return value

    def _interpolated(self, value: object, depth: int) -> object:
        reference = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
        if not reference:
            return value
        if depth > 8:
            raise InvalidCheckpoint(f"The configuration in {self._file} refers to itself.")
        return self.get(reference[1], depth=depth + 1)


def _check_options(config: _Config, required: _Options, defaulted: _Options) -> None:
    values = {path: config.get(path) for path in required}
    values |= {path: config.get(path, value) for path, value in defaulted.items()}
    for path, wanted in {**required, **defaulted}.items():
        if values[path] != wanted:
            raise InvalidCheckpoint(
                f"{path} {values[path]!r} is not supported, only {wanted!r}: "
                "the checkpoint is not a MusicGen, or of an unusual kind."
            )


def _shapes(config: _Config, text_width: int) -> DecoderConfig:
    width = config.get("transformer_lm.dim")
    stereo = config.get("interleave_stereo_codebooks.use", False)
    bins, frames = _melody(config)
    shapes = DecoderConfig(
        width=width,
        heads=config.get("transformer_lm.num_heads"),
        layers=config.get("transformer_lm.num_layers"),
        ffn_dim=_product(config.get("transformer_lm.hidden_scale"), width),
        codebooks=config.get("transformer_lm.n_q"),
        codebook_size=config.get("transformer_lm.card"),
        text_width=text_width,
        channels=2 if stereo is True else 1,
        chroma_bins=bins,
        chroma_frames=frames,
    )
    _check_pattern(config, shapes)
    _check_fuser(config, shapes)
    return shapes


def _melody(config: _Config) -> tuple[int, int]:
    """Chroma bins and frames of a melody model; 0, 0 for others."""
    conditioners = config.get("conditioners")  # a dict: read() has found "description" in it
    foreign = sorted(conditioners.keys() - {"args", "description", "self_wav"}, key=str)
    if foreign:
        raise InvalidCheckpoint(
            f"The checkpoint is conditioned on {foreign[0]!r}, which is not supported."
        )
    if "self_wav" not in conditioners:
        return 0, 0
    _check_options(config, _MELODY, {})
    samples = _product(
        config.get("dataset.segment_duration"),
        config.get("conditioners.self_wav.chroma_stem.sample_rate"),
    )
    hop = 2**14 // 4  # AudioCraft 1.3.0, modules/chroma.py: a quarter of the window
    return config.get("conditioners.self_wav.chroma_stem.n_chroma"), samples // hop + 1


def _product(one: object, other: object) -> int:
    """The truncated product of two numbers; −1, which no limit allows, if they are not numbers."""
    numbers = all(type(value) in (int, float) for value in (one, other))
    product = one * other if numbers else -1  # type: ignore[operator]
    return int(product) if abs(product) < 2**53 else -1  # False for NaN as well


def _check_pattern(config: _Config, shapes: DecoderConfig) -> None:
    pattern = config.get("codebooks_pattern.modeling", None)
    pattern = pattern or config.get("transformer_lm.q_modeling", None)
    default = list(range(shapes.codebooks))  # AudioCraft's delays where none are given
    delays = config.get("codebooks_pattern.delay.delays", default)
    if pattern != "delay" or delays != list(shapes.delays):
        raise InvalidCheckpoint(
            f"The codebooks' pattern {pattern!r} with delays {delays!r} is not supported, "
            f"only 'delay' with {list(shapes.delays)}."
        )


def _check_fuser(config: _Config, shapes: DecoderConfig) -> None:
    # The order of the list is irrelevant: AudioCraft always prepends chroma before text.
    fuser = {way: config.get(f"fuser.{way}", []) for way in ("cross", "prepend")}
    if isinstance(fuser["prepend"], list):
        fuser["prepend"] = sorted(fuser["prepend"], key=str)
    if shapes.follows_melody:
        wanted = {"cross": [], "prepend": ["description", "self_wav"]}
    else:
        wanted = {"cross": ["description"], "prepend": []}
    if fuser != wanted:
        raise InvalidCheckpoint(f"The fuser {fuser} is not supported, only {wanted}.")


# The weights.

# One layer: our name → AudioCraft's.
_LAYER = {
    "self_attn_norm.weight": "norm1.weight",
    "self_attn_norm.bias": "norm1.bias",
    "self_attn.qkv_proj.weight": "self_attn.in_proj_weight",
    "self_attn.out_proj.weight": "self_attn.out_proj.weight",
    "ffn_norm.weight": "norm2.weight",
    "ffn_norm.bias": "norm2.bias",
    "fc1.weight": "linear1.weight",
    "fc2.weight": "linear2.weight",
}
_LAYER_WITH_CROSS_ATTENTION = {
    **_LAYER,
    "cross_attn_norm.weight": "norm_cross.weight",
    "cross_attn_norm.bias": "norm_cross.bias",
    "cross_attn.out_proj.weight": "cross_attention.out_proj.weight",
}
_CONDITIONERS = "condition_provider.conditioners."
# A constant that is stored all the same.
_WINDOW = f"{_CONDITIONERS}self_wav.chroma.spec.window"


def _decoder(weights: Weights, shapes: DecoderConfig) -> Sources:
    # Models trained with torch's attention have one more level in the name.
    weights = {name.replace(".mha.", "."): tensor for name, tensor in weights.items()}
    weights.pop(_WINDOW, None)

    def take(name: str) -> LazyTensor:
        try:
            return weights.pop(name)
        except KeyError:
            raise InvalidCheckpoint(f"The checkpoint lacks the decoder's weight {name}.") from None

    codebooks = range(shapes.codebooks)
    sources = {
        "embeddings": [take(f"emb.{k}.weight") for k in codebooks],
        "lm_heads.weight": [take(f"linears.{k}.weight") for k in codebooks],
    }
    names = {"norm": "out_norm", "text_proj": f"{_CONDITIONERS}description.output_proj"}
    if shapes.follows_melody:
        names["chroma_proj"] = f"{_CONDITIONERS}self_wav.output_proj"
    for ours, theirs in names.items():
        for half in ("weight", "bias"):
            sources[f"{ours}.{half}"] = [take(f"{theirs}.{half}")]
    for index in range(shapes.layers):
        here, there = f"layers.{index}.", f"transformer.layers.{index}."
        layer = _LAYER if shapes.follows_melody else _LAYER_WITH_CROSS_ATTENTION
        sources |= {here + ours: [take(there + theirs)] for ours, theirs in layer.items()}
        if not shapes.follows_melody:
            q_proj, kv_proj = _split_in_proj(
                take(f"{there}cross_attention.in_proj_weight"), shapes.width
            )
            sources[f"{here}cross_attn.q_proj.weight"] = [q_proj]
            sources[f"{here}cross_attn.kv_proj.weight"] = [kv_proj]
    if weights:
        raise InvalidCheckpoint(f"{min(weights)} is not a weight of a MusicGen of this shape.")
    return sources


def _split_in_proj(rows: LazyTensor, width: int) -> tuple[LazyTensor, LazyTensor]:
    """q_proj [W, W] and kv_proj [2 W, W] of a stacked in_proj."""
    check_tensor(rows, (3 * width, width))
    return LazyTensor(rows.name, rows.tensor[:width]), LazyTensor(rows.name, rows.tensor[width:])


def _codec(package: Mapping[str, Any], folder: Path, fetch: Fetch) -> CodecPart:
    if "pretrained" in package:
        return transformers_format.read_codec(find(package["pretrained"], folder, fetch))
    file = folder / AUDIOCRAFT_FILES[1]
    weights = as_weights(package.get("best_state"), file)
    renamed = {_codec_name(name): tensor for name, tensor in weights.items()}
    return CodecPart(_codec_config(_Config.of(package, file.name)), encodec_sources(renamed))


def _codec_config(config: _Config) -> Any:
    _check_options(config, _CODEC_REQUIRED, _CODEC_DEFAULTED)
    known = {"trim_right_ratio", "final_activation", "final_activation_params"}
    decoder = config.get("seanet.decoder", {})
    if not isinstance(decoder, dict) or decoder.keys() - known:
        raise InvalidCheckpoint("EnCodec with a decoder unlike its encoder is not supported.")
    values = {ours: config.get(theirs) for ours, theirs in _CODEC_NAMES.items()}
    values["codebook_dim"] = values["hidden_size"]
    values["use_conv_shortcut"] = config.get("seanet.true_skip") is not True
    return encodec_config(values, config.get("rvq.n_q"))


_CODEC_RENAMED = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.(conv\.conv|convtr\.convtr)\.", ".conv."),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
)


def _codec_name(name: str) -> str:
    """AudioCraft's name of an EnCodec tensor → transformers'."""
    for theirs, ours in _CODEC_RENAMED:
        name = re.sub(theirs, ours, name)
    return name
