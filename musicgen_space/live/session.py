"""Live music while it plays: ``LiveSession``, an iterator of its chunks that can be steered."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from musicgen_space.backends.base import Loading, Waiting
from musicgen_space.errors import Stopped
from musicgen_space.live import Heard, LiveControls
from musicgen_space.take import Take

if TYPE_CHECKING:
    from musicgen_space.audio.recording import Recording

__all__ = ["LiveReport", "LiveSession", "LiveUpdates"]

LiveUpdates = Generator[Waiting | Loading | Heard, None, None]
LiveReport = Callable[[Waiting | Loading], object]


class LiveSession(Iterator[np.ndarray]):
    """The chunks of live music: float32 in −1 … 1, [channels, samples], a tenth of a second or so.

    It goes on until ``close``, the end of a ``with``, or until the session is dropped. The
    music begins with the first chunk that is asked for, and is made hardly faster than it is
    heard: whoever asks for chunks gets them at the pace at which they play. One thread at a time
    may ask for chunks, any may do the rest. What goes wrong is raised where chunks are asked for:
    ``BackendError``.
    """

    def __init__(
        self,
        updates: LiveUpdates,
        controls: LiveControls,
        made_by: tuple[str, str],
        report: LiveReport | None = None,
    ) -> None:
        """``made_by``: the backend's name and the model's."""
        self._controls, self._made_by = controls, made_by
        self._known = _Known()
        self._chunks = _chunks(updates, controls, report, self._known)
        self._ahead: list[np.ndarray] = []  # read, but not asked for yet
        weakref.finalize(self, self._known.close)

    def __next__(self) -> np.ndarray:
        return self._ahead.pop() if self._ahead else next(self._chunks)

    def steer(self, **fields: Any) -> None:
        """Change what is to be heard: it follows within seconds, without a stop.

        ``prompt``, ``blend_prompt`` and ``balance`` (0 … 1: how much of the latter), ``change``
        ("evolve", "arrive" or "auto"), ``negative_prompt``, ``guidance_scale``, ``temperature``,
        ``top_k`` and ``top_p``. Raises ``InvalidRequest``.
        """
        self._controls.steer(**fields)

    @property
    def sample_rate(self) -> int:
        """Of the chunks, in Hz; waits for the first one. Raises ``Stopped`` if there is none."""
        return self._begun.sample_rate

    @property
    def heard(self) -> Heard | None:
        """What the last chunk was: its prompt, the one that is coming, its start, the speed.

        Without the samples; None before the first one.
        """
        return self._known.heard

    @property
    def prompts(self) -> list[tuple[float, str]]:
        """Each prompt so far with the second from which it was heard."""
        return self._known.recording.prompts if self._known.recording else []

    def keep(self, seconds: float = 30.0) -> Take:
        """What was heard last as a take, 1 to 300 s; its prompt has those that were heard.

        Raises ``InvalidRequest`` where there is less than a second yet, and ``Stopped`` where
        there is nothing.
        """
        return self._recording.take(seconds, self._controls.wish.request, *self._made_by)

    def save(self, path: str | PathLike[str]) -> Path:
        """All of it so far as a FLAC file, up to an hour, with a cue sheet beside it; → its path.

        The sheet lists the prompts with their times. Raises ``InvalidRequest`` for another
        ending, ``Stopped`` where there is nothing yet, and ``OSError``.
        """
        from musicgen_space.audio.files import format_by_ending

        path = Path(path)
        format_by_ending(path, "path", ["flac"])
        shutil.move(self._recording.flac(), path)
        path.with_suffix(".cue").write_text(self._recording.cue_sheet(path.name), encoding="utf-8")
        return path

    def close(self) -> None:
        """End the music; ``keep`` and ``save`` still work."""
        self._controls.stop()
        self._ahead.clear()
        with suppress(ValueError):  # another thread waits for a chunk, and sees it has ended
            self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def _recording(self) -> Recording:
        if self._known.recording is None:
            raise Stopped
        return self._known.recording

    @property
    def _begun(self) -> Recording:
        if self._known.recording is None:
            self._ahead += itertools.islice(self._chunks, 1)
        return self._recording


@dataclasses.dataclass(slots=True)
class _Known:
    """What a session has come to know: apart from it, so that a dropped one is collected."""

    heard: Heard | None = None
    recording: Recording | None = None

    def hear(self, heard: Heard) -> None:
        from musicgen_space.audio.recording import Recording

        channels = heard.samples.shape[0]
        if self.recording is None:
            self.recording = Recording(None, heard.sample_rate, channels)
        self.recording.add(heard)
        self.heard = dataclasses.replace(heard, samples=np.empty((channels, 0), np.float32))

    def close(self) -> None:
        if self.recording is not None:
            self.recording.close()


def _chunks(
    updates: LiveUpdates, controls: LiveControls, report: LiveReport | None, known: _Known
) -> Generator[np.ndarray, None, None]:
    with closing(updates):
        for update in updates:
            if controls.stopped:
                return
            if isinstance(update, Heard):
                known.hear(update)
                yield update.samples
                # Whoever asks for the next one has heard this, or has it to be played.
                controls.fetched = update.start + update.samples.shape[1] / update.sample_rate
            elif report is not None:
                report(update)
