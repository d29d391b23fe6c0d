"""The page for programs: what Python, curl and MCP clients can call by name.

Their signatures and descriptions are made of ``request.LIMITS``, ``TEXTS`` and ``ABOUT``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from musicgen_space import audio
from musicgen_space.backends import backend_named
from musicgen_space.backends.base import Backend, Chunk, HostedBackend, Progress, Update
from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest, MusicGenSpaceError, UnreadableAudio
from musicgen_space.request import (
    ABOUT,
    CLIP_LIMITS,
    LIMITS,
    MAX_PROMPT_CHARACTERS,
    TEXTS,
    Limit,
    MusicRequest,
    Receipt,
    Take,
)
from musicgen_space.ui.handlers import MELODY_NEEDS
from musicgen_space.ui.player import file_name
from musicgen_space.ui.progress import words
from musicgen_space.ui.spending import Spending, paid_by

__all__ = ["Programs"]

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_NEWS = 0.5
_MOST_AT_A_TIME = 40  # as many as the page's own handlers have; backends bound their lines

_ABOUT_GENERATE = """Turn a line of text into music.

The answer is a sound file, with its prompt, seed and settings in its tags, and what is in it.
One call makes one take; for variations, call again with the next seeds. A Segmind key goes
into the header x-segmind-key."""
_REMEDY = "send yours in the header x-segmind-key"


class Made(TypedDict, total=False):
    """What a program is told: ``status`` in words, and the rest when the take is done.

    ``seed`` is the one that was really used, ``duration`` and ``seconds_taken`` are in
    seconds, ``cost`` and ``credits_left`` in credits, None where the backend does not say.
    """

    status: str
    prompt: str
    model: str
    backend: str
    seed: int
    duration: float
    format: str
    sample_rate: int
    channels: int
    seconds_taken: float
    real_time_factor: float
    cost: float | None
    credits_left: float | None
    request_id: str | None


class OnOffer(TypedDict):
    """A model to choose; ``melody``: whether it follows tunes, None: only loading it tells."""

    backend: str
    model: str
    about: str
    melody: bool | None


Answer = tuple[dict[str, Any] | None, Made]  # the file as Gradio describes files


class Programs:
    """The endpoints over ``backends``, and the threads in which they make their takes."""

    def __init__(self, backends: dict[str, Backend], spending: Spending) -> None:
        self._backends = backends
        self._spending = spending
        self._threads = ThreadPoolExecutor(_MOST_AT_A_TIME, "program")

    def offer(self, page: gr.Blocks) -> None:
        """Add the endpoints to ``page``, which is being built."""
        parameters = _parameters(self._backends)

        async def generate_music(*given: Any) -> AsyncIterator[Answer]:
            *values, request, key = given
            job = _Job(dict(zip(parameters, values, strict=True)), request, key)
            async for answer in self._generate(job, page.GRADIO_CACHE):
                yield answer

        _sign(generate_music, parameters)
        # No limit here: a backend knows best how many takes it can make at a time.
        event = gr.api(generate_music, api_name="generate", concurrency_limit=None)
        endpoint = page.fns[event["id"]]
        for parameter, field in zip(parameters.values(), endpoint.inputs, strict=True):
            field.api_info().update(parameter.schema())
        file, _ = endpoint.outputs
        file.api_info().update(_file_schema("the sound file"))

        def list_models() -> list[OnOffer]:
            return self._on_offer()

        list_models.__doc__ = "List the models on offer, each backend's default first."
        list_models.__annotations__["return"] = list[OnOffer]
        gr.api(list_models, api_name="models", queue=False)

    def _on_offer(self) -> list[OnOffer]:
        return [
            OnOffer(backend=backend.name, model=each.name, about=each.about, melody=each.melody)
            for backend in self._backends.values()
            for each in backend.models()
        ]

    async def _generate(self, job: _Job, folder: str) -> AsyncIterator[Answer]:
        """Make one take as a file in ``folder``; yields what goes on, and at the end the file.

        Gradio ends this iterator at a yield or an await when its client cancels or is gone.
        """
        making = asyncio.wrap_future(self._threads.submit(self._made, job, folder))
        try:
            while not (await asyncio.wait({making}, timeout=_SECONDS_BETWEEN_NEWS))[0]:
                job.show_progress()
                yield None, Made(status=job.status)
            yield making.result()
        except MusicGenSpaceError as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Exception:
            log.exception("A take failed")
            message = "Something went wrong here, not with your request. Please try again."
            raise gr.Error(message, print_exception=False) from None
        finally:
            job.stop.set()
            making.cancel()

    def _made(self, job: _Job, folder: str) -> Answer:
        """Make what ``job`` asks for; blocks. Raises ``MusicGenSpaceError``."""
        backend, music_request = self._understood(job)
        with closing(backend.generate(music_request, job.stop)) as updates:
            take = job.last_of(updates)
        if take is None:
            return None, Made(status="Stopped before there was any sound.")
        take = self._spending.without_balance(take, job.key)
        # A server's sound may have a rate or channels that only WAV holds for certain.
        ending = job.wish["format"]
        ending = ending if ending in audio.formats_for(take) else "wav"
        name = f"{file_name(take)}.{ending}"
        path = save_bytes_to_cache(audio.encode(take, ending), name, folder)
        return gr.FileData(path=path, orig_name=name).model_dump(), _made_of(take, ending)

    def _understood(self, job: _Job) -> tuple[Backend, MusicRequest]:
        """The wish as a backend and a checked request, paid for; raises ``MusicGenSpaceError``."""
        wish = dict(job.wish)
        backend = backend_named(self._backends, wish.pop("backend"))
        ending = wish.pop("format")
        if ending not in audio.FORMATS:
            raise InvalidRequest("format", ending, f"must be one of {[*audio.FORMATS]}")
        choice = backend.choice(wish.pop("model") or backend.models()[0].name)
        default = {name: each.default for name, each in MusicRequest.__dataclass_fields__.items()}
        wish = {name: value for name, value in wish.items() if value != default[name]}
        backend.check_knobs(wish)
        if "melody" in wish and choice.melody is False:
            raise InvalidRequest("melody", choice.name, MELODY_NEEDS)
        clips = {name: _clip(name, wish[name]) for name in CLIP_LIMITS if name in wish}
        music_request = MusicRequest(**{"prompt": "", **wish, **clips}, model=choice.name)
        if isinstance(backend, HostedBackend):
            backend = paid_by(backend, job.key)
            self._spending.check(backend, job.key, job.request, _REMEDY)
        return backend, music_request


class _Job:
    """One call: what it asks for, how far it is, and ``stop`` for when nobody wants it more."""

    def __init__(self, wish: dict[str, Any], request: gr.Request, key: str | None) -> None:
        self.wish, self.request, self.key = wish, request, key
        self.stop = threading.Event()
        self.status = "Getting ready"
        self._progress: Progress | None = None

    def last_of(self, updates: Iterator[Update]) -> Take | None:
        """Follow the updates to their end; → the take, if it came to one."""
        take = None
        for update in updates:
            if isinstance(update, Take):
                take = update
            elif not isinstance(update, Chunk):
                self._progress = update if isinstance(update, Progress) else None
                self.status = words(update)
        return take

    def show_progress(self) -> None:
        """Tell clients that ask for progress: in whole seconds of music."""
        if self._progress is not None:
            made, wanted = self._progress.seconds_made, self._progress.seconds_wanted
            gr.Progress()((round(made), round(wanted)), desc=self.status, unit="seconds")


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One parameter of an endpoint; without a default it is required."""

    kind: Any
    about: str
    default: Any = inspect.Parameter.empty
    limits: dict[str, Any] | None = None  # as JSON Schema says them

    def schema(self) -> dict[str, Any]:
        """What is said of it besides its type."""
        return {**(self.limits or {}), "additional_description": self.about}


def _parameters(backends: dict[str, Backend]) -> dict[str, _Parameter]:
    """What ``generate`` takes, by name, in order."""
    longest = {"maxLength": MAX_PROMPT_CHARACTERS}
    up_to = f"up to {MAX_PROMPT_CHARACTERS} characters"
    prompt, *texts = TEXTS
    first = next(iter(backends))
    return {
        prompt: _Parameter(str, f"{ABOUT[prompt]}; {up_to}", limits={"minLength": 1, **longest}),
        **{name: _number(name, limit) for name, limit in LIMITS.items() if name != "variations"},
        **{name: _Parameter(str, f"{ABOUT[name]}; {up_to}", "", longest) for name in texts},
        **{
            name: _Parameter(
                gr.FileData | None, f"{ABOUT[name]}; {limit.range} long", None, _file_schema()
            )
            for name, limit in CLIP_LIMITS.items()
        },
        "model": _Parameter(
            str | None, "one of the backend's models; its default if not given", None
        ),
        "backend": _one_of([*backends], "where the music is made", first),
        "format": _one_of([*audio.FORMATS], "of the sound file", next(iter(audio.FORMATS))),
    }


def _number(name: str, limit: Limit) -> _Parameter:
    kind = int if limit.whole else float
    limits = {"minimum": kind(limit.minimum), "maximum": kind(limit.maximum)}
    return _Parameter(kind, f"{limit.range}; {ABOUT[name]}", kind(limit.default), limits)


def _one_of(names: list[str], about: str, default: str) -> _Parameter:
    return _Parameter(str, f"{about}: {', '.join(names)}", default, {"enum": names})


def _sign(function: Any, parameters: dict[str, _Parameter]) -> None:
    """Give ``function`` what Gradio reads from it: types, defaults and a docstring.

    After ``parameters`` Gradio passes the request and the key's header, named like the last.
    """
    from_gradio = {
        "request": _Parameter(gr.Request, "", None),
        "x_segmind_key": _Parameter(gr.Header | None, "", None),
    }
    every = {**parameters, **from_gradio}
    answer = tuple[gr.FileData, Made]
    function.__annotations__ = {name: each.kind for name, each in every.items()}
    function.__signature__ = inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=each.default,
                annotation=each.kind,
            )
            for name, each in every.items()
        ],
        return_annotation=answer,
    )
    lines = [f"    {name}: {each.about}" for name, each in parameters.items()]
    function.__doc__ = "\n".join([_ABOUT_GENERATE, "", "Args:", *lines])


def _file_schema(about: str = "") -> dict[str, Any]:
    """A file as Gradio's own components describe it, in our words."""
    schema: dict[str, Any] = gr.FileData.model_json_schema()
    return {**schema, "description": about}


def _clip(name: str, given: Any) -> Clip:
    """A file that came with the call; raises ``InvalidRequest`` and ``UnreadableAudio``."""
    path = given.get("path") if isinstance(given, dict) else None
    uploads = Path(get_upload_folder()).resolve()
    # Never any other file of this machine: Gradio checks only what it takes for a file.
    if not isinstance(path, str) or not Path(path).resolve().is_relative_to(uploads):
        raise InvalidRequest(name, given, "must be a file that was uploaded")
    try:
        return audio.read_clip(Path(path))
    except UnreadableAudio as error:
        raise UnreadableAudio(f"{name}: {error}") from error


def _made_of(take: Take, ending: str) -> Made:
    receipt = take.receipt or Receipt()
    return Made(
        status="Done",
        prompt=take.request.prompt,
        model=take.model,
        backend=take.backend,
        seed=take.request.seed,
        duration=take.duration,
        format=ending,
        sample_rate=take.sample_rate,
        channels=take.samples.shape[0],
        seconds_taken=round(take.seconds_taken, 3),
        real_time_factor=round(take.real_time_factor, 3),
        cost=receipt.cost,
        credits_left=receipt.credits_left,
        request_id=receipt.request_id,
    )
