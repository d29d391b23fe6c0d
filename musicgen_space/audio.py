"""Sound as bytes: float and int16 samples, files in four formats, tags inside them.

Knows nothing of pages or backends. Samples are float32 in −1 … 1, [channels, samples].
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import mutagen.id3
import mutagen.mp3
import numpy as np
import soundfile

from musicgen_space.request import LIMITS, MusicRequest, Take

__all__ = ["FORMATS", "Format", "encode", "read_settings", "read_take", "settings_of", "to_int16"]


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of file is written: libsndfile's names, and whether nothing is lost."""

    container: str
    subtype: str
    lossless: bool


FORMATS = MappingProxyType(
    {
        "wav": Format("WAV", "PCM_16", True),
        "flac": Format("FLAC", "PCM_16", True),
        "ogg": Format("OGG", "VORBIS", False),
        "mp3": Format("MP3", "MPEG_LAYER_III", False),
    }
)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples as int16, clipped at full scale; no normalisation."""
    scaled: np.ndarray = np.round(np.clip(samples, -1.0, 1.0) * 32767.0)
    return scaled.astype("<i2")


def settings_of(take: Take) -> dict[str, Any]:
    """What it takes to make ``take`` again, and where it was made."""
    return {**asdict(take.request), "model": take.model, "backend": take.backend}


def encode(take: Take, format_name: str) -> bytes:
    """``take`` as a file with its prompt, seed and model in the tags.

    ``format_name`` is a key of ``FORMATS``. The title tag is the prompt, the artist tag
    the model, the comment tag the settings as JSON.
    """
    fmt = FORMATS[format_name]
    tags = {
        "title": take.request.prompt,
        "artist": f"MusicGen ({take.model})",
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
    return _with_id3(file, tags) if format_name == "mp3" else file.getvalue()


def read_settings(data: bytes) -> dict[str, Any] | None:
    """The settings that ``encode`` wrote into a file, or None if there are none."""
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as reader:
            is_mp3, comment = reader.format == "MP3", reader.comment
    except soundfile.LibsndfileError:
        return None
    if is_mp3:
        comments = (mutagen.mp3.MP3(io.BytesIO(data)).tags or mutagen.id3.ID3()).getall("COMM")
        comment = str(comments[0]) if comments else ""
    try:
        settings = json.loads(comment)
    except ValueError:
        return None
    return settings if isinstance(settings, dict) and "prompt" in settings else None


def read_take(data: bytes) -> Take | None:
    """A file that ``encode`` wrote as the take it was; None for any other file.

    How long the take took to make is not in the file: ``seconds_taken`` is 0.
    """
    settings = read_settings(data)
    if settings is None:
        return None
    samples, sample_rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    wish = {name: settings[name] for name in LIMITS if name in settings}
    return Take(
        samples=samples.T,
        sample_rate=sample_rate,
        request=MusicRequest(settings["prompt"], **wish),
        backend=str(settings.get("backend", "")),
        model=str(settings.get("model", "")),
        seconds_taken=0.0,
    )


def _with_id3(file: io.BytesIO, tags: dict[str, str]) -> bytes:
    """The MP3 with ID3v2 tags; libsndfile writes them as Latin-1, which not every prompt is."""
    id3, utf8 = mutagen.id3, mutagen.id3.Encoding.UTF8
    header = id3.ID3()
    header.add(id3.TIT2(encoding=utf8, text=tags["title"]))
    header.add(id3.TPE1(encoding=utf8, text=tags["artist"]))
    header.add(id3.TSSE(encoding=utf8, text=tags["software"]))
    header.add(id3.COMM(encoding=utf8, lang="eng", desc="", text=tags["comment"]))
    file.seek(0)
    header.save(file)
    return file.getvalue()
