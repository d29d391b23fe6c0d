"""Sound as bytes: takes as files with tags, files as takes and as clips.

Knows nothing of pages or backends. Samples are float32 in −1 … 1, [channels, samples].
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mutagen.id3
import numpy as np
import soundfile

from musicgen_space.clip import Clip, ClipFacts, check_stretch
from musicgen_space.errors import InvalidRequest, UnreadableAudio
from musicgen_space.finish import Finish
from musicgen_space.kinds import format_of, the_file
from musicgen_space.mixing import SILENCE, fit, heard, joined, loudest, resampled
from musicgen_space.reader import Piece, pieces_of
from musicgen_space.request import CLIP_LIMITS, LIMITS, TEXTS, MusicRequest, Receipt, Take
from musicgen_space.tags import texts_in

__all__ = [
    "CLIP_RATE",
    "FORMATS",
    "MAX_CLIP_BYTES",
    "MAX_CLIP_SECONDS",
    "Format",
    "decode",
    "encode",
    "fit",
    "format_of",
    "formats_for",
    "heard",
    "read_clip",
    "read_settings",
    "read_take",
    "read_upload",
    "settings_of",
    "to_int16",
    "wav",
]

# What is decoded is bounded, so that a small file cannot fill the memory: a 30-second
# stereo take at 48 kHz has 3 million samples.
_MAX_SAMPLES = 32 * 2**20

# Clips are kept as EnCodec hears them: sampling_rate in config.json of facebook/encodec_32khz.
CLIP_RATE = 32_000
MAX_CLIP_SECONDS = 600
MAX_CLIP_BYTES = 50 * 2**20
_MOST_SETTINGS = 2**16  # characters; the longest prompts and names take a tenth of them
_AROUND = 1  # seconds before and after a stretch: what a resampler needs to hear of them


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of file is written: libsndfile's names, and whether nothing is lost.

    ``rates`` are the sample rates it can hold, None: any; ``channels`` is the most it can.
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


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float samples as int16, clipped at full scale; no normalisation."""
    scaled: np.ndarray = np.round(np.clip(samples, -1.0, 1.0) * 32767.0)
    return scaled.astype("<i2")


def decode(data: bytes) -> tuple[np.ndarray, int]:
    """A take as a hosted server sends it: float32 in −1 … 1, [channels, samples], and its rate.

    Nothing is resampled or mixed; what is above full scale is made quieter as a whole. Raises
    ``UnreadableAudio`` for other files, and for broken, empty or unreasonable ones.
    """
    kept, left, rate = [], _MAX_SAMPLES, 0
    with closing(pieces_of(data)) as pieces:
        for samples, rate, _ in pieces:  # noqa: B007  (the same one throughout a file)
            left -= samples.size
            if left < 0:
                raise UnreadableAudio(f"{the_file(data)} is longer than any take.")
            kept.append(samples)
    if not kept:
        raise UnreadableAudio(f"{the_file(data)} has no sound in it.")
    whole = joined(kept)
    return whole / max(1.0, loudest(whole)), rate


def read_upload(path: Path) -> Clip:
    """A file that somebody sent, as ``read_clip`` reads it, if it is not too big for that."""
    if path.stat().st_size > MAX_CLIP_BYTES:
        limit = MAX_CLIP_BYTES // 2**20
        raise UnreadableAudio(f"The file is too big: {limit} MB are the most that is read.")
    return read_clip(path)


def read_clip(
    source: bytes | Path, name: str = "", stretch: tuple[float, float] | None = None
) -> Clip:
    """Somebody's sound file, or its bytes, as a clip of one or two channels at ``CLIP_RATE``.

    Of more channels a stereo mix is made, and what is above full scale is made quieter as a
    whole. ``name`` is what people call it. Of a ``stretch`` (from, to, in seconds) no more is
    read than it takes, however long the file is. Raises ``InvalidRequest`` for one that the
    file has not, and ``UnreadableAudio`` for what ``pieces_of`` can't read, for silence, and
    for more than ``MAX_CLIP_SECONDS``.
    """
    start, end = stretch or (0.0, math.inf)
    if stretch and not 0 <= start < end <= start + MAX_CLIP_SECONDS:
        limit = f"must be a stretch from one second to a later one, of up to {MAX_CLIP_SECONDS}"
        raise InvalidRequest("clip", f"{start:g} to {end:g}", limit)
    clip = _read(source, max(0, math.floor(start) - _AROUND), end + _AROUND)
    if stretch:
        if not clip.samples.size:
            limit = "must be a stretch of the file, which has ended by then"
            raise InvalidRequest("clip", f"{start:g} to {end:g}", limit)
        check_stretch(start, end, clip.start + clip.duration)
        clip = clip.cut(start - clip.start, end - clip.start)
    if loudest(clip.samples) < SILENCE:
        where = f"from {start:g} to {end:g} s" if stretch else "in it"
        raise UnreadableAudio(f"There is no sound {where}, or none above −60 dBFS.")
    named = name or (source.name if isinstance(source, Path) else "clip")
    return replace(clip, name=_writable(named))


def formats_for(take: Take) -> list[str]:
    """The names of ``FORMATS`` that can hold ``take``."""
    channels = take.samples.shape[0]
    return [
        name
        for name, fmt in FORMATS.items()
        if channels <= fmt.channels and (fmt.rates is None or take.sample_rate in fmt.rates)
    ]


def settings_of(take: Take) -> dict[str, Any]:
    """What it takes to make ``take`` again, where it was made and what was done to it since."""
    clips = {name: asdict(clip) for name, clip in take.clips.items()}
    settings = {**take.request.settings(), **clips, "model": take.model, "backend": take.backend}
    if take.base_model is not None:
        settings["base_model"] = take.base_model
    if take.receipt is not None:
        settings["receipt"] = asdict(take.receipt)
    if take.finish is not None:
        settings["finish"] = dict(take.finish)
    return settings


def encode(take: Take, format_name: str) -> bytes:
    """``take`` as a file with its prompt, seed and model in the tags.

    ``format_name`` is a key of ``FORMATS``. The title tag is the prompt, the artist tag
    the model, the comment tag the settings as JSON.
    """
    fmt = FORMATS[format_name]
    tags = {
        "title": take.request.prompt,
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
    return _with_id3(file, tags) if format_name == "mp3" else file.getvalue()


def wav(clip: Clip) -> bytes:
    """``clip`` as a WAV file, to listen to."""
    file = io.BytesIO()
    soundfile.write(file, to_int16(clip.samples).T, clip.sample_rate, "PCM_16", format="WAV")
    return file.getvalue()


def read_settings(source: bytes | Path) -> dict[str, Any] | None:
    """The settings that ``encode`` wrote into a file, or None if there are none.

    Other programs may have moved them to another tag since, or to another format.
    """
    found = map(_settings_in, texts_in(source))
    return next((settings for settings in found if settings is not None), None)


def read_take(data: bytes) -> Take | None:
    """A file that ``encode`` wrote as the take it was; None for any other file.

    Of clips the file only says what they were: the request is without them, the take's ``clips``
    are as far as they can be read. Nor is it in there how long the take took to make
    (``seconds_taken`` is 0) and whether it was stopped.
    """
    settings = read_settings(data)
    if settings is None:
        return None
    samples, sample_rate = decode(data)
    wish = {name: settings[name] for name in (*LIMITS, *TEXTS) if name in settings}
    clips = {name: ClipFacts.read(settings.get(name)) for name in CLIP_LIMITS}
    try:
        request, receipt = MusicRequest(**wish), settings.get("receipt")
        finish = settings.get("finish")
        return Take(
            samples=samples,
            sample_rate=sample_rate,
            request=request,
            backend=str(settings.get("backend", "")),
            model=str(settings.get("model", "")),
            base_model=str(settings["base_model"]) if "base_model" in settings else None,
            seconds_taken=0.0,
            receipt=None if receipt is None else Receipt(**receipt),
            finish=None if finish is None else Finish(**finish).settings(),
            clips={name: clip for name, clip in clips.items() if clip is not None},
        )
    except (InvalidRequest, TypeError):  # somebody else's settings, though they look like ours
        return None


def _settings_in(text: str) -> dict[str, Any] | None:
    """The settings in a text; more may stand around them where programs join several tags."""
    start = re.search(r'\{\s*"', text)
    if start is None:
        return None
    try:
        within = text[start.start() : start.start() + _MOST_SETTINGS]
        settings, _ = json.JSONDecoder().raw_decode(within)
    except (ValueError, RecursionError):
        return None
    return settings if "prompt" in settings else None


def _read(source: bytes | Path, start: int, end: float) -> Clip:
    """What there is of a file from ``start`` to ``end`` seconds.

    From a whole second on, so that its samples are those which the whole file would have
    there: at no other moments do all sample rates have one.
    """
    meter = _Meter()
    with closing(pieces_of(source, start)) as pieces:
        some = _within_limits(pieces) if end == math.inf else _beginning(pieces, end - start)
        samples = joined([*resampled(meter.passing(some), CLIP_RATE)])
    samples /= max(1.0, meter.peak)
    np.clip(samples, -1.0, 1.0, out=samples)  # a filter may ring beyond that
    lowered = max(0.0, 20 * math.log10(meter.peak or 1.0))
    return Clip(samples, CLIP_RATE, start=start, lowered=lowered)


class _Meter:
    """Remembers the loudest sample of all the pieces that it passes on."""

    peak = 0.0

    def passing(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            self.peak = max(self.peak, loudest(piece.samples))
            yield piece


def _within_limits(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces; raises ``UnreadableAudio`` when they go on for too long."""
    frames = 0
    for piece in pieces:
        frames += len(piece.samples)
        # A tenth of a second more than allowed: codecs fill their last block.
        if frames > (MAX_CLIP_SECONDS + 0.1) * piece.sample_rate:
            raise UnreadableAudio(f"It is longer than {MAX_CLIP_SECONDS // 60} minutes.")
        yield piece


def _beginning(pieces: Iterator[Piece], seconds: float) -> Iterator[Piece]:
    """The first ``seconds`` of the pieces."""
    frames = 0
    for piece in pieces:
        left = round(seconds * piece.sample_rate) - frames
        yield piece._replace(samples=piece.samples[:left])
        frames += len(piece.samples)
        if len(piece.samples) >= left:
            return


def _writable(name: str) -> str:
    """On Linux any bytes can be a file's name; tags are text."""
    return name.encode(errors="replace").decode()


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
