"""Runs the bundled ffmpeg in a sandbox: one open file in, a stream of bytes out.

A malicious file can't make it open other files or URLs: it gets an open descriptor, and the
protocol for that is the only one allowed. The demuxers are limited to audio and video, without
those that refer to files (playlists), render (SVG) or run code (game music). Time, memory
and error output are bounded.
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

__all__ = ["ResourceLimits", "run_ffmpeg"]

_MAX_STDERR = 2**16  # bytes


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """Limits of a run: seconds, and bytes of memory; a quarter of that per allocation."""

    seconds: float = 60
    memory: int = 2**30


# The allowed demuxers by name; some names differ between versions of ffmpeg.
_FORMATS = (
    *("aac", "ac3", "ac4", "aiff", "amr", "amrnb", "amrwb", "ape", "aptx", "asf", "ast", "au"),
    *("avi", "caf", "codec2", "dsf", "dss", "dts", "dtshd", "dv", "eac3", "flac", "flv", "gsm"),
    *("iamf", "iff", "ircam", "lc3", "loas", "matroska,webm", "mlp", "mov,mp4,m4a,3gp,3g2,mj2"),
    *("mp3", "mpc", "mpc8", "mpeg", "mpegts", "mpegvideo", "mxf", "nistsphere", "nsv", "nut"),
    *("ogg", "oma", "osq", "qcp", "qoa", "rka", "rm", "sbc", "shn", "sox", "tak", "truehd"),
    *("tta", "voc", "w64", "wav", "wsd", "wtv", "wv", "xwma"),
)


_DEFAULT_LIMITS = ResourceLimits()


@contextmanager
def run_ffmpeg(
    file: BinaryIO,
    reading: Sequence[str],
    writing: Sequence[str],
    limits: ResourceLimits = _DEFAULT_LIMITS,
) -> Iterator[IO[bytes]]:
    """The output of ffmpeg for ``file``, whose position moves.

    ``reading`` and ``writing`` are the input and output options. Leaving the block before
    the end of the output kills ffmpeg. At the end of the output, raises
    ``subprocess.CalledProcessError`` with its stderr if it failed, and
    ``subprocess.TimeoutExpired`` if it took too long. Raises ``UnreadableAudio`` if there is
    no ffmpeg.
    """
    command = [_program(), "-nostdin", "-v", "fatal", "-threads", "1"]
    command += ["-max_alloc", str(limits.memory // 4)]
    command += ["-protocol_whitelist", "fd", "-format_whitelist", ",".join(_FORMATS)]
    command += [*reading, "-i", "fd:", *writing, "pipe:1"]
    with (
        _as_descriptor(file) as source,
        subprocess.Popen(
            command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        timed_out = threading.Event()

        def kill() -> None:
            timed_out.set()
            process.kill()

        timer = threading.Timer(limits.seconds, kill)
        timer.start()
        try:
            _limit_memory(process.pid, limits.memory)
            assert process.stdout is not None  # because of PIPE
            assert process.stderr is not None
            yield process.stdout
            if process.stdout.read(1):
                return
            # At -v fatal stderr is too short to have filled the pipe.
            errors = process.stderr.read(_MAX_STDERR).decode(errors="replace")
            if process.wait() != 0:
                if timed_out.is_set():
                    raise subprocess.TimeoutExpired(command, limits.seconds)
                raise subprocess.CalledProcessError(process.returncode, command, stderr=errors)
        finally:
            timer.cancel()
            process.kill()


def _program() -> str:
    try:
        program: str = imageio_ffmpeg.get_ffmpeg_exe()  # from the wheel
    except RuntimeError:
        raise UnreadableAudio("Files of this kind need ffmpeg, and there is none here.") from None
    return program


@contextmanager
def _as_descriptor(file: BinaryIO) -> Iterator[IO[bytes]]:
    """The same bytes as a file with a descriptor, at its start.

    Not a pipe: the index of an M4A may be at its end.
    """
    try:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
    except OSError:  # in memory
        with tempfile.TemporaryFile() as copy:
            file.seek(0)
            copy.write(file.read())
            copy.flush()
            os.lseek(copy.fileno(), 0, os.SEEK_SET)
            yield copy
    else:
        yield file


def _limit_memory(process: int, memory: int) -> None:
    """Limit a process's memory on Linux; elsewhere only single allocations are limited."""
    if sys.platform == "linux":
        import resource

        resource.prlimit(process, resource.RLIMIT_DATA, (memory, memory))
