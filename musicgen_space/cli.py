"""The command line: ``musicgen-space "upbeat funk with brass" -o take.flac``.

A first word that is no command is a prompt; ``generate`` makes music of any, ``replace`` makes a
stretch of a file anew. Several variations go to take-1.flac, take-2.flac, … Exit codes: 0 done,
1 the music could not be made, 2 wrong usage, 130 interrupted, 143 ended by SIGTERM (what was made
by then is written, unless there is a second signal).
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn, TextIO

from tqdm import tqdm

from musicgen_space import __version__
from musicgen_space.audio.clips import read_clip, told_of
from musicgen_space.audio.files import format_by_ending, formats_for, read_piece
from musicgen_space.audio.mastering.loudness import LOUDNESS, TRUE_PEAK
from musicgen_space.audio.mastering.normalise import MOST_LIMITED
from musicgen_space.backends import backend_named, open_backends
from musicgen_space.backends.base import Backend, Loading, Progress, Update, Waiting
from musicgen_space.backends.stretch import Stretch, replaced
from musicgen_space.clip import Clip
from musicgen_space.errors import (
    BackendError,
    InvalidRequest,
    InvalidSetting,
    MusicGenSpaceError,
    UnreadableAudio,
)
from musicgen_space.process.environment import prepare_environment
from musicgen_space.process.termination import catch_termination
from musicgen_space.request import (
    ABOUT,
    CLIP_LIMITS,
    LIMITS,
    STRETCH_LIMIT,
    TEXTS,
    Limit,
    MusicRequest,
)
from musicgen_space.settings import VARIABLES, Settings, default_of
from musicgen_space.take import FINISH_LIMITS, Finish, Take

__all__ = ["main"]

OK, FAILED = 0, 1  # argparse itself exits with 2

_Command = Callable[[dict[str, Backend]], int]  # over the backends; → the exit code

_PROGRAM = "musicgen-space"
_OPTIONS = ("host", "port")  # of `serve`: they go before the variables of these settings

_FADES = {
    "fade_in": "at the start of each file, from silence",
    "fade_out": "at the end of each file, to silence",
}
_SWITCHES = {
    "normalise": f"make each file as loud as other music ({LOUDNESS:g} LUFS), "
    f"as far as its peaks allow, which are limited by {MOST_LIMITED:g} dB at most "
    f"({TRUE_PEAK:g} dBTP)",
    "trim": "cut silence or hiss off the end of each file",
}
_LOOP = (
    "make each file a loop: the bars whose ends fit best, joined seamlessly, marked as a loop "
    "for samplers (.wav) and players (.flac, .ogg)"
)
# What steers a terminal or turns the order of letters around; a file's name may have it.
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_STRETCH_NUMBERS = {name: limit for name, limit in LIMITS.items() if name != "duration"} | {
    "variations": dataclasses.replace(LIMITS["variations"], default=4)
}
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

    def make(backends: dict[str, Backend]) -> int:
        finish = Finish(**{field: getattr(options, field) for field in (*_SWITCHES, *_FADES)})
        if options.loop:
            _check_loop(finish)
        finished = partial(_finished, finish=finish, loop=options.loop)
        backend, request = _understood(options, backends, (*LIMITS, *CLIP_LIMITS))
        return _make(backend, request, finished, options.output)

    return _with_backends(parser, partial(_told, parser, make))


def _replace(words: list[str]) -> int:
    parser = _replace_parser()
    options = parser.parse_args(words)

    def make(backends: dict[str, Backend]) -> int:
        stretch = _stretch(options.piece, options.output)
        if isinstance(stretch.piece, Take) and not options.prompt:
            options.prompt = stretch.piece.request.prompt
        backend, request = _understood(options, backends, _STRETCH_NUMBERS)
        return _make(backend, request, lambda take: take, options.output, stretch)

    return _with_backends(parser, partial(_told, parser, make))


def _models(words: list[str]) -> int:
    parser = _Parser(prog=f"{_PROGRAM} models", description="List the models on offer.")
    parser.parse_args(words)
    return _with_backends(parser, _print_models)


def _serve(words: list[str]) -> int:
    parser = _serve_parser()
    options = parser.parse_args(words)
    from musicgen_space.serve import serve  # not before: it imports a web server

    chosen = _chosen(options)
    try:
        return serve(Settings.from_environment(chosen=chosen), api_only=options.api_only)
    except InvalidSetting as error:
        parser.error(_as_given(str(error), chosen))


def _cluster(words: list[str]) -> int:
    parser = _cluster_parser()
    options = parser.parse_args(words)
    from musicgen_space.serve import serve_replicas  # not before: they import a web server
    from musicgen_space.server.cluster.replicas import Replicas

    chosen = _chosen(options)
    try:
        replicas = Replicas(options.replicas, options.max_replicas, options.gpus, options.address)
        return serve_replicas(Settings.from_environment(chosen=chosen), replicas)
    except (InvalidRequest, InvalidSetting) as error:
        parser.error(_as_given(str(error), chosen))


def _keys(words: list[str]) -> int:
    parser = _Parser(prog=f"{_PROGRAM} keys", description="The keys of this machine's HTTP API.")
    from musicgen_space.server.accounts import command  # not before: it imports SQLAlchemy

    command.add_options(parser)
    try:
        command.run(parser.parse_args(words), Settings.from_environment(), _say)
    except (InvalidRequest, InvalidSetting) as error:
        parser.error(str(error))
    except MusicGenSpaceError as error:
        _say(f"{_PROGRAM}: {error}", sys.stderr)
        return FAILED
    return OK


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


_COMMANDS = {
    **{"generate": _generate, "replace": _replace},
    **{"serve": _serve, "cluster": _cluster, "keys": _keys, "models": _models, "deploy": _deploy},
}


def _chosen(options: argparse.Namespace) -> dict[str, str]:
    """The variables that options of the command line go before."""
    given = {name: getattr(options, name) for name in _OPTIONS}
    return {VARIABLES[name].name: value for name, value in given.items() if value}


def _as_given(complaint: str, chosen: Collection[str]) -> str:
    """A complaint about variables, by the names of the options that were given instead."""
    for option in _OPTIONS:
        if VARIABLES[option].name in chosen:
            complaint = complaint.replace(VARIABLES[option].name, f"--{option}")
    return complaint


def _with_backends(parser: argparse.ArgumentParser, command: _Command) -> int:
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


def _told(parser: argparse.ArgumentParser, make: _Command, backends: dict[str, Backend]) -> int:
    """Make files, and tell what goes wrong; → the exit code."""
    try:
        return make(backends)
    except InvalidRequest as error:
        parser.error(str(InvalidRequest(_option(error.field), error.value, error.limit)))
    except UnreadableAudio as error:
        parser.error(str(error))
    except (MusicGenSpaceError, OSError) as error:
        _say(f"{_PROGRAM}: {error}", sys.stderr)
        return FAILED


def _check_loop(finish: Finish) -> None:
    """Raise ``InvalidRequest`` where a loop would be heard to begin or end."""
    for field in _FADES:
        if getattr(finish, field):
            raise InvalidRequest(field, getattr(finish, field), "must be 0 in a loop")


def _understood(
    options: argparse.Namespace, backends: dict[str, Backend], others: Iterable[str]
) -> tuple[Backend, MusicRequest]:
    """The options as a backend and a request, whose fields ``others`` are; ``InvalidRequest``."""
    backend = backend_named(backends, options.backend or next(iter(backends)))
    format_by_ending(options.output, "output")
    if not options.output.resolve().parent.is_dir():
        raise InvalidRequest("output", str(options.output), "must lie in a folder that exists")
    given = {field: getattr(options, field) for field in (*TEXTS, "model", *others)}
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


def _stretch(given: str, output: Path) -> Stretch:
    """The stretch of a file that FILE@FROM-TO names; raises ``InvalidRequest``."""
    found = _STRETCH.fullmatch(given)
    if found is None:
        limit = "must be FILE@FROM-TO, from one second to another, as in take.flac@8-16"
        raise InvalidRequest("piece", given, limit)
    path = Path(found["file"])
    with told_of("piece", f"piece {path}"):
        piece = read_piece(path)
    if output.exists() and output.samefile(path):
        raise InvalidRequest("output", str(output), "must be another file, so that both are kept")
    format_by_ending(output, "output", formats_for(piece))
    return Stretch(piece, float(found["start"]), float(found["end"]))


def _generate_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        usage="%(prog)s [generate] PROMPT [options]\n"
        "       %(prog)s replace FILE@FROM-TO [PROMPT] [options]\n"
        "       %(prog)s serve | cluster | keys | models | deploy [--help]",
        description="Turn a line of text into music. `replace` makes a stretch of a file anew, "
        "`serve` shows the page instead, `cluster` serves its HTTP API by several servers, `keys` "
        "are for that, `models` lists the models, "
        "`deploy` makes a Space; "
        "`generate` goes before a prompt of one of these words.",
        epilog="Exit codes: 0 done, 1 the music could not be made, 2 wrong usage, 130 interrupted, "
        "143 ended by SIGTERM. After one of the last two what was made by then is written.",
    )
    parser.add_argument("prompt", nargs="?", default="", metavar="PROMPT", help=ABOUT["prompt"])
    _add_wish(parser, LIMITS, Path("take.wav"))
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
    for name, about in (*_SWITCHES.items(), ("loop", _LOOP)):
        parser.add_argument(f"--{name}", action="store_true", help=about)
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _replace_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{_PROGRAM} replace",
        description="Make a stretch of a file anew, in the sound of what is before it. The rest "
        "of the file stays as it is; the best of several variations is the first.",
    )
    parser.add_argument(
        "piece", metavar="FILE@FROM-TO",
        help=f"a sound file and the seconds in it, as in take.flac@8-16: {STRETCH_LIMIT.range}",
    )  # fmt: skip
    about = f"{ABOUT['prompt']} (default: that in the file's tags)"
    parser.add_argument("prompt", nargs="?", default="", metavar="PROMPT", help=about)
    _add_wish(parser, _STRETCH_NUMBERS, Path("new.wav"))
    return parser


def _add_wish(parser: argparse.ArgumentParser, limits: dict[str, Limit], output: Path) -> None:
    """The options of everything that makes music, those of the numbers in ``limits`` too."""
    parser.add_argument(
        "-o", "--output", type=Path, default=output, metavar="FILE",
        help="where to write it: .wav, .flac, .ogg or .mp3 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--model", help="a name that `models` lists, a hub id or a folder")
    parser.add_argument("--backend", help="where the music is made (default: the first one)")
    for name, limit in limits.items():
        parser.add_argument(
            f"--{_option(name)}", dest=name, type=int if limit.whole else float,
            default=limit.default, metavar="N",
            help=f"{limit.range}; {ABOUT[name]} (default: {limit.default:g})",
        )  # fmt: skip
    for name in TEXTS[1:]:
        parser.add_argument(f"--{_option(name)}", default="", metavar="WORDS", help=ABOUT[name])


def _serve_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{_PROGRAM} serve",
        description="Serve the page, and the HTTP API beside it, until Ctrl-C or SIGTERM.",
        epilog=f"The environment sets the rest:\n\n{_other_settings()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_address(parser)
    parser.add_argument("--api-only", action="store_true", help="the HTTP API without the page")
    return parser


def _cluster_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{_PROGRAM} cluster",
        description="Serve the HTTP API by several servers behind one address, with Ray Serve, "
        "until Ctrl-C or SIGTERM. On several machines MUSICGEN_DATABASE must be PostgreSQL.",
    )
    _add_address(parser)
    parser.add_argument(
        "--replicas", type=int, default=1, metavar="N", help="servers (default: %(default)s)"
    )
    parser.add_argument(
        "--max-replicas", type=int, metavar="N",
        help="as many while there is more to make than they can at once (default: no more)",
    )  # fmt: skip
    parser.add_argument(
        "--gpus", type=float, default=0.0, metavar="N", help="of each (default: %(default)g)"
    )
    parser.add_argument(
        "--address", metavar="HOST:PORT",
        help="the Ray cluster that they join, `auto` for this machine's (default: a new one)",
    )  # fmt: skip
    return parser


def _add_address(parser: argparse.ArgumentParser) -> None:
    for option in _OPTIONS:
        each = VARIABLES[option]
        parser.add_argument(
            f"--{option}",
            help=f"{each.about} (default: {each.name}, else {default_of(option)})",
        )


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


def _make(
    backend: Backend,
    request: MusicRequest,
    finished: Callable[[Take], Take],
    output: Path,
    stretch: Stretch | None = None,
) -> int:
    """Make the takes of a request, or those for a stretch, and write them; → the exit code."""
    with catch_termination() as stop:
        told = _tell_remarks(backend, request)
        if stretch is None:
            takes = _watched(backend.generate(request, stop), request.duration)
        else:
            seconds = stretch.request(request).duration
            takes = _watched(replaced(backend, stretch, request, stop), seconds)
        if not told:  # of some models only loading them tells
            _tell_remarks(backend, request)
        if not takes and not stop.is_set():
            raise BackendError("The music could not be made: nothing came.")
        _write(takes, finished, _paths(output, request))
    if stop.is_set():
        _say("Interrupted.", sys.stderr)
    return stop.code or OK


def _finished(take: Take, finish: Finish, loop: bool) -> Take:
    """``take`` as it is written; what is too short for a loop stays as it is, and that is said."""
    finished = take.finished(finish)
    try:
        return finished.looped() if loop else finished
    except InvalidRequest as error:
        _say(str(error), sys.stderr)
        return finished


def _write(takes: list[Take], finished: Callable[[Take], Take], paths: list[Path]) -> None:
    """Write each take, then report; raises ``OSError`` if one can't be written, after all that."""
    report, failure = [], None
    for path, take in zip(paths, takes, strict=False):  # fewer if interrupted
        written = finished(take)
        try:
            written.save(path)
        except OSError as error:
            failure = error  # told when the others are safe
            continue
        report.append(
            f"{path}: {written.duration:.2f} s, {take.made_by}, seed {take.request.seed}, "
            f"made in {take.seconds_taken:.1f} s ({take.real_time_factor:.1f}× real time)"
            f"{_joint(take)}{_limited(written)}{_loop(written)}"
        )
    for line in report:
        _say(line)
    if failure is not None:
        raise failure


def _joint(take: Take) -> str:
    """How well a new stretch joins what follows."""
    facts = take.replaced
    if facts is None or facts.joint is None:
        return ""
    return f", new until {facts.joint:.2f} s (match {facts.match}, {facts.level_jump:+.1f} dB)"


def _limited(take: Take) -> str:
    return f", peaks limited by {take.limited:.1f} dB" if take.limited else ""


def _loop(take: Take) -> str:
    """What was found of a loop; nothing for other takes."""
    loop = take.loop
    if loop is None:
        return ""
    beat = "no steady beat" if loop.bpm is None else f"{loop.bars} bars at {loop.bpm:.1f} bpm"
    key = "no clear key" if loop.key is None else loop.key
    return f", loop: {beat}, {key}, joint {loop.joint}"


def _tell_remarks(backend: Backend, request: MusicRequest) -> bool:
    """Say what of the texts the model can't read; → whether there was anything to say."""
    remarks = backend.remarks(request)
    for field, remark in remarks.items():
        _say(f"{_option(field)}: {remark}", sys.stderr)
    return bool(remarks)


def _watched(updates: Iterator[Update], seconds: float) -> list[Take]:
    """Make the takes, of so many new ``seconds``, with a progress bar on the terminal."""
    takes = []
    layout = "{desc}: {bar} {n:.1f} of {total:.0f} s{postfix}"
    with tqdm(total=seconds, bar_format=layout, desc="Music", leave=False) as bar:
        for update in updates:
            if isinstance(update, Take):
                takes.append(update)
            elif isinstance(update, Loading):
                bar.set_description_str(_shown(str(update.what)))
            elif isinstance(update, Waiting):
                about = f", about {update.seconds} s" if update.seconds is not None else ""
                bar.set_description_str(f"Waiting, place {update.place}{about}")
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
