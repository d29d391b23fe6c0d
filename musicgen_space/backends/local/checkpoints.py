"""The local models: the choices, their memory needs, and those that are loaded.

A model that can't fit is refused before it is downloaded or loaded, with a message that names
models that fit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen_space.backends.base import Loading, ModelChoice
from musicgen_space.backends.local.default_model import default_model
from musicgen_space.backends.local.downloads import Downloads, ReportBytes
from musicgen_space.backends.local.folders import folder_of
from musicgen_space.backends.local.model_cache import ModelCache
from musicgen_space.backends.local.published import (
    CODEC_WEIGHTS,
    PUBLISHED,
    TEXT_WEIGHTS,
    gigabytes,
)
from musicgen_space.engine.conditioners.alphabet import EMBEDDED, T5, Knows
from musicgen_space.errors import (
    InvalidCheckpoint,
    ModelUnavailable,
    OutOfMemory,
    is_out_of_memory,
)
from musicgen_space.message import Message
from musicgen_space.models import EMBEDDED_MODEL, embedded_folder
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings

if TYPE_CHECKING:
    from musicgen_space.engine.generate import MusicGen
    from musicgen_space.engine.placement import Placement
    from musicgen_space.engine.runtimes.base import Runtime

__all__ = ["Checkpoints"]

Report = Callable[[Loading], None]

_MAX_THREADS = 8  # the stages of a step are too short for more


class Checkpoints:
    """Models by name, loaded on demand.

    Only ``choices``, ``default``, ``reader``, ``download``, ``fits`` and
    ``fit_together`` are thread-safe.

    Raises ``InvalidSetting`` if the configured device does not exist.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._downloads = Downloads()
        self._readers: dict[str, Knows] = {EMBEDDED_MODEL: EMBEDDED.knows}
        self._readers |= {each.choice.name: T5.knows for each in PUBLISHED}
        if settings.device not in ("auto", "cpu"):
            self._placement  # noqa: B018  (fail early, although importing torch is slow)

    def choices(self) -> list[ModelChoice]:
        """The default, the embedded checkpoint, the owner's own, AudioCraft's published ones.

        On a Space with ZeroGPU the embedded one only: the others are made on its GPUs.
        """
        embedded = ModelChoice(EMBEDDED_MODEL, "small, works offline")
        if self._settings.zero_gpu:
            return [embedded]
        known = {each.name: each for each in (embedded, *(each.choice for each in PUBLISHED))}
        names = [self.default, EMBEDDED_MODEL, *self._settings.models, *known]
        return [
            known.get(name) or ModelChoice(name, "the owner's choice", melody=None)
            for name in dict.fromkeys(names)
        ]

    @cached_property
    def default(self) -> str:
        """The model of whoever chooses none; slow where only torch can tell."""
        return default_model(self._settings, lambda: self._placement.device.type == "cuda")

    def reader(self, name: str) -> Knows | None:
        """Whether the model's tokenizer knows a word; None for others until they are loaded."""
        return self._readers.get(name)

    def download(self, name: str, report: ReportBytes) -> Path:
        """Have a model of the hub's on the disk; see ``Downloads.fetch``."""
        return self._downloads.fetch(name, report)

    def fits(self, name: str, spare: int) -> bool:
        """Whether a published model fits beside those in memory, with ``spare`` bytes left."""
        need = self._published_need(name)
        return need is not None and need + spare <= self._free()

    def get(self, name: str, report: Report) -> MusicGen:
        """The model ``name``, loaded unless it is in memory.

        ``report`` gets progress; an exception that it raises aborts a download. Raises
        ``ModelUnavailable``, ``InvalidCheckpoint`` or ``OutOfMemory``; the loaded models then
        stay, unless they had to be evicted first.
        """
        return self._models.get(name) or self._load(name, report)

    def make_room(self, request: MusicRequest, name: str, model: MusicGen) -> None:
        """Evict other models until a take fits beside its model; raises ``OutOfMemory``."""
        need, spare = self._need_of([request], model), model.decoder.spare_bytes
        if not self._models.make_room(need - spare, keep=name):
            raise OutOfMemory(
                f"This take needs about {gigabytes(need)} besides its model, "
                f"{gigabytes(self._free() + spare)} are free. "
                "A shorter length, fewer variations or a smaller model needs less."
            )

    def fit_together(self, requests: Sequence[MusicRequest], model: MusicGen) -> bool:
        """Whether there is memory for all of them, as if none of it were in use yet."""
        need = self._need_of(requests, model)
        return need <= self._free() + model.decoder.spare_bytes

    def _need_of(self, requests: Sequence[MusicRequest], model: MusicGen) -> int:
        """Bytes that the takes of ``requests`` need besides their model."""
        from musicgen_space.engine.memory import takes_bytes

        return takes_bytes(model, requests)

    def release(self) -> None:
        """Free memory after failed takes and loads."""
        from musicgen_space.engine.memory import release

        release()

    def clear(self) -> None:
        """Evict all models."""
        if "_models" in vars(self):  # not created yet: don't import torch
            self._models.clear()

    @cached_property
    def _placement(self) -> Placement:
        from musicgen_space.engine.placement import choose_placement
        from musicgen_space.engine.runtimes.native.build import default_cache

        settings = self._settings
        return choose_placement(
            settings.device,
            settings.dtype,
            settings.quant,
            settings.threads or min(os.cpu_count() or 1, _MAX_THREADS),
            settings.native,
            settings.cache or default_cache(),
            settings.at_once,
            settings.graphs,
        )

    @cached_property
    def _runtime(self) -> Runtime:
        from musicgen_space.engine.runtimes.registry import choose_runtime

        return choose_runtime(self._placement)

    @cached_property
    def _models(self) -> ModelCache[MusicGen]:
        return ModelCache(self._settings.max_models, self._free, self.release)

    def _free(self) -> int:
        from musicgen_space.engine.memory import free_bytes

        return free_bytes(self._placement.device)

    def _load(self, name: str, report: Report) -> MusicGen:
        from musicgen_space.engine.checkpoint.loader import load, weights_folder
        from musicgen_space.engine.memory import checkpoint_bytes

        @cache
        def fetch(part: str, /, *, tokenizer_only: bool = False) -> Path:
            """The model, or one that it only names: T5, EnCodec, an adapter's base."""
            published = None if tokenizer_only else self._published_need(part)
            if published is not None:
                self._check(part, published)  # before gigabytes are downloaded for nothing
            folder = _local_folder(part)
            if folder is not None:
                return folder

            def report_bytes(done: int, total: int) -> None:
                report(Loading.download(part, done, total))

            return self._downloads.fetch(part, report_bytes, tokenizer_only=tokenizer_only)

        folder = fetch(name)
        report(Loading(Message("Loading {model}", model=name)))
        need = checkpoint_bytes(weights_folder(folder, fetch), self._runtime)
        self._check(name, need)

        def loaded() -> MusicGen:
            model = load(folder, self._placement, fetch)
            self.release()  # temporary memory of loading
            self._readers.setdefault(name, model.text.reader())
            return model

        try:
            return self._models.load(name, need, loaded)
        except Exception as error:
            if not isinstance(error, OutOfMemory) and not is_out_of_memory(error):
                raise
        # Outside the handler, so that the traceback no longer holds memory.
        self.release()
        raise self._no_room(name, need)

    def _check(self, name: str, need: int) -> None:
        """Raise ``OutOfMemory`` if a model would not fit even into an empty cache."""
        if need > self._models.room:
            raise self._no_room(name, need)

    def _no_room(self, name: str, need: int) -> OutOfMemory:
        room = self._models.room
        needs = {choice.name: self._need(choice.name) for choice in self.choices()}
        fitting = [other for other, size in needs.items() if size and size < min(need, room)]
        advice = f"What fits: {', '.join(fitting)}." if fitting else "No smaller one fits either."
        # Or an unknown limit was hit, or another program took the memory.
        what = (
            f"{name} needs about {gigabytes(need)} here, {gigabytes(room)} are free."
            if need > room
            else f"The memory ran out while {name} was loaded, which needs about {gigabytes(need)}."
        )
        return OutOfMemory(f"{what} {advice}")

    def _need(self, name: str) -> int | None:
        """Bytes that a model needs; None if only downloading it would tell."""
        from musicgen_space.engine.checkpoint.loader import weights_folder
        from musicgen_space.engine.memory import checkpoint_bytes

        try:
            return checkpoint_bytes(weights_folder(_local_path(name), _local_path), self._runtime)
        except _NeedsDownload as missing:
            return self._published_need(missing.name)
        except (ModelUnavailable, InvalidCheckpoint):
            return None

    def _published_need(self, name: str) -> int | None:
        from musicgen_space.engine.memory import Weights, model_bytes

        for each in PUBLISHED:
            if each.choice.name == name:
                weights = Weights(each.decoder_weights, TEXT_WEIGHTS, CODEC_WEIGHTS)
                return model_bytes(weights, self._runtime)
        return None


def _local_folder(name: str) -> Path | None:
    """The local folder of ``name``; None for a hub repository."""
    return embedded_folder() if name == EMBEDDED_MODEL else folder_of(name)


class _NeedsDownload(Exception):
    """The model ``name`` is not on this machine."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _local_path(name: str) -> Path:
    """The local folder of ``name``; raises ``_NeedsDownload`` for a hub repository."""
    folder = _local_folder(name)
    if folder is None:
        raise _NeedsDownload(name)
    return folder
