"""What is measured: rendered references, takes and decoded references, kept in one folder.

``references/`` belongs to the soundfont, ``made/`` to the checkpoint; their names end in a
digest of it, so another one's are never mistaken for them. Whatever is there is not made again,
so a measurement that was interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
import torch

from musicgen_space.engine.checkpoint.loader import load
from musicgen_space.engine.generate import MusicGen, generate
from musicgen_space.engine.placement import CPU
from musicgen_space.request import LIMITS, MusicRequest
from training.measure.evidence import Evidence, listen
from training.measure.prediction import continued, cross_entropy
from training.measure.tagger import NoTagger, Tagger, find_package
from training.measure.wishes import CALIBRATION, PROMPTS, choose, prompt_of
from training.music import soundfont
from training.music.compose import SECONDS, Piece, compose
from training.music.render import SAMPLE_RATE, render

__all__ = ["Options", "Workshop"]


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure: ``takes`` of ``seconds`` for each of ``pieces`` prompts.

    The checkpoint was ``trained`` on pieces of these seeds, and not on those ``held_out``;
    ``probes`` of the former are looked at where all would be too many. ``quant`` is how the
    takes are made (see ``MUSICGEN_QUANT``).
    """

    model: Path
    out: Path
    pieces: int
    takes: int
    calibration: int
    seconds: float
    held_out: range
    trained: range
    probes: int
    quant: str


class Workshop:
    """Makes, keeps and hears the sounds of one measurement."""

    def __init__(self, options: Options, tell: Callable[[str], None]) -> None:
        self.options, self._tell = options, tell
        self._soundfont = soundfont.find()
        self._references = options.out / f"references-{soundfont.digest(self._soundfont)[:8]}"
        self._made = options.out / f"made-{_digest(options.model)}-{options.quant}"

    @cached_property
    def prompts(self) -> list[Piece]:
        """The pieces that the takes' prompts describe, and that takes are compared with."""
        return choose(PROMPTS, self.options.pieces)

    @cached_property
    def calibration(self) -> list[Piece]:
        """Other pieces, on which the judges choose their thresholds."""
        return choose(CALIBRATION, self.options.calibration)

    @cached_property
    def player(self) -> MusicGen:
        """The checkpoint as takes are made with it."""
        return load(self.options.model, replace(CPU, quant=self.options.quant))

    @cached_property
    def exact(self) -> MusicGen:
        """The checkpoint as published, computed by torch in float32."""
        return load(self.options.model, replace(CPU, native=False))

    @cached_property
    def tagger(self) -> Tagger | None:
        """musicnn, if it is installed."""
        try:
            return Tagger(find_package())
        except NoTagger as error:
            self._tell(str(error))
            return None

    def reference(self, piece: Piece, start: float = 0) -> np.ndarray:
        """The piece rendered, from ``start`` on: [n]."""
        sound = render(piece, start + self.options.seconds, self._soundfont)
        return sound[round(start * SAMPLE_RATE) :]

    def take(self, piece: Piece, number: int) -> np.ndarray:
        """Take ``number`` of the prompt that describes ``piece``: [n]."""
        file = self._made / f"takes/{piece.seed}-{number}-{self.options.seconds:g}s.flac"
        return _kept(file, lambda: self._generate(piece, number))

    def decoded(self, piece: Piece, start: float = 0) -> np.ndarray:
        """The piece rendered, then through the codec: [n]."""
        file = self._made / f"decoded/{piece.seed}-{start:g}-{self.options.seconds:g}s.flac"
        return _kept(file, lambda: self._decode(self.reference(piece, start)))

    def codes(self, piece: Piece) -> np.ndarray:
        """All of the piece as the codec's codes [K, T]."""
        file = self._made / f"codes/{piece.seed}.npy"
        codes = _kept_array(file, lambda: self.encode(render(piece, SECONDS, self._soundfont)))
        return codes.astype(np.int64)

    def entropy(self, piece: Piece, caption: str) -> np.ndarray:
        """Cross-entropy of all of the piece after ``caption``, by codebook: nats, [K]."""
        named = hashlib.sha256(caption.encode()).hexdigest()[:8]
        file = self._made / f"entropy/{piece.seed}-{named}.npy"
        codes = self.codes(piece)
        return _kept_array(
            file, lambda: cross_entropy(self.exact, torch.from_numpy(codes), caption).numpy()
        )

    def continuation(self, piece: Piece, known: int, frames: int) -> np.ndarray:
        """How the decoder goes on after ``known`` frames of the piece: ``frames`` codes, [K, …]."""
        file = self._made / f"continued/{piece.seed}-{known}-{frames}.npy"
        codes = torch.from_numpy(self.codes(piece)[:, :known])
        return _kept_array(
            file,
            lambda: continued(self.exact, codes, piece.caption, frames)[:, known:].numpy(),
        )

    def encode(self, sound: np.ndarray) -> np.ndarray:
        """[n] → codes [K, T]."""
        codes: np.ndarray = self.player.codec.encode(torch.from_numpy(sound)[None])[0].numpy()
        return codes

    def heard_reference(self, piece: Piece) -> Evidence:
        """What the judges know of the piece rendered."""
        file = self._references / f"{piece.seed}-{self.options.seconds:g}s.npz"
        return self._listen(file, lambda: self.reference(piece))

    def heard_take(self, piece: Piece, number: int) -> Evidence:
        """What they know of a take."""
        file = self._made / f"heard/{piece.seed}-{number}-{self.options.seconds:g}s.npz"
        return self._listen(file, lambda: self.take(piece, number))

    def heard_decoded(self, piece: Piece, start: float = 0) -> Evidence:
        """What they know of the piece after the codec."""
        file = self._made / f"heard/{piece.seed}-codec-{start:g}-{self.options.seconds:g}s.npz"
        return self._listen(file, lambda: self.decoded(piece, start))

    def trained_on(self, count: int) -> list[Piece]:
        """``count`` pieces of the training, drawn once and for all; more begin the same."""
        seeds = np.random.default_rng(0).permutation(np.array(self.options.trained))
        return [compose(int(seed)) for seed in seeds[:count]]

    def tell(self, text: str, done: int, count: int) -> None:
        """Say how far a stage is, ten times."""
        if (done + 1) % max(1, count // 10) == 0:
            self._tell(f"{text}: {done + 1} of {count}")

    def _listen(self, file: Path, sound: Callable[[], np.ndarray]) -> Evidence:
        if self.tagger is None:
            file = file.with_name(f"no-tagger-{file.name}")
        return listen(file, sound, SAMPLE_RATE, self.tagger)

    def _generate(self, piece: Piece, number: int) -> np.ndarray:
        seed = (piece.seed + 4999 * number) % (int(LIMITS["seed"].maximum) + 1)
        request = MusicRequest(prompt_of(piece), duration=self.options.seconds, seed=seed)
        sounds = [part.samples for part in generate(self.player, request)]
        mono: np.ndarray = np.concatenate(sounds, axis=-1)[0].mean(axis=0)
        return mono

    def _decode(self, sound: np.ndarray) -> np.ndarray:
        codec = self.player.codec
        codes = codec.encode(torch.from_numpy(sound)[None])
        samples: np.ndarray = codec.stream().push(codes, last=True)[0].numpy()
        return samples[: len(sound)]


def _kept(file: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The sound in ``file``, made first if it isn't there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.stem}.{os.getpid()}.part.flac")
        soundfile.write(part, np.clip(make(), -1, 1), SAMPLE_RATE, "PCM_16")
        part.replace(file)
    sound, _ = soundfile.read(file, dtype="float32")
    return np.asarray(sound)


def _kept_array(file: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in ``file``, made first if it isn't there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.stem}.{os.getpid()}.part.npy")
        np.save(part, make())
        part.replace(file)
    array: np.ndarray = np.load(file)
    return array


def _digest(folder: Path) -> str:
    """Eight digits that stand for the weights in ``folder``."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")) or sorted(folder.iterdir()):
        with file.open("rb") as source:
            digest.update(hashlib.file_digest(source, "sha256").digest())
    return digest.hexdigest()[:8]
