"""The ffmpeg that comes in a wheel, fenced in: one open file in, a stream of bytes out.

Nothing that a file says makes it open another file or an address: it is handed the open
file, and what reads that is the only protocol it has. It may read formats that hold sound,
or video with it, and nothing that names files (playlists), draws (SVG) or runs (game music).
Its time, its memory and its last words are bounded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO

import imageio_ffmpeg

from musicgen_space.errors import UnreadableAudio

__all__ = ["Bounds", "output_of"]

_MOST_WORDS = 2**16  # bytes of what it says as it fails


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a run may use: seconds, and bytes of memory, of which a quarter at once."""

    seconds: float = 60
    memory: int = 2**30


# Its demuxers, by their names. Several stand for older and newer files of one kind.
_FORMATS = (
    *("aac", "ac3", "ac4", "aiff", "amr", "amrnb", "amrwb", "ape", "aptx", "asf", "ast", "au"),
    *("avi", "caf", "codec2", "dsf", "dss", "dts", "dtshd", "dv", "eac3", "flac", "flv", "gsm"),
    *("iamf", "iff", "ircam", "lc3", "loas", "matroska,webm", "mlp", "mov,mp4,m4a,3gp,3g2,mj2"),
    *("mp3", "mpc", "mpc8", "mpeg", "mpegts", "mpegvideo", "mxf", "nistsphere", "nsv", "nut"),
    *("ogg", "oma", "osq", "qcp", "qoa", "rka", "rm", "sbc", "shn", "sox", "tak", "truehd"),
    *("tta", "voc", "w64", "wav", "wsd", "wtv", "wv", "xwma"),
)


_USUAL = Bounds()


@contextmanager
def output_of(
    file: BinaryIO, reading: Sequence[str], writing: Sequence[str], bounds: Bounds = _USUAL
) -> Iterator[IO[bytes]]:
    """What ffmpeg makes of ``file``; moves the position in it.

    ``reading`` and ``writing`` are its options for either side. Who leaves the block before
    the end has had enough: ffmpeg is ended. Else raises ``subprocess.CalledProcessError`` when
    it fails, with its last words, and ``subprocess.TimeoutExpired`` when it takes too long.
    Raises ``UnreadableAudio`` where there is no ffmpeg.
    """
    command = [_program(), "-nostdin", "-v", "fatal", "-threads", "1"]
    command += ["-max_alloc", str(bounds.memory // 4)]
    command += ["-protocol_whitelist", "fd", "-format_whitelist", ",".join(_FORMATS)]
    command += [*reading, "-i", "fd:", *writing, "pipe:1"]
    with (
        _as_descriptor(file) as source,
        subprocess.Popen(
            command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        alarm = threading.Timer(bounds.seconds, end)
        alarm.start()
        try:
            _bound(process.pid, bounds.memory)
            assert process.stdout is not None  # they were asked for
            assert process.stderr is not None
            yield process.stdout
            if process.stdout.read(1):
                return
            # Fatal words are few: they can't have filled the pipe before.
            words = process.stderr.read(_MOST_WORDS).decode(errors="replace")
            if process.wait() != 0:
                if late.is_set():
                    raise subprocess.TimeoutExpired(command, bounds.seconds)
                raise subprocess.CalledProcessError(process.returncode, command, stderr=words)
        finally:
            alarm.cancel()
            process.kill()


def _program() -> str:
    try:
        program: str = imageio_ffmpeg.get_ffmpeg_exe()  # nobody has to install it
    except RuntimeError:
        raise UnreadableAudio("Files of this kind need ffmpeg, and there is none here.") from None
    return program


@contextmanager
def _as_descriptor(file: BinaryIO) -> Iterator[IO[bytes]]:
    """The same bytes as a file of the system, at its start.

    A pipe would not do: an M4A may keep its table of contents at the end.
    """
    try:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
    except OSError:  # it is in memory
        with tempfile.TemporaryFile() as copy:
            file.seek(0)
            copy.write(file.read())
            copy.flush()
            os.lseek(copy.fileno(), 0, os.SEEK_SET)
            yield copy
    else:
        yield file


def _bound(process: int, memory: int) -> None:
    """Bound the memory of a process, where the system can; elsewhere each block is bounded."""
    if sys.platform == "linux":
        import resource

        resource.prlimit(process, resource.RLIMIT_DATA, (memory, memory))
