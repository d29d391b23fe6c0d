"""The command line: ``musicgen-space "upbeat funk with brass" -o take.flac``.

A first word that is no command is a prompt; ``generate`` makes music of any. Several variations
go to take-1.flac, take-2.flac, … Exit codes: 0 done, 1 the music could not be made, 2 wrong
usage, 130 interrupted, 143 ended by SIGTERM (what was made by then is written, unless there is a
second signal).
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Collection
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
from musicgen_space.errors import (
    BackendError,
    InvalidRequest,
    InvalidSetting,
    MusicGenSpaceError,
    UnreadableAudio,
)
from musicgen_space.process.environment import prepare_environment
from musicgen_space.process.termination import Termination, catch_termination
from musicgen_space.request import ABOUT, CLIP_LIMITS, LIMITS, TEXTS, MusicRequest
from musicgen_space.settings import VARIABLES, Settings, default_of
from musicgen_space.take import FINISH_LIMITS, Finish, Take

__all__ = ["main"]

OK, FAILED = 0, 1  # argparse itself exits with 2

_PROGRAM = "musicgen-space"
_OPTIONS = ("host", "port")  # of `serve`: they go before the variables of these settings

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
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] in _COMMANDS:
        return _COMMANDS[words[0]](words[1:])
    return _generate(words)


def _generate(words: list[str]) -> int:
    parser = _generate_parser()
    options = parser.parse_args(words)
    return _with_backends(parser, lambda backends: _make_files(parser, options, backends))


def _models(words: list[str]) -> int:
    parser = _Parser(prog=f"{_PROGRAM} models", description="List the models on offer.")
    parser.parse_args(words)
    return _with_backends(parser, _print_models)


def _serve(words: list[str]) -> int:
    parser = _serve_parser()
    options = parser.parse_args(words)
    from musicgen_space.serve import serve  # not before: it imports a web server

    chosen = {VARIABLES[name].name: value for name, value in vars(options).items() if value}
    try:
        return serve(Settings.from_environment(chosen=chosen))
    except InvalidSetting as error:
        parser.error(_as_given(str(error), chosen))


def _deploy(words: list[str]) -> int:
    parser = _Parser(
        prog=f"{_PROGRAM} deploy", description="Put the page on the Hugging Face hub, as a Space."
    )
    try:
        with prepare_environment(Settings.from_environment()):
            from musicgen_space.deploy import command  # not before: the hub's client reads it

            command.add_options(parser)
            command.deploy(parser.parse_args(words), _say)
    except (InvalidRequest, InvalidSetting) as error:
        parser.error(str(error))
    except (MusicGenSpaceError, OSError) as error:
        _say(f"{_PROGRAM}: {error}", sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        _say("Interrupted. What is missing goes up with --update.", sys.stderr)
        return 128 + signal.SIGINT
    return OK


_COMMANDS = {"generate": _generate, "serve": _serve, "models": _models, "deploy": _deploy}


def _as_given(complaint: str, chosen: Collection[str]) -> str:
    """A complaint about variables, by the names of the options that were given instead."""
    for option in _OPTIONS:
        if VARIABLES[option].name in chosen:
            complaint = complaint.replace(VARIABLES[option].name, f"--{option}")
    return complaint


def _with_backends(
    parser: argparse.ArgumentParser, command: Callable[[dict[str, Backend]], int]
) -> int:
    """Run ``command`` over the backends, and close them; → the exit code."""
    try:
        settings = Settings.from_environment()
        with prepare_environment(settings):
            backends = open_backends(settings)
            try:
                return command(backends)
            finally:
                for backend in backends.values():
                    backend.close()
    except MusicGenSpaceError as error:
        parser.error(str(error))


def _make_files(
    parser: argparse.ArgumentParser, options: argparse.Namespace, backends: dict[str, Backend]
) -> int:
    """Make what the options ask for; → the exit code."""
    try:
        finish = Finish(**{field: getattr(options, field) for field in (*_SWITCHES, *_FADES)})
        return _make(*_understood(options, backends), finish, options.output)
    except InvalidRequest as error:
        parser.error(str(InvalidRequest(_option(error.field), error.value, error.limit)))
    except UnreadableAudio as error:
        parser.error(str(error))
    except (MusicGenSpaceError, OSError) as error:
        _say(f"{_PROGRAM}: {error}", sys.stderr)
        return FAILED


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


def _generate_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        usage="%(prog)s [generate] PROMPT [options]\n"
        "       %(prog)s serve | models | deploy [--help]",
        description="Turn a line of text into music. `serve` shows the page instead, `models` "
        "lists the models, `deploy` makes a Space; `generate` goes before a prompt of one of these "
        "words.",
        epilog="Exit codes: 0 done, 1 the music could not be made, 2 wrong usage, 130 interrupted, "
        "143 ended by SIGTERM. After one of the last two what was made by then is written.",
    )
    parser.add_argument("prompt", nargs="?", default="", metavar="PROMPT", help=ABOUT["prompt"])
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("take.wav"), metavar="FILE",
        help="where to write it: .wav, .flac, .ogg or .mp3 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--model", help="a name that `models` lists, a hub id or a folder")
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
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _serve_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{_PROGRAM} serve",
        description="Serve the page, until Ctrl-C or SIGTERM.",
        epilog=f"The environment sets the rest:\n\n{_other_settings()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option in _OPTIONS:
        each = VARIABLES[option]
        parser.add_argument(
            f"--{option}",
            help=f"{each.about} (default: {each.name}, else {default_of(option)})",
        )
    return parser


def _other_settings() -> str:
    """The environment variables that have no option."""
    return "\n".join(
        f"  {each.name}\n{_indented(f'{each.about} (default: {default_of(field) or None})')}"
        for field, each in VARIABLES.items()
        if field not in _OPTIONS
    )


def _indented(text: str) -> str:
    margin = " " * 6
    return textwrap.fill(
        " ".join(text.split()), 79, initial_indent=margin, subsequent_indent=margin
    )


def _print_models(backends: dict[str, Backend]) -> int:
    for backend in backends.values():
        _say(f"{backend.label} ({backend.name}): {backend.about}")
        for choice in backend.models():
            _say(f"  {choice.name:38} {choice.about}")
    return OK


def _make(backend: Backend, request: MusicRequest, finish: Finish, output: Path) -> int:
    with catch_termination() as stop:
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
    for field, remark in remarks.items():
        _say(f"{_option(field)}: {remark}", sys.stderr)
    return bool(remarks)


def _watched(backend: Backend, request: MusicRequest, stop: Termination) -> list[Take]:
    """Make the takes with a progress bar on the terminal."""
    takes = []
    layout = "{desc}: {bar} {n:.1f} of {total:.0f} s{postfix}"
    with tqdm(total=request.duration, bar_format=layout, desc="Music", leave=False) as bar:
        for update in backend.generate(request, stop):
            if isinstance(update, Take):
                takes.append(update)
            elif isinstance(update, Loading):
                bar.set_description_str(_shown(str(update.what)))
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
    """Print one line, at once: a signal may end the process before its buffers are written.

    Where nobody reads any more, as after ``| head``, it and later ones go nowhere.
    """
    try:
        print(_shown(line), file=file, flush=True)
    except BrokenPipeError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), (file or sys.stdout).fileno())


def _shown(line: str) -> str:
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), line)
