"""Loads a checkpoint folder of any supported format into a ``MusicGen``.

The decoder is ours; T5 and EnCodec are transformers' classes. The configuration and all
shapes are validated before any weights are read.
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
from musicgen_space.engine.checkpoint.parts import Checkpoint, CodecPart, match_codec
from musicgen_space.engine.checkpoint.references import Fetch
from musicgen_space.engine.checkpoint.tensors import check_sources, load_weights
from musicgen_space.engine.checkpoint.weight_cache import CacheEntry
from musicgen_space.engine.codec.encodec import Codec
from musicgen_space.engine.conditioners.t5 import TextEncoder
from musicgen_space.engine.conditioners.tokenizer import load_tokenizer
from musicgen_space.engine.generate import MusicGen
from musicgen_space.engine.memory import free_bytes, release
from musicgen_space.engine.model import Decoder, Predictor
from musicgen_space.engine.placement import CPU, Placement
from musicgen_space.engine.runtimes.base import Runtime
from musicgen_space.engine.runtimes.registry import choose_runtime
from musicgen_space.errors import (
    InvalidCheckpoint,
    MusicGenSpaceError,
    OutOfMemory,
    is_out_of_memory,
)

__all__ = ["load", "weights_folder"]


def load(folder: Path, placement: Placement = CPU, fetch: Fetch = hub.fetch) -> MusicGen:
    """Load a checkpoint in transformers' or AudioCraft's format, or an adapter with its base.

    Some parts are only referred to by name: AudioCraft's format has no T5 and often no
    EnCodec, an adapter no base, some folders no tokenizer. They are looked for inside the
    folder and beside it, else ``fetch`` gets them.

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
    # A new error: the traceback of the caught one would keep the weights alive.
    raise failure


def weights_folder(folder: Path, fetch: Callable[[str], Path]) -> Path:
    """The folder of the full weights: ``folder`` itself, or that of an adapter's base.

    ``fetch`` gets the base by its name. Raises ``InvalidCheckpoint``, or what ``fetch`` raises.
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
    tokenizer = load_tokenizer(text, fetch)
    encoder = _on_meta_device(T5EncoderModel, text.config)
    decoder = _on_meta_device(Decoder, shapes)
    codec_shapes = _on_meta_device(EncodecModel, codec.config)
    check_sources(encoder, text.sources, "the text encoder")
    check_sources(decoder, checkpoint.decoder, "the decoder")
    check_sources(codec_shapes, codec.sources, "EnCodec")
    runtime = choose_runtime(placement)
    _check_memory(decoder, (encoder, codec_shapes), runtime, placement.device)
    # The decoder first: before quantisation it needs more memory than everything else.
    predictor = _load_decoder(decoder, checkpoint, runtime, placement)
    del decoder
    release()
    load_weights(encoder, text.sources, placement.device)
    encoder.set_input_embeddings(encoder.shared)  # ties the alias of the embedding
    return MusicGen(
        TextEncoder(tokenizer, encoder),
        predictor,
        Codec(_encodec(codec, placement.codec_device), runtime.codec_kernel),
        runtime.sampler(),
        placement.device,
        checkpoint.base,
    )


def _load_decoder(
    decoder: Decoder, checkpoint: Checkpoint, runtime: Runtime, placement: Placement
) -> Predictor:
    entry = CacheEntry.of(checkpoint, runtime.weight_format, placement.cache)
    if entry:
        cached = entry.read(lambda arrays: runtime.restore(decoder, arrays))
        if cached is not None:
            return cached
    load_weights(decoder, checkpoint.decoder, placement.device, runtime.load_dtype)
    return runtime.convert(decoder, entry.write if entry else lambda _: None)


def _check_memory(
    decoder: Decoder, others: Iterable[nn.Module], runtime: Runtime, device: torch.device
) -> None:
    """Raise ``MemoryError`` if the weights alone won't fit."""
    need = _weight_count(decoder) * runtime.load_dtype.itemsize
    need += sum(map(_weight_count, others)) * torch.float32.itemsize
    if need > free_bytes(device):
        raise MemoryError


def _weight_count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _on_meta_device(kind: Any, config: Any) -> Any:
    """A module with shapes and no data."""
    try:
        with torch.device("meta"):
            return kind(config)
    except Exception as error:  # transformers' code raises anything for odd values
        reason = " ".join(str(error).split())[:200]
        raise InvalidCheckpoint(
            f"The checkpoint's configuration makes no sense: {reason}"
        ) from None


def _encodec(part: CodecPart, device: torch.device) -> EncodecModel:
    with (
        initialization.no_init_weights()
    ):  # but its constants are computed, which no checkpoint holds
        model = EncodecModel(part.config)
    load_weights(model, part.sources, device)
    return model.to(device)
