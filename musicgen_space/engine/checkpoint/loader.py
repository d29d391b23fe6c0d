"""A checkpoint folder becomes a ``MusicGen``, whichever format it has.

The decoder is ours; T5 and EnCodec are transformers' own classes, given their share of
the weights. What the folder says is checked before weights are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import EncodecModel, T5EncoderModel, initialization

from musicgen_space.engine.checkpoint import hub
from musicgen_space.engine.checkpoint.files import is_audiocraft
from musicgen_space.engine.checkpoint.formats import audiocraft_format, transformers_format
from musicgen_space.engine.checkpoint.formats.adapter import Adapter
from musicgen_space.engine.checkpoint.named import Fetch
from musicgen_space.engine.checkpoint.parts import Checkpoint, CodecPart, match_codec
from musicgen_space.engine.checkpoint.tensors import fill, require
from musicgen_space.engine.checkpoint.weight_cache import Conversion
from musicgen_space.engine.codec.encodec import Codec
from musicgen_space.engine.conditioners.t5 import TextEncoder
from musicgen_space.engine.conditioners.tokenizer import tokenizer_of
from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.memory import free_bytes, release
from musicgen_space.engine.model import Decoder, Predictor
from musicgen_space.engine.placement import CPU, Placement
from musicgen_space.engine.runtimes.half import halve_lossless
from musicgen_space.engine.runtimes.quantise import converter, mode_of
from musicgen_space.errors import (
    InvalidCheckpoint,
    MusicGenSpaceError,
    OutOfMemory,
    is_out_of_memory,
)

__all__ = ["load", "whole_folder"]


def load(folder: Path, placement: Placement = CPU, fetch: Fetch = hub.fetch) -> MusicGen:
    """Read a checkpoint in transformers' or AudioCraft's format, or an adapter with its base.

    AudioCraft's format stores no T5, and often only the name of its EnCodec; an adapter names
    its base; some folders lack a tokenizer. What is only named is looked for in the folder and
    beside it; else ``fetch`` is asked for it.

    Raises ``InvalidCheckpoint``, ``OutOfMemory``, or what ``fetch`` raises.
    """
    failure: MusicGenSpaceError
    try:
        return _load(folder, placement, fetch)
    except InvalidCheckpoint as error:
        failure = InvalidCheckpoint(*error.args)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        failure = OutOfMemory(
            f"There is not enough memory for the model {folder.name}. Choose a smaller one."
        )
    # Not the error that was caught: its traceback would keep what was read in memory.
    raise failure


def whole_folder(folder: Path, fetch: Callable[[str], Path]) -> Path:
    """Where the weights of the model in ``folder`` are: of an adapter, its base's folder.

    Raises ``InvalidCheckpoint``, or what ``fetch`` raises, which gets the base by its name.
    """
    adapter = Adapter.of(folder)
    return folder if adapter is None else adapter.base_folder(fetch)


def _load(folder: Path, placement: Placement, fetch: Fetch) -> MusicGen:
    return _build(_read(folder, fetch), placement, fetch)


def _read(folder: Path, fetch: Fetch) -> Checkpoint:
    adapter = Adapter.of(folder)
    if adapter is not None:
        return transformers_format.read(adapter.base_folder(fetch), adapter)
    if is_audiocraft(folder):
        return audiocraft_format.read(folder, fetch)
    return transformers_format.read(folder)


def _build(checkpoint: Checkpoint, placement: Placement, fetch: Fetch) -> MusicGen:
    text, codec, shapes = checkpoint.text, checkpoint.codec, checkpoint.shapes
    match_codec(codec.config, shapes)
    tokenizer = tokenizer_of(text, fetch)
    encoder = _without_data(T5EncoderModel, text.config)
    decoder = _without_data(Decoder, shapes)
    codec_shapes = _without_data(EncodecModel, codec.config)
    require(encoder, text.sources, "the text encoder")
    require(decoder, checkpoint.decoder, "the decoder")
    require(codec_shapes, codec.sources, "EnCodec")
    _check_memory(decoder, (encoder, codec_shapes), placement)
    # All is there and fits: now the weights are read.
    # The decoder's first: until they are quantised, they take more memory than all else.
    predictor = _predictor(decoder, checkpoint, placement)
    del decoder
    release()
    fill(encoder, text.sources, placement.device)
    encoder.set_input_embeddings(encoder.shared)  # its other name for the same tensor
    return MusicGen(
        TextEncoder(tokenizer, encoder),
        predictor,
        Codec(_encodec(codec, placement.codec_device)),
        placement.device,
        checkpoint.base,
    )


def _predictor(decoder: Decoder, checkpoint: Checkpoint, placement: Placement) -> Predictor:
    to = converter(placement)
    if to is None:
        fill(decoder, checkpoint.decoder, placement.device, placement.dtype)
        halve_lossless(decoder)
        return decoder
    conversion = Conversion.of(checkpoint, to.form, placement.cache)
    if conversion:
        kept = conversion.read(lambda arrays: to.restore(decoder, arrays))
        if kept is not None:
            return kept
    fill(decoder, checkpoint.decoder, placement.device, _dtype(placement))
    return to.convert(decoder, conversion.write if conversion else lambda _: None)


def _dtype(placement: Placement) -> torch.dtype:
    """What the decoder's weights are read as."""
    # Half precision costs nothing that 8 bits would keep, and half the memory.
    return torch.float16 if mode_of(placement) != "none" else placement.dtype


def _check_memory(decoder: Decoder, others: Iterable[nn.Module], placement: Placement) -> None:
    """Raise ``MemoryError`` if the weights alone won't fit."""
    need = _weights(decoder) * _dtype(placement).itemsize
    need += sum(map(_weights, others)) * torch.float32.itemsize
    if need > free_bytes(placement.device):
        raise MemoryError


def _weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _without_data(kind: Any, config: Any) -> Any:
    """A module whose tensors have shapes only."""
    try:
        with torch.device("meta"):
            return kind(config)
    except Exception as error:  # whatever odd values make of transformers' own code
        reason = " ".join(str(error).split())[:200]
        raise InvalidCheckpoint(
            f"The checkpoint's configuration makes no sense: {reason}"
        ) from None


def _encodec(part: CodecPart, device: torch.device) -> EncodecModel:
    with initialization.no_init_weights():  # it computes constants that no checkpoint holds
        model = EncodecModel(part.config)
    fill(model, part.sources, device)
    return model.to(device)
