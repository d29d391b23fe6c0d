"""Judges of a sound's spectra, as in EnCodec (Défossez et al. 2022, section 3.4)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

__all__ = ["Discriminators", "Verdict", "features_apart", "hinge_generator", "hinge_judge"]

Verdict = tuple[torch.Tensor, list[torch.Tensor]]  # (scores, the features of each layer)


class Discriminators(nn.Module):
    """One judge for each size of spectrum; high scores mean that a sound seems real."""

    def __init__(self, sizes: tuple[int, ...], filters: int) -> None:
        super().__init__()
        self._judges = nn.ModuleList([_Judge(size, filters) for size in sizes])

    def forward(self, sound: torch.Tensor) -> list[Verdict]:
        """Judge sounds [B, n]."""
        return [judge(sound) for judge in self._judges]


class _Judge(nn.Module):
    def __init__(self, size: int, filters: int) -> None:
        super().__init__()
        self._size = size
        self.register_buffer("window", torch.hann_window(size))
        self._layers = nn.ModuleList(
            [
                weight_norm(nn.Conv2d(2, filters, (3, 9), padding=(1, 4))),
                *(weight_norm(_wider(filters, dilation)) for dilation in (1, 2, 4)),
                weight_norm(nn.Conv2d(filters, filters, 3, padding=1)),
            ]
        )
        self._score = weight_norm(nn.Conv2d(filters, 1, 3, padding=1))

    def forward(self, sound: torch.Tensor) -> Verdict:
        spectrum = torch.stft(
            sound.float(),
            self._size,
            self._size // 4,
            window=self.get_buffer("window"),
            return_complex=True,
            normalized=True,
        )
        hidden = torch.stack([spectrum.real, spectrum.imag], dim=1).transpose(2, 3)
        features = []
        for layer in self._layers:
            hidden = functional.leaky_relu(layer(hidden), 0.2)
            features.append(hidden)
        return self._score(hidden), features


def _wider(filters: int, dilation: int) -> nn.Module:
    """Halves the frequencies and looks further in time."""
    padding = (dilation, 4)
    return nn.Conv2d(
        filters, filters, (3, 9), stride=(1, 2), dilation=(dilation, 1), padding=padding
    )


def hinge_judge(real: list[Verdict], made: list[Verdict]) -> torch.Tensor:
    """The judges' loss: real sounds should score above 1, made ones below −1."""
    losses = [
        functional.relu(1 - real_scores.float()).mean()
        + functional.relu(1 + made_scores.float()).mean()
        for (real_scores, _), (made_scores, _) in zip(real, made, strict=True)
    ]
    return torch.stack(losses).mean()


def hinge_generator(made: list[Verdict]) -> torch.Tensor:
    """The codec's loss: what it makes should score above 1."""
    return torch.stack([functional.relu(1 - scores.float()).mean() for scores, _ in made]).mean()


def features_apart(real: list[Verdict], made: list[Verdict]) -> torch.Tensor:
    """How differently the judges see the two, relative to what they see in the real one."""
    losses = [
        (two.float() - one.float()).abs().mean() / one.float().abs().mean().clamp_min(1e-4)
        for (_, ones), (_, twos) in zip(real, made, strict=True)
        for one, two in zip(ones, twos, strict=True)
    ]
    return torch.stack(losses).mean()
