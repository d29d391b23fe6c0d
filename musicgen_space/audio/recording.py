"""What was heard of live music: the last minutes as a take, all of it as a FLAC file.

Knows nothing of who plays it. The file grows while the music plays, so that a long session
needs little memory.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import shutil
import tempfile
import threading
from collections import deque
from pathlib import Path

import numpy as np

from musicgen_space.audio.files import FlacWriter, join_flacs
from musicgen_space.audio.resample import to_int16
from musicgen_space.errors import InvalidRequest
from musicgen_space.live import Heard
from musicgen_space.request import (
    MAX_PROMPT_CHARACTERS,
    Limit,
    MusicRequest,
    checked_number,
    shortened,
)
from musicgen_space.take import Take

__all__ = ["KEEP", "Recording"]

log = logging.getLogger(__name__)

KEEP = Limit(1.0, 300.0, 30.0, 1.0, "seconds")  # of what was heard last, as a take
_NOTICED = 0.5  # seconds; a prompt that was heard for less is not listed
# CDRWIN's cue sheets: 99 tracks, titles of 80 characters, times in frames of 1/75 s.
_TRACKS, _TITLE, _FRAMES = 99, 80, 75


class Recording:
    """Records live sound of ``sample_rate`` Hz and ``channels``: any thread may use it.

    The file lies in a folder of its own in ``folder`` (None: where temporary files go) until
    ``close``, and holds the first ``most_minutes``. Where it can't be written the music goes on.
    """

    def __init__(
        self, folder: Path | None, sample_rate: int, channels: int, most_minutes: float = 60
    ) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self._most = round(most_minutes * 60 * sample_rate)  # samples of the file
        self._place = folder
        self._folder: Path | None = None  # of its own, once there is sound
        self._numbers = itertools.count()  # of files in it
        self._lock, self._joining = threading.Lock(), threading.Lock()
        self._writer: FlacWriter | None = None
        self._parts: list[Path] = []  # of the file, before what the writer has
        self._written = 0  # samples of the file
        self._heard = 0  # samples in all
        self._last: deque[np.ndarray] = deque()  # int16 [channels, n]
        self._kept = 0  # samples in ``_last``
        self._prompts: list[tuple[float, str]] = []
        self._ended = False  # the file can't grow any more
        self._torn = False  # the last part has no proper end

    def add(self, heard: Heard) -> None:
        """The next piece of sound."""
        samples = to_int16(heard.samples)
        with self._lock:
            self._note(heard.prompt)
            self._keep(samples)
            self._heard += samples.shape[1]
            self._write(samples[:, : self._most - self._written])

    def latest(self, seconds: float) -> np.ndarray:
        """The last ``seconds``, or as many as there are: float32 [channels, n]."""
        count = round(float(checked_number("seconds", seconds, KEEP)) * self.sample_rate)
        with self._lock:
            parts = [*self._last]
        whole = np.concatenate([np.empty((self.channels, 0), np.int16), *parts], axis=1)
        return whole[:, -count:].astype(np.float32) / 32768.0

    def take(self, seconds: float, like: MusicRequest, backend: str, model: str) -> Take:
        """The last ``seconds`` as a take whose prompt says which ones were heard, in turn.

        ``like`` has the other settings. Raises ``InvalidRequest`` where there is too little.
        """
        samples = self.latest(seconds)
        lasts = samples.shape[1] / self.sample_rate
        if lasts < KEEP.minimum:
            limit = f"{lasts:.1f} s were heard so far: {KEEP.minimum:g} s are needed"
            raise InvalidRequest("seconds", seconds, limit)
        prompt = shortened(" → ".join(self._heard_in_last(lasts)), MAX_PROMPT_CHARACTERS)
        # A clip at the session's beginning is not the take's.
        own = {"prompt": prompt, "duration": lasts, "continue_from": None, "melody": None}
        request = dataclasses.replace(like, **own)
        return Take(samples, self.sample_rate, request, backend, model, seconds_taken=lasts)

    @property
    def seconds(self) -> float:
        """Of what was heard."""
        return self._heard / self.sample_rate

    @property
    def recorded(self) -> float:
        """Seconds that are in the file: all, but for what came after its limit or a full disk."""
        return self._written / self.sample_rate

    @property
    def prompts(self) -> list[tuple[float, str]]:
        """Each prompt with the second from which it was heard."""
        with self._lock:
            return [*self._prompts]

    def cue_sheet(self, file_name: str) -> str:
        """A track per prompt, for the recording under the name ``file_name``."""
        lines = [f'FILE "{_quotable(file_name)}" WAVE']
        tracks = [each for each in self.prompts if not each[0] or each[0] < self.recorded]
        for number, (start, prompt) in enumerate(tracks[:_TRACKS], 1):
            lines += [
                f"  TRACK {number:02} AUDIO",
                f'    TITLE "{shortened(_quotable(prompt), _TITLE)}"',
                f"    INDEX 01 {_index(start)}",
            ]
        return "\n".join(lines) + "\n"

    def flac(self) -> Path:
        """A file of all so far, which is the caller's from now on; recording goes on.

        The first one costs nothing, a later one about a second per five minutes of music.
        Raises ``InvalidRequest`` before there is any sound, and ``OSError``.
        """
        with self._joining:
            with self._lock:
                self._close_part()
                parts = [*self._parts]
            if not parts:
                raise InvalidRequest("recording", "0 seconds", "there must be some sound first")
            whole = parts[0] if len(parts) == 1 and not self._torn else self._joined(parts)
            descriptor, copy = tempfile.mkstemp(".flac", "live-", self._place)
            with open(descriptor, "wb") as target, whole.open("rb") as source:
                shutil.copyfileobj(source, target)
        return Path(copy)

    def close(self) -> None:
        """Remove the file; those that were asked for stay. Said twice, it counts once."""
        with self._joining, self._lock:
            self._ended = True
            self._close_part()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _note(self, prompt: str) -> None:
        now = self.seconds
        if self._prompts and now - self._prompts[-1][0] < _NOTICED:
            now = self._prompts.pop()[0] if prompt != self._prompts[-1][1] else now
        if not self._prompts or self._prompts[-1][1] != prompt:
            self._prompts.append((now, prompt))

    def _keep(self, samples: np.ndarray) -> None:
        self._last.append(samples)
        self._kept += samples.shape[1]
        while self._kept - self._last[0].shape[1] >= KEEP.maximum * self.sample_rate:
            self._kept -= self._last.popleft().shape[1]

    def _write(self, samples: np.ndarray) -> None:
        """Append to the file; what a disk can't take ends it, not the music."""
        if self._ended or not samples.shape[1]:
            return
        try:
            if self._writer is None:
                self._writer = FlacWriter(self._new_file(), self.sample_rate, self.channels)
            self._writer.write(samples)
            self._written += samples.shape[1]
        except OSError as error:
            log.warning("The recording of live music ends after %.0f s: %s", self.recorded, error)
            self._ended = self._torn = True

    def _new_file(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="live-", dir=self._place))
        return self._folder / f"{next(self._numbers)}.flac"

    def _close_part(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            self._parts.append(writer.path)

    def _joined(self, parts: list[Path]) -> Path:
        """``parts`` as one, which takes their place."""
        with self._lock:
            whole = self._new_file()
        join_flacs(parts, whole)
        with self._lock:
            self._parts[: len(parts)] = [whole]
            self._torn = False
        for part in parts:
            part.unlink()
        return whole

    def _heard_in_last(self, seconds: float) -> list[str]:
        """The prompts of the last ``seconds``, without those that were hardly heard."""
        prompts, begin = self.prompts, self.seconds - seconds
        ends = [start for start, _ in prompts[1:]] + [self.seconds]
        heard = [
            prompt for (_, prompt), end in zip(prompts, ends, strict=True) if end > begin + _NOTICED
        ]
        return heard or [prompts[-1][1]]


def _quotable(text: str) -> str:
    return text.replace('"', "'")


def _index(seconds: float) -> str:
    """As in 61:02:37."""
    frames = round(seconds * _FRAMES)
    return f"{frames // _FRAMES // 60:02}:{frames // _FRAMES % 60:02}:{frames % _FRAMES:02}"
