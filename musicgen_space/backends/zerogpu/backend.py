"""The backend "ZeroGPU": each take is made on a GPU that Hugging Face lends for it.

``spaces.GPU`` runs a function in a forked process, with a GPU for as many seconds as were asked
for. They count against the quota of the visitor whose request Gradio's context has.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from musicgen_space.backends.base import Backend, Loading, ModelChoice, Update
from musicgen_space.backends.local.published import PUBLISHED
from musicgen_space.backends.making import Maker, as_ours, check_clips, updates_of
from musicgen_space.backends.zerogpu.gpu_seconds import GpuSeconds, Work
from musicgen_space.backends.zerogpu.refusals import refusal
from musicgen_space.backends.zerogpu.threaded import threaded
from musicgen_space.engine.conditioners.alphabet import T5, Knows
from musicgen_space.errors import GpuTakenBack, InvalidSetting, MusicGenSpaceError
from musicgen_space.message import Message
from musicgen_space.request import MusicRequest
from musicgen_space.settings import Settings

if TYPE_CHECKING:
    from musicgen_space.engine.generate import Generated, MusicGen

__all__ = ["ZeroGpuBackend"]

_PUBLISHED = {each.choice.name: each for each in PUBLISHED}


class ZeroGpuBackend(Backend):
    """The ``models`` that were placed at the start; ``gpu`` is ``spaces.GPU`` or stands in for it.

    What runs on the GPU is decorated when the backend is made: ZeroGPU looks for it when the page
    is launched.
    """

    name = "zerogpu"
    label = "ZeroGPU"
    about = Message("Hugging Face's GPUs, fast, on your daily quota there")
    knobs = frozenset(MusicRequest.__dataclass_fields__)

    def __init__(self, models: Mapping[str, MusicGen], gpu: Callable[..., Any]) -> None:
        self._models = models
        self._readers = {
            name: T5.knows if name in _PUBLISHED else model.text.reader()
            for name, model in models.items()
        }
        self._gpu_seconds = GpuSeconds(each.decoder.config for each in models.values())
        self._closed = threading.Event()
        self._on_gpu = gpu(self._pieces, duration=self._duration)

    @classmethod
    def from_settings(cls, settings: Settings) -> ZeroGpuBackend | None:
        """The backend on a Space with ZeroGPU; None where none of its models can be loaded.

        Raises ``InvalidSetting`` elsewhere.
        """
        try:
            import spaces  # not elsewhere, and before torch: it makes torch see a card
        except (ImportError, AssertionError):  # the latter where the hub's own settings are missing
            raise InvalidSetting(
                "SPACES_ZERO_GPU must be unset, except on a Space with ZeroGPU, "
                "where there is the package spaces and the hub sets what that needs."
            ) from None

        from musicgen_space.backends.zerogpu.placing import place

        models = place(settings)
        backend = cls(models, spaces.GPU)
        return backend if models else None

    def models(self) -> list[ModelChoice]:
        """What was placed, in the owner's order."""
        return [_choice(name, model) for name, model in self._models.items()]

    def reader(self, model: str) -> Knows | None:
        """Whether the model's tokenizer knows a word."""
        return self._readers.get(model)

    def generate(
        self, request: MusicRequest, stop: threading.Event, visitor: str = ""
    ) -> Iterator[Update]:
        """See ``Backend.generate``; raises ``GpuRefused`` when ZeroGPU gives no GPU.

        Stop keeps the whole seconds that were made. While it waits for a GPU it need not wait.
        """
        check_clips(request)
        name = self.choice(request.model or next(iter(self._models))).name
        model, request = self._models[name], request.with_seed_drawn()

        def stopped() -> bool:
            return stop.is_set() or self._closed.is_set()

        yield Loading(Message("Waiting for a GPU"))
        pieces = self._told(name, request, stopped)
        if next(pieces, None) is None:
            return
        maker = Maker(self.name, name, model.base, model.codec.sample_rate)
        yield from updates_of(self._timed(pieces, name, request), request, maker, stopped)

    def close(self) -> None:
        """Stop the current takes."""
        self._closed.set()

    def _told(
        self, name: str, request: MusicRequest, stopped: Callable[[], bool]
    ) -> Iterator[Generated]:
        """What the GPU sends, with errors of ours for those of ZeroGPU."""
        failure: MusicGenSpaceError | None = None
        try:
            for piece in threaded(lambda: self._on_gpu(name, request), stopped):
                if isinstance(piece, MusicGenSpaceError):
                    failure = piece  # what ZeroGPU raises next says less
                else:
                    yield piece
        except Exception as error:
            failure = failure or refusal(error)
        if isinstance(failure, GpuTakenBack):
            self._gpu_seconds.overran(self._work(name, request))
        if failure is not None:
            raise failure

    def _timed(
        self, pieces: Iterator[Generated], name: str, request: MusicRequest
    ) -> Iterator[Generated]:
        """The same pieces; however they end, later takes ask for time by how long these took."""
        started, seconds = time.perf_counter(), 0.0
        try:
            for piece in pieces:
                seconds = piece.seconds
                yield piece
        finally:
            self._gpu_seconds.learn(
                self._work(name, request), seconds, time.perf_counter() - started
            )

    def _work(self, name: str, request: MusicRequest) -> Work:
        model = self._models[name]
        return Work.of(request, name, model.decoder.config, model.codec.frame_rate)

    # What ZeroGPU calls: both with the same arguments, which it sends to another process.

    def _duration(self, name: str, request: MusicRequest) -> int:
        """How many seconds of a GPU to ask for."""
        return self._gpu_seconds.ask(self._work(name, request))

    def _pieces(self, name: str, request: MusicRequest) -> Iterator[Generated | MusicGenSpaceError]:
        """Runs in a forked process: at first a piece without music, as soon as it has its GPU.

        It is ended at a yield, so there is one after each step. Errors of ours are sent: of those
        that are raised there, ZeroGPU tells no more than their names.
        """
        from musicgen_space.engine.generate import Generated, generate

        try:
            yield Generated(0.0, np.empty(0, np.float32))
            yield from generate(self._models[name], request, report_every=1)
        except MusicGenSpaceError as error:
            yield as_ours(error)
        except GeneratorExit:
            raise
        except BaseException as error:  # a Rust panic is not an Exception
            yield as_ours(error)
            raise  # and this process is not used again: after some CUDA errors every call fails


def _choice(name: str, model: MusicGen) -> ModelChoice:
    published = _PUBLISHED.get(name)
    about = published.about if published else "the owner's choice"
    return ModelChoice(name, about, model.decoder.config.follows_melody)
