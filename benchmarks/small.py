"""A checkpoint in musicgen-small's shape with random weights, whose speed is the same.

Nobody should have to download gigabytes to check a claim.
"""

from __future__ import annotations

import string
from pathlib import Path

__all__ = ["PROMPT", "in_audiocrafts_format", "musicgen_small"]

PROMPT = "lo-fi music with a soothing melody"

_FOLDER = Path(".cache/benchmarks/musicgen-small-shape")
_ENTRIES = 32100  # of T5's tokenizer


def musicgen_small() -> Path:
    """The checkpoint's folder, made when it is first asked for: 1.2 GB in float16."""
    if not _FOLDER.exists():
        unfinished = _FOLDER.with_name("unfinished")
        _make(unfinished)
        unfinished.rename(_FOLDER)
    return _FOLDER


def in_audiocrafts_format(folder: Path) -> Path:
    """The same weights as AudioCraft stores them, beside ``folder``."""
    from tests.checkpoint.audiocraft_format import audiocraft_from

    theirs = folder.with_name(f"{folder.name}-audiocraft")
    return theirs if theirs.exists() else audiocraft_from(folder, theirs)


def _make(folder: Path) -> None:
    import torch
    from transformers import (
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
        T5Tokenizer,
    )

    # facebook/musicgen-small, config.json: t5-base, encodec_32khz, and the decoder's defaults.
    text = T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12)
    codec = EncodecConfig(
        sampling_rate=32000,
        num_filters=64,
        upsampling_ratios=[8, 5, 4, 4],
        codebook_size=2048,
        target_bandwidths=[2.2],
        use_causal_conv=False,
        use_conv_shortcut=False,
        normalize=False,
    )
    config = MusicgenConfig(
        text_encoder=text.to_dict(),
        audio_encoder=codec.to_dict(),
        decoder=MusicgenDecoderConfig().to_dict(),
    )
    torch.manual_seed(0)
    MusicgenForConditionalGeneration(config).half().save_pretrained(folder)
    T5Tokenizer(vocab=_pieces(), extra_ids=0).save_pretrained(folder)


def _pieces() -> list[tuple[str, float]]:
    """Pieces of a tokenizer as AudioCraft's T5 wants it, and what each weighs."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), ("▁", -2.0)]
    words = [(f"▁{word}", -4.0) for word in dict.fromkeys(PROMPT.split())]
    letters = [(letter, -6.0) for letter in string.ascii_lowercase + "-,."]
    known = special + words + letters
    return known + [(f"▁{n}", -20.0) for n in range(_ENTRIES - len(known))]
