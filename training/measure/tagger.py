"""musicnn, a music tagger by others, as a judge: tags and features of a sound.

Pons & Serra 2019, "musicnn: pre-trained convolutional neural networks for music audio
tagging"; trained on recordings, MagnaTagATune (MTT) and the Million Song Dataset (MSD), so on
nothing that is ours. Its package brings the weights, but needs an old TensorFlow to compute:
here the weights are read from the package's folder and torch computes, the same to five digits
(``tests/training/test_measure_tagger.py`` says how that was compared).
``pip install --no-deps musicnn`` is all it takes.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import librosa
import numpy as np
import soxr
import torch
from torch.nn import functional

from training.measure.bundle import read_bundle

__all__ = ["FEATURES", "TAGS", "NoTagger", "Tagger", "find_package"]

RATE, HOP, FFT, MELS = 16000, 256, 512, 96  # musicnn/configuration.py
PATCH = 187  # frames: 3 s, as it was trained
FEATURES = 200  # width of a model's last hidden layer
_EPSILON = 1e-3  # TensorFlow's default for batch normalisation
_AT_ONCE = 16  # patches


def _words(text: str) -> list[str]:
    return text.split(", ")


# musicnn/configuration.py, in the order of the outputs.
_MTT_TAGS = _words(
    "guitar, classical, slow, techno, strings, drums, electronic, rock, fast, piano, ambient, "
    "beat, violin, vocal, synth, female, indian, opera, male, singing, vocals, no vocals, "
    "harpsichord, loud, quiet, flute, woman, male vocal, no vocal, pop, soft, sitar, solo, "
    "man, classic, choir, voice, new age, dance, male voice, female vocal, beats, harp, cello, "
    "no voice, weird, country, metal, female voice, choral"
)
_MSD_TAGS = _words(
    "rock, pop, alternative, indie, electronic, female vocalists, dance, 00s, "
    "alternative rock, jazz, beautiful, metal, chillout, male vocalists, classic rock, soul, "
    "indie rock, Mellow, electronica, 80s, folk, 90s, chill, instrumental, punk, oldies, "
    "blues, hard rock, ambient, acoustic, experimental, female vocalist, guitar, Hip-Hop, 70s, "
    "party, country, easy listening, sexy, catchy, funk, electro, heavy metal, "
    "Progressive rock, 60s, rnb, indie pop, sad, House, happy"
)
TAGS = [f"mtt:{tag}" for tag in _MTT_TAGS] + [f"msd:{tag}" for tag in _MSD_TAGS]


class NoTagger(RuntimeError):
    """musicnn's weights are not installed."""


class Tagger:
    """Both of musicnn's models, MTT and MSD."""

    def __init__(self, package: Path) -> None:
        self._networks = [_Network(package / name) for name in ("MTT_musicnn", "MSD_musicnn")]

    def hear(self, sound: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
        """A sound [n] of at least 3 s → mean likelihoods of ``TAGS``, and features.

        Features [patches, 2 · FEATURES] are both models' last hidden layers, a row for each 3 s.
        """
        patches = torch.from_numpy(spectrogram(sound, rate))
        likelihoods, hidden = zip(*(network(patches) for network in self._networks), strict=True)
        tags = torch.cat(likelihoods, dim=1).mean(dim=0)
        return tags.numpy(), torch.cat(hidden, dim=1).numpy()


def find_package() -> Path:
    """The folder of the musicnn package, which is never imported.

    Raises ``NoTagger`` if there is none.
    """
    found = importlib.util.find_spec("musicnn")
    if found is None or not found.submodule_search_locations:
        raise NoTagger(
            "musicnn is not installed, so genre, instruments and the Fréchet distance are not "
            "measured. `pip install --no-deps musicnn` (29 MB) brings its weights; it needs no "
            "TensorFlow here."
        )
    return Path(next(iter(found.submodule_search_locations)))


def spectrogram(sound: np.ndarray, rate: int) -> np.ndarray:
    """A sound [n] → patches [N, PATCH, MELS] of log-mel energy, as musicnn's extractor makes them.

    What is left after the last whole patch is dropped.
    """
    sound = soxr.resample(sound.astype(np.float32), rate, RATE)
    mel = librosa.feature.melspectrogram(
        y=sound, sr=RATE, hop_length=HOP, n_fft=FFT, n_mels=MELS
    ).T.astype(np.float16)
    mel = np.log10(10000 * mel.astype(np.float32) + 1)
    count = len(mel) // PATCH
    if not count:
        raise ValueError(f"The tagger needs 3 s of sound, not {len(sound) / RATE:.2f} s.")
    patches: np.ndarray = mel[: count * PATCH].reshape(count, PATCH, MELS)
    return patches


class _Network:
    """One model. Its layers as ``musicnn/models.py`` builds them, with TensorFlow's names."""

    def __init__(self, folder: Path) -> None:
        self._weights = {
            name: torch.from_numpy(value.copy())
            for name, value in read_bundle(folder).items()
            if "/" in name and "Adam" not in name
        }

    @torch.inference_mode()
    def __call__(self, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[N, T, MELS] → likelihoods of the tags [N, 50], last hidden layer [N, FEATURES]."""
        parts = [self._compute(some) for some in torch.split(patches, _AT_ONCE)]
        likelihoods, hidden = zip(*parts, strict=True)
        return torch.cat(likelihoods), torch.cat(hidden)

    def _compute(self, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frames = self._look(patches)  # [N, 561, T]
        layers = [frames]
        for number in (5, 6, 7):  # each looks at 7 frames; the last two add to what was there
            layer = self._convolve_frames(layers[-1], number)
            layers.append(layer if number == 5 else layer + layers[-1])
        everything = torch.cat(layers, dim=1)  # [N, 753, T]
        pooled = torch.stack([everything.amax(dim=-1), everything.mean(dim=-1)], dim=-1)
        hidden = self._normalise(pooled.flatten(1), 9)
        hidden = functional.relu(hidden @ self._weights["dense/kernel"] + self._bias("dense"))
        hidden = self._normalise(hidden, 10)
        logits = hidden @ self._weights["dense_1/kernel"] + self._bias("dense_1")
        return logits.sigmoid(), hidden

    def _look(self, patches: torch.Tensor) -> torch.Tensor:
        """Timbre (tall filters) and rhythm (wide ones), the strongest over all frequencies."""
        picture = self._normalise(patches[:, None], 0)  # [N, 1, T, MELS]
        looks = []
        for number in range(5):
            kernel = self._weights[_numbered("conv2d", number) + "/kernel"].permute(3, 2, 0, 1)
            before = (kernel.shape[2] - 1) // 2  # TensorFlow's "same" pads the end more
            padded = functional.pad(picture, (0, 0, before, kernel.shape[2] - 1 - before))
            seen = functional.conv2d(padded, kernel, self._bias(_numbered("conv2d", number)))
            looks.append(self._normalise(functional.relu(seen), number + 1).amax(dim=-1))
        return torch.cat(looks, dim=1)

    def _convolve_frames(self, frames: torch.Tensor, number: int) -> torch.Tensor:
        name = _numbered("conv2d", number)
        kernel = self._weights[name + "/kernel"][:, :, 0].permute(2, 1, 0)  # [out, in, 7]
        seen = functional.conv1d(frames, kernel, self._bias(name), padding=3)
        return self._normalise(functional.relu(seen), number + 1)

    def _normalise(self, hidden: torch.Tensor, number: int) -> torch.Tensor:
        """Batch normalisation of dimension 1, with the statistics of the training."""
        name = _numbered("batch_normalization", number)
        mean, variance, gamma, beta = (
            self._weights[f"{name}/{part}"]
            for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return functional.batch_norm(hidden, mean, variance, gamma, beta, eps=_EPSILON)

    def _bias(self, name: str) -> torch.Tensor:
        return self._weights[f"{name}/bias"]


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
