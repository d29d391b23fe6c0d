"""All music as codes, and how well the codec tells it apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import EncodecModel

from training.codec.losses import MelDistance
from training.music.dataset import Dataset

__all__ = ["encode", "figures"]

_PIECES_AT_ONCE = 16


@torch.no_grad()
def encode(codec: EncodecModel, music: Dataset, file: Path, device: torch.device) -> None:
    """Write the codes of ``music``, int16 [N, K, T], to ``file``.

    In float32: so they are the codes that the finished model would give.
    """
    codes = [
        codec.encode(torch.from_numpy(sounds[:, None]).to(device)).audio_codes[0]
        for sounds in music.batches(_PIECES_AT_ONCE)
    ]
    np.save(file, torch.cat(codes).to(torch.int16).cpu().numpy())


@torch.no_grad()
def figures(
    codec: EncodecModel, music: Dataset, file: Path, device: torch.device
) -> dict[str, float | list[float]]:
    """The mel distance of what the codes in ``file`` sound like, and the entries they use."""
    codes = torch.from_numpy(np.load(file)).long().to(device)
    mel = MelDistance().to(device)
    distances = []
    for start, sounds in enumerate(music.batches(1)):
        quantised = codec.quantizer.decode(codes[start : start + 1].transpose(0, 1))
        made = codec.decoder(quantised)[:, 0]
        sound = torch.from_numpy(sounds).to(device)
        distances.append(mel(made[:, : sound.shape[1]], sound[:, : made.shape[1]]).item())
    used = [float(len(torch.unique(codebook))) for codebook in codes.unbind(1)]
    return {"held-out mel distance": float(np.mean(distances)), "entries used": used}
