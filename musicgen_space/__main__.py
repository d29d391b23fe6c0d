"""The command line: ``python -m musicgen_space "upbeat funk with brass" -o take.flac``.

Exit codes: 0 done, 1 the music could not be made, 2 wrong usage, 130 interrupted (what
was made by then is written).
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from tqdm import tqdm

from musicgen_space import __version__, audio
from musicgen_space.backends import open_backends
from musicgen_space.backends.base import Backend, Loading, Progress, Waiting
from musicgen_space.errors import InvalidRequest, MusicGenSpaceError
from musicgen_space.request import LIMITS, MusicRequest, Take
from musicgen_space.settings import Settings

__all__ = ["main"]

OK, FAILED, INTERRUPTED = 0, 1, 130  # argparse itself exits with 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; → the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        backends = open_backends(Settings.from_environment())
    except MusicGenSpaceError as error:
        parser.error(str(error))
    try:
        if options.list_models:
            _print_models(backends)
            return OK
        return _make(*_understood(options, backends), options.output)
    except InvalidRequest as error:
        parser.error(str(error))
    except (MusicGenSpaceError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return FAILED
    finally:
        for backend in backends.values():
            backend.close()


def _understood(
    options: argparse.Namespace, backends: dict[str, Backend]
) -> tuple[Backend, MusicRequest]:
    """The options as a backend and a request; raises ``InvalidRequest``."""
    name = options.backend or next(iter(backends))
    if name not in backends:
        raise InvalidRequest("backend", name, f"must be one of {[*backends]}")
    if options.output.suffix.lower().removeprefix(".") not in audio.FORMATS:
        endings = ", ".join(f".{ending}" for ending in audio.FORMATS)
        raise InvalidRequest("output", str(options.output), f"must end in one of {endings}")
    if not options.output.resolve().parent.is_dir():
        raise InvalidRequest("output", str(options.output), "must lie in a folder that exists")
    numbers = {limit: getattr(options, limit) for limit in LIMITS}
    for limit, number in numbers.items():
        if limit not in backends[name].knobs and number != LIMITS[limit].default:
            raise InvalidRequest(limit, number, f"can't be chosen on {backends[name].label}")
    return backends[name], MusicRequest(options.prompt, model=options.model, **numbers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="musicgen_space", description="Turn a line of text into music."
    )
    parser.add_argument("prompt", nargs="?", default="", help="the music, described in words")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("take.wav"), metavar="FILE",
        help="where to write it: .wav, .flac, .ogg or .mp3 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--model", help="a name from --list-models, a hub id or a folder")
    parser.add_argument("--backend", help="where the music is made (default: the first one)")
    for name, limit in LIMITS.items():
        parser.add_argument(
            "--" + name.replace("_", "-"), dest=name, type=int if limit.whole else float,
            default=limit.default, metavar="N",
            help=f"{limit.minimum:g} to {limit.maximum:g} {limit.unit} (default: %(default)s)",
        )  # fmt: skip
    parser.add_argument("--list-models", action="store_true", help="list the models and leave")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _print_models(backends: dict[str, Backend]) -> None:
    for backend in backends.values():
        print(f"{backend.label} ({backend.name}): {backend.about}")
        for choice in backend.models():
            print(f"  {choice.name:38} {choice.about}")


def _make(backend: Backend, request: MusicRequest, output: Path) -> int:
    stop = threading.Event()

    def interrupted(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second one ends all

    signal.signal(signal.SIGINT, interrupted)
    take = _watched(backend, request, stop)
    if take is not None:
        output.write_bytes(audio.encode(take, output.suffix.lower().removeprefix(".")))
        print(
            f"{output}: {take.duration:.2f} s, {take.model}, seed {take.request.seed}, "
            f"made in {take.seconds_taken:.1f} s ({take.real_time_factor:.1f}× real time)"
        )
    return INTERRUPTED if stop.is_set() else OK


def _watched(backend: Backend, request: MusicRequest, stop: threading.Event) -> Take | None:
    """Make the take with a progress bar on the terminal."""
    layout = "{desc}: {bar} {n:.1f} of {total:.0f} s{postfix}"
    with tqdm(total=request.duration, bar_format=layout, desc="Music", leave=False) as bar:
        for update in backend.generate(request, stop):
            if isinstance(update, Take):
                return update
            if isinstance(update, Loading):
                bar.set_description_str(update.what)
            elif isinstance(update, Waiting):
                bar.set_description_str(f"Waiting, place {update.place}")
            elif isinstance(update, Progress):
                bar.set_description_str("Music", refresh=False)
                left = update.seconds_left
                bar.postfix = f"{update.real_time_factor:.1f}× real time" + (
                    f", {left:.0f} s left" if left is not None else ""
                )
                bar.update(update.seconds_made - bar.n)
    return None


if __name__ == "__main__":
    sys.exit(main())
