"""The page for programs: what Python, JavaScript, curl and MCP clients can call by name."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TypedDict

import anyio.to_thread
import gradio as gr

from musicgen_space.audio.clips import read_upload, told_of
from musicgen_space.audio.files import FORMATS, encode, formats_for
from musicgen_space.backends import backend_named
from musicgen_space.backends.base import Backend, Chunk, HostedBackend, Progress, Update
from musicgen_space.clip import Clip
from musicgen_space.errors import InvalidRequest, MusicGenSpaceError, Stopped
from musicgen_space.message import english
from musicgen_space.page.billing.spending import Spending, paid_by
from musicgen_space.page.gradio_compat import (
    call_id,
    describe,
    endpoint_fields,
    schema_of,
    upload_folder,
)
from musicgen_space.page.player.player import file_name
from musicgen_space.page.player.progress import status
from musicgen_space.page.programs.parameters import Parameter, parameters_of
from musicgen_space.page.visitors.audience import Audience
from musicgen_space.page.visitors.identity import address_of
from musicgen_space.page.visitors.made_files import MadeFiles
from musicgen_space.request import CLIP_LIMITS, MusicRequest
from musicgen_space.take import Receipt, Take

__all__ = ["Programs"]

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_NEWS = 0.5
_MOST_AT_A_TIME = 40  # as many as the page's own handlers have; backends bound their lines

_ABOUT_GENERATE = """Turn a line of text into music.

The answer is a sound file, with its prompt, seed and settings in its tags, and what is in it,
with warnings about words that the model does not know: English ones work best.
One call makes one take; for variations, call again with the next seeds. Ask for the answer at
once: a take to which nobody listens for 15 s is stopped. A Segmind key goes into the header
x-segmind-key."""
_REMEDY = "send yours in the header x-segmind-key"


class Made(TypedDict, total=False):
    """What a program is told: ``status`` in words, and the rest when the take is done.

    ``seed`` is the one that was really used, ``duration`` and ``seconds_taken`` are in
    seconds, ``cost`` and ``credits_left`` in credits, None where the backend does not say.
    ``base_model`` is what ``model`` was applied to, None where that is no adapter.
    ``warnings`` are sentences about what was made otherwise than one may think.
    """

    status: str
    prompt: str
    model: str
    base_model: str | None
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
    warnings: list[str]


class OnOffer(TypedDict):
    """A model to choose; ``melody``: whether it follows tunes, None: only loading it tells."""

    backend: str
    model: str
    about: str
    melody: bool | None


Answer = tuple[dict[str, Any] | None, Made]  # the file as Gradio describes files


class Programs:
    """The endpoints over ``backends``, and the threads in which they make their takes."""

    def __init__(
        self, backends: dict[str, Backend], spending: Spending, audience: Audience | None = None
    ) -> None:
        self._backends = backends
        self._spending = spending
        self._audience = audience or Audience()
        self._threads = anyio.CapacityLimiter(_MOST_AT_A_TIME)
        # A bound of their own: the page's files are quickly made again, a program's are not.
        self._files = MadeFiles()
        self.parameters = parameters_of(backends)

    def offer(self, page: gr.Blocks) -> dict[str, int]:
        """Add the endpoints to ``page``, which is being built; → their names, and Gradio's ids."""
        parameters = self.parameters

        async def generate_music(*given: Any) -> AsyncIterator[Answer]:
            *values, request, key = given
            job = _Job(dict(zip(parameters, values, strict=True)), request, key)
            async for answer in self._generate(job, file):
                yield answer

        _sign(generate_music, parameters)
        # No limit here: a backend knows best how many takes it can make at a time.
        event = gr.api(generate_music, api_name="generate", concurrency_limit=None)
        fields, (file, made) = endpoint_fields(page, event)
        for (name, parameter), field in zip(parameters.items(), fields, strict=True):
            schema = {**parameter.schema, "additional_description": parameter.about}
            describe(field, name, schema, parameter.example)
        describe(file, "file", {**gr.FileData.model_json_schema(), "description": "the sound file"})
        describe(made, "made", {**schema_of(made), "description": "what is in it"})

        def list_models() -> list[OnOffer]:
            return self._on_offer()

        list_models.__doc__ = "List the models on offer, each backend's default first."
        list_models.__annotations__["return"] = list[OnOffer]
        models = gr.api(list_models, api_name="models", queue=False)
        return {"generate": event["id"], "models": models["id"]}

    def _on_offer(self) -> list[OnOffer]:
        return [
            OnOffer(backend=backend.name, model=each.name, about=each.about, melody=each.melody)
            for backend in self._backends.values()
            for each in backend.models()
        ]

    async def _generate(self, job: _Job, output: gr.Component) -> AsyncIterator[Answer]:
        """Make one take as a file of ``output``; yields what goes on, and at the end the file.

        Gradio ends this iterator at a yield or an await when its client cancels or is gone.
        """
        making = asyncio.ensure_future(
            anyio.to_thread.run_sync(
                self._made, job, output, abandon_on_cancel=True, limiter=self._threads
            )
        )
        try:
            with self._audience.watching(job.news, job.stop):
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

    def _made(self, job: _Job, output: gr.Component) -> Answer:
        """Make what ``job`` asks for; blocks. Raises ``MusicGenSpaceError``."""
        backend, music_request = self._understood(job)
        take = job.last_of(backend.generate(music_request, job.stop, address_of(job.request)))
        if take is None:
            return None, Made(status=str(Stopped()))
        take = self._spending.without_balance(take, job.key)
        # A server's sound may have a rate or channels that only WAV holds for certain.
        ending = job.wish["format"]
        ending = ending if ending in formats_for(take) else "wav"
        name = f"{file_name(take)}.{ending}"
        path = self._files.save(encode(take, ending), name, output, address_of(job.request))
        file = gr.FileData(path=path, orig_name=name).model_dump()
        return file, _made_of(take, ending, _warnings(backend, music_request))

    def _understood(self, job: _Job) -> tuple[Backend, MusicRequest]:
        """The wish as a backend and a checked request, paid for; raises ``MusicGenSpaceError``."""
        wish = dict(job.wish)
        backend = backend_named(self._backends, wish.pop("backend"))
        ending = wish.pop("format")
        if ending not in [*FORMATS]:
            raise InvalidRequest("format", ending, f"must be one of {[*FORMATS]}")
        music_request = backend.request(wish, _clip)
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
                self.status = english(status(update))
        return take

    @property
    def news(self) -> set[str]:
        """The streams in which it is told what goes on: that of the call, or of the session."""
        return {str(self.request.session_hash), call_id()}

    def show_progress(self) -> None:
        """Tell clients that ask for progress: in whole seconds of music."""
        if self._progress is not None:
            made, wanted = self._progress.seconds_made, self._progress.seconds_wanted
            gr.Progress()((round(made), round(wanted)), desc=self.status, unit="seconds")


def _sign(function: Any, parameters: dict[str, Parameter]) -> None:
    """Give ``function`` what Gradio reads from it: types, defaults and a docstring.

    After ``parameters`` Gradio passes the request and the key's header, named like the last.
    """
    from_gradio = {
        "request": Parameter(gr.Request, "", {}, None),
        "x_segmind_key": Parameter(gr.Header | None, "", {}, None),
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


def _clip(name: str, given: Any) -> Clip:
    """A file that came with the call; raises ``InvalidRequest`` and ``UnreadableAudio``."""
    path = given.get("path") if isinstance(given, dict) else None
    uploads = upload_folder().resolve()
    # Never any other file of this machine: Gradio checks only what it takes for a file.
    if not isinstance(path, str) or not Path(path).resolve().is_relative_to(uploads):
        raise InvalidRequest(name, given, "must be a file that was uploaded")
    with told_of(name):
        return read_upload(Path(path))


def _warnings(backend: Backend, request: MusicRequest) -> list[str]:
    """What was not taken as it was given: words that are not known, sounds that were changed."""
    clips = {field: getattr(request, field) for field in CLIP_LIMITS}
    notes = {field: clip.note for field, clip in clips.items() if clip and clip.note}
    return [f"{field}: {note}" for field, note in (backend.remarks(request) | notes).items()]


def _made_of(take: Take, ending: str, warnings: list[str]) -> Made:
    receipt = take.receipt or Receipt()
    return Made(
        status="Done",
        prompt=take.request.prompt,
        model=take.model,
        base_model=take.base_model,
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
        warnings=warnings,
    )
