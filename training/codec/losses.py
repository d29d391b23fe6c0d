"""How far a sound is from another: spectra on a mel scale, at several resolutions."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from training.music.render import SAMPLE_RATE

__all__ = ["MelDistance"]

_RESOLUTIONS = {2048: 128, 1024: 80, 512: 48, 256: 24, 128: 12}  # samples → bands
_QUIETEST = 1e-5  # spectra below are not told apart
_LINEAR = 0.2  # the weight of the linear spectra, beside the logarithmic ones


class MelDistance(nn.Module):
    """The mean absolute difference of mel spectra, in decades."""

    def __init__(self) -> None:
        super().__init__()
        for size, bands in _RESOLUTIONS.items():
            self.register_buffer(f"window{size}", torch.hann_window(size))
            self.register_buffer(f"bank{size}", _filter_bank(size // 2 + 1, bands))

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The distance of two batches of sounds [B, n]; a scalar."""
        distance = one.new_zeros(())
        for size in _RESOLUTIONS:
            first, second = self._mel(one, size), self._mel(other, size)
            distance = distance + functional.l1_loss(_decades(first), _decades(second))
            distance = distance + _LINEAR * functional.l1_loss(first, second)
        return distance / len(_RESOLUTIONS)

    def _mel(self, sound: torch.Tensor, size: int) -> torch.Tensor:
        """[B, n] → [B, frames, bands]."""
        window, bank = self.get_buffer(f"window{size}"), self.get_buffer(f"bank{size}")
        spectrum = torch.stft(sound.float(), size, size // 4, window=window, return_complex=True)
        return spectrum.abs().transpose(1, 2) @ bank


def _decades(spectrum: torch.Tensor) -> torch.Tensor:
    return spectrum.clamp_min(_QUIETEST).log10()


def _filter_bank(bins: int, bands: int) -> torch.Tensor:
    """Overlapping triangles, as wide as the mel scale (O'Shaughnessy 1987): [bins, bands]."""
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, bands + 2) / 2595) - 1)  # Hz
    frequencies = torch.linspace(0, SAMPLE_RATE / 2, bins)[:, None]
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp_min(0)
