"""The command line: ``python -m musicgen_space "upbeat funk with brass" -o take.flac``.

Several variations go to take-1.flac, take-2.flac, … Exit codes: 0 done, 1 the music could
not be made, 2 wrong usage, 130 interrupted, 143 ended by SIGTERM (what was made by then is
written, unless there is a second signal).
"""

from __future__ import annotations

from musicgen_space.process.ending import Ending, end_quietly, ending

if __name__ == "__main__":
    end_quietly()  # before the other imports, which take a second

import argparse
import io
import os
import re
import sys
from pathlib import Path
from typing import NoReturn, TextIO

from tqdm import tqdm

from musicgen_space import __version__
from musicgen_space.audio.clips import read_clip, told_of
from musicgen_space.audio.files import format_by_ending
from musicgen_space.audio.loudness import LOUDNESS, TRUE_PEAK
from musicgen_space.backends import backend_named, open_backends
from musicgen_space.backends.base import Backend, Loading, Progress, Waiting
from musicgen_space.clip import Clip
from musicgen_space.errors import BackendError, InvalidRequest, MusicGenSpaceError, UnreadableAudio
from musicgen_space.process.environment import prepared_environment
from musicgen_space.request import ABOUT, CLIP_LIMITS, LIMITS, TEXTS, MusicRequest
from musicgen_space.settings import Settings
from musicgen_space.take import FINISH_LIMITS, Finish, Take

__all__ = ["main"]

OK, FAILED = 0, 1  # argparse itself exits with 2

_FADES = {
    "fade_in": "at the start of each file, from silence",
    "fade_out": "at the end of each file, to silence",
}
_SWITCHES = {
    "normalise": f"make each file as loud as other music ({LOUDNESS:g} LUFS), "
    f"as far as its peaks allow ({TRUE_PEAK:g} dBTP)",
    "trim": "cut silence or hiss off the end of each file",
}
# What steers a terminal or turns the order of letters around; a file's name may have it.
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_STRETCH = re.compile(r"(?P<file>.+)@(?P<start>\d+(\.\d+)?)-(?P<end>\d+(\.\d+)?)")


class _Parser(argparse.ArgumentParser):
    """One whose complaints can be shown."""

    def error(self, message: str) -> NoReturn:
        super().error(_shown(message))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; → the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal's code page has a ×
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment()
        with prepared_environment(settings):
            return _run(parser, options, open_backends(settings))
    except MusicGenSpaceError as error:
        parser.error(str(error))


def _run(
    parser: argparse.ArgumentParser, options: argparse.Namespace, backends: dict[str, Backend]
) -> int:
    """Do what the options ask for, and close the backends; → the exit code."""
    try:
        if options.list_models:
            _print_models(backends)
            return OK
        finish = Finish(**{field: getattr(options, field) for field in (*_SWITCHES, *_FADES)})
        return _make(*_understood(options, backends), finish, options.output)
    except InvalidRequest as error:
        parser.error(str(InvalidRequest(_option(error.field), error.value, error.limit)))
    except UnreadableAudio as error:
        parser.error(str(error))
    except (MusicGenSpaceError, OSError) as error:
        _say(f"{parser.prog}: {error}", sys.stderr)
        return FAILED
    finally:
        for backend in backends.values():
            backend.close()


def _understood(
    options: argparse.Namespace, backends: dict[str, Backend]
) -> tuple[Backend, MusicRequest]:
    """The options as a backend and a request; raises ``InvalidRequest``."""
    backend = backend_named(backends, options.backend or next(iter(backends)))
    format_by_ending(options.output, "output")
    if not options.output.resolve().parent.is_dir():
        raise InvalidRequest("output", str(options.output), "must lie in a folder that exists")
    fields = (*TEXTS, "model", *LIMITS, *CLIP_LIMITS)
    given = {field: getattr(options, field) for field in fields}
    request = backend.request(given, _clip, any_model=True)
    for path in _paths(options.output, request):
        _check_writable(path)
    return backend, request


def _paths(output: Path, request: MusicRequest) -> list[Path]:
    """Where each variation goes."""
    if request.variations == 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{n + 1}") for n in range(request.variations)]


def _check_writable(path: Path) -> None:
    """Raise ``InvalidRequest`` where a file would fail only after the music is made."""
    if path.is_dir():
        raise InvalidRequest("output", str(path), "must be a file, not a folder")
    if not os.access(path if path.exists() else path.resolve().parent, os.W_OK):
        raise InvalidRequest("output", str(path), "must be a file that can be written to")


def _option(field: str) -> str:
    """A field as the command line calls it: --continue reads better than --continue-from."""
    return field.removesuffix("_from").replace("_", "-")


def _clip(field: str, given: str) -> Clip:
    """The sound that FILE or FILE@FROM-TO names; a file may have an @ in its own name."""
    found = None if Path(given).is_file() else _STRETCH.fullmatch(given)
    stretch = (float(found["start"]), float(found["end"])) if found else None
    with told_of(field, f"{_option(field)} {given}"):
        clip = read_clip(Path(found["file"] if found else given), stretch=stretch)
    if clip.note:
        _say(f"{_option(field)} {given}: {clip.note}", sys.stderr)
    return clip


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="musicgen_space",
        description="Turn a line of text into music.",
        epilog="Exit codes: 0 done, 1 the music could not be made, 2 wrong usage, 130 interrupted, "
        "143 ended by SIGTERM. After one of the last two what was made by then is written.",
    )
    parser.add_argument("prompt", nargs="?", default="", help=ABOUT["prompt"])
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("take.wav"), metavar="FILE",
        help="where to write it: .wav, .flac, .ogg or .mp3 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--model", help="a name from --list-models, a hub id or a folder")
    parser.add_argument("--backend", help="where the music is made (default: the first one)")
    for name, limit in LIMITS.items():
        parser.add_argument(
            f"--{_option(name)}", dest=name, type=int if limit.whole else float,
            default=limit.default, metavar="N",
            help=f"{limit.range}; {ABOUT[name]} (default: {limit.default:g})",
        )  # fmt: skip
    for name in TEXTS[1:]:
        parser.add_argument(f"--{_option(name)}", default="", metavar="WORDS", help=ABOUT[name])
    for name, limit in CLIP_LIMITS.items():
        parser.add_argument(
            f"--{_option(name)}", dest=name, metavar="FILE[@FROM-TO]",
            help=f"{ABOUT[name]}, all or from one second to another, as in song.mp3@3.5-12: "
            f"{limit.range}",
        )  # fmt: skip
    for name, about in _FADES.items():
        limit = FINISH_LIMITS[name]
        parser.add_argument(
            f"--{_option(name)}", type=float, default=limit.default, metavar="S",
            help=f"{about}: {limit.minimum:g} to {limit.maximum:g} {limit.unit}",
        )  # fmt: skip
    for name, about in _SWITCHES.items():
        parser.add_argument(f"--{name}", action="store_true", help=about)
    parser.add_argument("--list-models", action="store_true", help="list the models and leave")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _print_models(backends: dict[str, Backend]) -> None:
    for backend in backends.values():
        _say(f"{backend.label} ({backend.name}): {backend.about}")
        for choice in backend.models():
            _say(f"  {choice.name:38} {choice.about}")


def _make(backend: Backend, request: MusicRequest, finish: Finish, output: Path) -> int:
    with ending() as stop:
        told = _tell_remarks(backend, request)
        takes = _watched(backend, request, stop)
        if not told:  # of some models only loading them tells
            _tell_remarks(backend, request)
        if not takes and not stop.is_set():
            raise BackendError("The music could not be made: nothing came.")
        _write(takes, finish, _paths(output, request))
    if stop.is_set():
        _say("Interrupted.", sys.stderr)
    return stop.code or OK


def _write(takes: list[Take], finish: Finish, paths: list[Path]) -> None:
    """Write each take, then report; raises ``OSError`` if one can't be written, after all that."""
    report, failure = [], None
    for path, take in zip(paths, takes, strict=False):  # fewer if interrupted
        finished = take.finished(finish)
        try:
            finished.save(path)
        except OSError as error:
            failure = error  # told when the others are safe
            continue
        report.append(
            f"{path}: {finished.duration:.2f} s, {take.made_by}, seed {take.request.seed}, "
            f"made in {take.seconds_taken:.1f} s ({take.real_time_factor:.1f}× real time)"
        )
    for line in report:
        _say(line)
    if failure is not None:
        raise failure


def _tell_remarks(backend: Backend, request: MusicRequest) -> bool:
    """Say what of the texts the model can't read; → whether there was anything to say."""
    remarks = backend.remarks(request)
    for field, words in remarks.items():
        _say(f"{_option(field)}: {words}", sys.stderr)
    return bool(remarks)


def _watched(backend: Backend, request: MusicRequest, stop: Ending) -> list[Take]:
    """Make the takes with a progress bar on the terminal."""
    takes = []
    layout = "{desc}: {bar} {n:.1f} of {total:.0f} s{postfix}"
    with tqdm(total=request.duration, bar_format=layout, desc="Music", leave=False) as bar:
        for update in backend.generate(request, stop):
            if isinstance(update, Take):
                takes.append(update)
            elif isinstance(update, Loading):
                bar.set_description_str(_shown(update.what))
            elif isinstance(update, Waiting):
                bar.set_description_str(f"Waiting, place {update.place}")
            elif isinstance(update, Progress):
                bar.set_description_str("Music", refresh=False)
                left = update.seconds_left
                bar.postfix = f"{update.real_time_factor:.1f}× real time" + (
                    f", {left:.0f} s left" if left is not None else ""
                )
                bar.update(update.seconds_made - bar.n)
    return takes


def _say(line: str, file: TextIO | None = None) -> None:
    """Print one line, at once: a signal may end the process before its buffers are written."""
    print(_shown(line), file=file, flush=True)


def _shown(line: str) -> str:
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), line)


if __name__ == "__main__":
    sys.exit(main())
