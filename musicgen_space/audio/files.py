"""Takes as audio files in four formats, with their settings in the tags; and back.

Knows nothing of pages or backends. Samples are float32 in −1 … 1, [channels, samples].
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mutagen.id3
import numpy as np
import soundfile

from musicgen_space.audio.clips import decode
from musicgen_space.audio.loops.marks import with_loop
from musicgen_space.audio.reader import open_source, read_blocks
from musicgen_space.audio.resample import to_int16
from musicgen_space.audio.tags import tag_texts
from musicgen_space.clip import Clip, ClipFacts
from musicgen_space.errors import InvalidRequest, UnreadableAudio
from musicgen_space.request import CLIP_LIMITS, LIMITS, TEXTS, MusicRequest, upgraded
from musicgen_space.take import Finish, Loop, Receipt, Replaced, Take

__all__ = [
    "FORMATS",
    "FlacWriter",
    "Format",
    "encode",
    "format_by_ending",
    "formats_for",
    "join_flacs",
    "read_piece",
    "read_settings",
    "read_take",
    "save",
    "settings_of",
]

_MAX_SETTINGS = 2**16  # characters of JSON, ten times the longest


@dataclass(frozen=True, slots=True)
class Format:
    """An output format: libsndfile's container and subtype, and whether it is lossless.

    ``rates`` are the supported sample rates in Hz (None: any), ``channels`` the maximum.
    """

    container: str
    subtype: str
    lossless: bool
    rates: frozenset[int] | None = None
    channels: int = 8


# ISO/IEC 11172-3 and 13818-3, and the extension to lower rates that LAME writes.
_MP3_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})

FORMATS = MappingProxyType(
    {
        "wav": Format("WAV", "PCM_16", True),
        "flac": Format("FLAC", "PCM_16", True),
        "ogg": Format("OGG", "VORBIS", False),
        "mp3": Format("MP3", "MPEG_LAYER_III", False, _MP3_RATES, 2),
    }
)


def formats_for(take: Take | Clip) -> list[str]:
    """The names of ``FORMATS`` that can hold ``take``."""
    channels = take.samples.shape[0]
    return [
        name
        for name, fmt in FORMATS.items()
        if channels <= fmt.channels and (fmt.rates is None or take.sample_rate in fmt.rates)
    ]


def format_by_ending(path: Path, field: str, offered: Iterable[str] = FORMATS) -> str:
    """Which of the formats ``offered`` a file's name stands for; raises ``InvalidRequest``."""
    ending = path.suffix.lower().removeprefix(".")
    if ending not in offered:
        endings = ", ".join(f".{name}" for name in offered)
        raise InvalidRequest(field, str(path), f"must end in one of {endings}")
    return ending


def settings_of(take: Take) -> dict[str, Any]:
    """The settings that reproduce ``take``: request, model, backend, and what was done to it."""
    clips = {name: asdict(clip) for name, clip in take.clips.items()}
    settings = {**take.request.settings(), **clips, "model": take.model, "backend": take.backend}
    if take.base_model is not None:
        settings["base_model"] = take.base_model
    if take.receipt is not None:
        settings["receipt"] = asdict(take.receipt)
    if take.finish is not None:
        settings["finish"] = take.finish.settings()
    if take.replaced is not None:
        settings["replaced"] = asdict(take.replaced)
    if take.loop is not None:
        settings["loop"] = asdict(take.loop)
    return settings


def encode(take: Take, format_name: str) -> bytes:
    """``take`` as a file with its prompt, seed and model in the tags.

    ``format_name`` is a key of ``FORMATS``. The title tag is the take's title, the artist tag
    the model, the comment tag the settings as JSON. A loop is marked as one.
    """
    fmt = FORMATS[format_name]
    tags = {
        "title": take.title,
        "artist": f"MusicGen ({take.made_by})",
        "comment": json.dumps(settings_of(take), ensure_ascii=False),
        "software": "MusicGen Space",
    }
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", take.sample_rate, take.samples.shape[0], fmt.subtype, format=fmt.container
    ) as writer:
        if format_name != "mp3":
            for name, text in tags.items():
                setattr(writer, name, text)
        # libsndfile 1.2.2 garbles stereo int16 on its way into an MP3: give encoders floats.
        clipped = np.clip(take.samples, -1.0, 1.0)
        interleaved = (to_int16(take.samples) if fmt.lossless else clipped).T
        # One second at a time: its Vorbis encoder keeps a whole write on the stack.
        for start in range(0, len(interleaved), take.sample_rate):
            writer.write(interleaved[start : start + take.sample_rate])
    data = _with_id3(file, tags) if format_name == "mp3" else file.getvalue()
    if take.loop is None:
        return data
    return with_loop(data, format_name, len(interleaved), take.sample_rate)


def save(take: Take, path: Path) -> None:
    """Write ``take`` to a file of the format that its ending names, as ``encode`` does.

    Raises ``InvalidRequest`` for an ending that can't hold it, and ``OSError``.
    """
    path.write_bytes(encode(take, format_by_ending(path, "path", formats_for(take))))


class FlacWriter:
    """A FLAC file that grows; it is whole once closed. Raises ``OSError``."""

    def __init__(self, path: Path, sample_rate: int, channels: int) -> None:
        self.path, self.frames = path, 0
        fmt = FORMATS["flac"]
        path.touch()  # its errors are more telling
        try:
            self._file = soundfile.SoundFile(
                path, "w", sample_rate, channels, fmt.subtype, format=fmt.container
            )
        except soundfile.SoundFileError as error:
            raise OSError(str(error)) from error

    def write(self, samples: np.ndarray) -> None:
        """Append samples: float32 or int16, [channels, n]."""
        whole = samples if samples.dtype == np.int16 else to_int16(samples)
        try:
            self._file.write(whole.T)
        except (soundfile.SoundFileError, AssertionError) as error:  # it asserts what was written
            raise OSError(f"{self.path.name} can't be written on: {error}") from error
        self.frames += whole.shape[1]

    def close(self) -> None:
        """Write its end; said twice, it counts once."""
        self._file.close()


def join_flacs(paths: Iterable[Path], to: Path) -> None:
    """Write files of one rate and number of channels one after the other, as FLAC.

    One that a full disk has cut short is read as far as it goes. Raises ``OSError``.
    """
    writer = None
    for path in paths:
        with suppress(UnreadableAudio), closing(read_blocks(path)) as blocks:
            for samples, sample_rate, _ in blocks:
                writer = writer or FlacWriter(to, sample_rate, samples.shape[1])
                writer.write(samples.T)
    if writer is not None:
        writer.close()


def read_settings(source: bytes | Path) -> dict[str, Any] | None:
    """The settings that ``encode`` wrote into a file, or None if there are none.

    Other programs may have moved them to another tag since, or to another format.
    """
    found = map(_settings_in, tag_texts(source))
    return next((settings for settings in found if settings is not None), None)


def read_take(data: bytes) -> Take | None:
    """The take in a file that ``encode`` wrote; None for any other file.

    The file holds only facts about clips: they are in the take's ``clips``, and the request
    has none. ``seconds_taken`` and ``stopped`` are not in the file: they are 0 and False.
    """
    settings = read_settings(data)
    if settings is None:
        return None
    samples, sample_rate = decode(data)
    settings = upgraded(settings)
    fields = {name: settings[name] for name in (*LIMITS, *TEXTS) if name in settings}
    clips = {name: ClipFacts.read(settings.get(name)) for name in CLIP_LIMITS}
    try:
        request, receipt = MusicRequest(**fields), settings.get("receipt")
        finish, replaced = settings.get("finish"), settings.get("replaced")
        return Take(
            samples=samples,
            sample_rate=sample_rate,
            request=request,
            backend=str(settings.get("backend", "")),
            model=str(settings.get("model", "")),
            base_model=str(settings["base_model"]) if "base_model" in settings else None,
            seconds_taken=0.0,
            receipt=None if receipt is None else Receipt(**receipt),
            finish=None if finish is None else Finish(**finish),
            loop=Loop.read(settings.get("loop")),
            clips={name: clip for name, clip in clips.items() if clip is not None},
            replaced=None if replaced is None else Replaced(**replaced),
        )
    except (InvalidRequest, TypeError):  # not our settings after all
        return None


def read_piece(path: Path) -> Take | Clip:
    """A file of sound as it is: the take that it holds, or else a clip; raises ``UnreadableAudio``.

    Not resampled or mixed, unlike ``read_clip``.
    """
    with open_source(path) as file:
        data = file.read()
    return read_take(data) or Clip(*decode(data), name=path.name)


def _settings_in(text: str) -> dict[str, Any] | None:
    """The settings in a text, which may be joined with other tags; None if there are none."""
    start = re.search(r'\{\s*"', text)
    if start is None:
        return None
    try:
        within = text[start.start() : start.start() + _MAX_SETTINGS]
        settings, _ = json.JSONDecoder().raw_decode(within)
    except (ValueError, RecursionError):
        return None
    return settings if "prompt" in settings else None


def _with_id3(file: io.BytesIO, tags: dict[str, str]) -> bytes:
    """The MP3 with ID3v2 tags in UTF-8; libsndfile would write Latin-1."""
    id3, utf8 = mutagen.id3, mutagen.id3.Encoding.UTF8
    header = id3.ID3()
    header.add(id3.TIT2(encoding=utf8, text=tags["title"]))
    header.add(id3.TPE1(encoding=utf8, text=tags["artist"]))
    header.add(id3.TSSE(encoding=utf8, text=tags["software"]))
    header.add(id3.COMM(encoding=utf8, lang="eng", desc="", text=tags["comment"]))
    file.seek(0)
    header.save(file)
    return file.getvalue()
