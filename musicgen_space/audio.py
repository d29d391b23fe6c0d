"""Sound as bytes: float and int16 samples, files in five formats, tags inside them.

Knows nothing of pages or backends. Samples are float32 in −1 … 1, [channels, samples].
"""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import imageio_ffmpeg
import mutagen.id3
import mutagen.mp3
import numpy as np
import soundfile

from musicgen_space.clip import Clip
from musicgen_space.errors import UnreadableAudio
from musicgen_space.request import LIMITS, MusicRequest, Take

__all__ = [
    "FORMATS",
    "Format",
    "decode",
    "encode",
    "format_of",
    "formats_for",
    "read_settings",
    "read_take",
    "settings_of",
    "to_int16",
]

# What is decoded is bounded, so that a small file cannot fill the memory: a 30-second
# stereo take at 48 kHz has 3 million samples. ffmpeg, which M4A needs, gets a time limit too.
_MAX_SAMPLES = 32 * 2**20
_MAX_CHANNELS = 8
_MAX_SECONDS = 300
_FFMPEG_SECONDS = 60
_SAMPLE_RATES = range(8_000, 192_001)


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


def format_of(data: bytes) -> str | None:
    """wav, mp3, flac, ogg or m4a, told by the first bytes; None when it is none of these."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] in (b"fLaC", b"OggS"):
        return "flac" if data[:4] == b"fLaC" else "ogg"
    if data[4:8] == b"ftyp":
        return "m4a"
    return "mp3" if data[:3] == b"ID3" or _is_mpeg_frame(data[:4]) else None


def decode(data: bytes) -> tuple[np.ndarray, int]:
    """A sound file as float32 samples in −1 … 1, [channels, samples], and its sample rate.

    Nothing is resampled or mixed. Raises ``UnreadableAudio`` for other formats, and for
    broken, empty or unreasonable files.
    """
    kind = format_of(data)
    if kind is None:
        raise UnreadableAudio("This is no WAV, MP3, FLAC, OGG or M4A file.")
    samples, sample_rate = _read(_m4a_to_wav(data) if kind == "m4a" else data, kind)
    if not samples.size:
        raise UnreadableAudio(f"The {kind.upper()} file has no sound in it.")
    if not np.isfinite(samples).all():
        raise UnreadableAudio(f"The {kind.upper()} file has samples that are no numbers.")
    return np.clip(samples, -1.0, 1.0), sample_rate


def formats_for(take: Take) -> list[str]:
    """The names of ``FORMATS`` that can hold ``take``."""
    channels = take.samples.shape[0]
    return [
        name
        for name, fmt in FORMATS.items()
        if channels <= fmt.channels and (fmt.rates is None or take.sample_rate in fmt.rates)
    ]


def settings_of(take: Take) -> dict[str, Any]:
    """What it takes to make ``take`` again, and where it was made."""
    settings = {**take.request.settings(), "model": take.model, "backend": take.backend}
    return settings if take.receipt is None else {**settings, "receipt": asdict(take.receipt)}


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
    samples, sample_rate = decode(data)
    texts = ("negative_prompt", "blend_prompt")
    wish = {name: settings[name] for name in (*LIMITS, *texts) if name in settings}
    return Take(
        samples=samples,
        sample_rate=sample_rate,
        request=MusicRequest(settings["prompt"], **wish),
        backend=str(settings.get("backend", "")),
        model=str(settings.get("model", "")),
        seconds_taken=0.0,
    )


def _is_mpeg_frame(header: bytes) -> bool:
    """Whether these four bytes can start an MPEG audio frame (ISO 11172-3, 2.4.2.3)."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return False
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate, sample_rate = header[2] >> 4, header[2] >> 2 & 3
    return version != 1 and layer != 0 and bit_rate not in (0, 15) and sample_rate != 3


def _read(data: bytes, kind: str) -> tuple[np.ndarray, int]:
    """Decode with libsndfile: samples [channels, samples] and the sample rate."""
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as reader:
            channels, sample_rate = reader.channels, reader.samplerate
            if channels > _MAX_CHANNELS or sample_rate not in _SAMPLE_RATES:
                raise UnreadableAudio(
                    f"The {kind.upper()} file claims {channels} channels at {sample_rate} Hz."
                )
            # One more than allowed, so that a longer file shows itself.
            frames = _MAX_SAMPLES // channels + 1
            samples = reader.read(frames, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, UnreadableAudio):
            raise
        raise UnreadableAudio(f"The {kind.upper()} file is broken: {_reason(error)}") from error
    if len(samples) == frames:
        raise UnreadableAudio(f"The {kind.upper()} file is longer than any take.")
    return np.ascontiguousarray(samples.T), sample_rate


def _reason(error: Exception) -> str:
    """What libsndfile says, without the Python object that it was reading from."""
    return str(getattr(error, "error_string", error))


def _m4a_to_wav(data: bytes) -> bytes:
    try:
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()  # comes in a wheel: nobody has to install it
    except RuntimeError:
        raise UnreadableAudio("M4A files need ffmpeg, and there is none here.") from None
    with tempfile.TemporaryDirectory() as folder:
        # Files, not pipes: an M4A may keep its table of contents at the end.
        source, target = Path(folder, "take.m4a"), Path(folder, "take.wav")
        source.write_bytes(data)
        # The forced demuxer and the protocol list keep a crafted file from opening others.
        command = [ffmpeg, "-nostdin", "-v", "error", "-protocol_whitelist", "file"]
        command += ["-f", "mov", "-i", str(source), "-vn", "-t", str(_MAX_SECONDS)]
        command += ["-c:a", "pcm_f32le", str(target)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_FFMPEG_SECONDS)
        except (subprocess.SubprocessError, OSError):
            raise UnreadableAudio("ffmpeg could not read the M4A file.") from None
        return target.read_bytes()


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


def fit(clip: Clip, sample_rate: int, channels: int) -> np.ndarray:
    """A clip's samples at another rate, in mono or stereo: float32 [channels, samples]."""
    import soxr

    samples = clip.samples
    if channels == 1 or len(samples) > 2:
        samples = samples.mean(axis=0, keepdims=True)
    if len(samples) < channels:
        samples = np.repeat(samples, channels, axis=0)
    if clip.sample_rate != sample_rate:
        samples = soxr.resample(samples.T, clip.sample_rate, sample_rate).T
    return np.ascontiguousarray(samples, np.float32)
