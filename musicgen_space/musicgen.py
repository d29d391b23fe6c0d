"""Music in Python: ``MusicGen`` makes it on this machine, ``Segmind`` has its hosted API make it.

Both stand on the backends that the page and the command line have, with the same requests,
limits and takes. Errors are those of ``musicgen_space.errors``.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack

from musicgen_space.backends.base import Backend, Chunk
from musicgen_space.backends.stretch import Stretch, replaced
from musicgen_space.clip import Clip
from musicgen_space.errors import BackendError, InvalidRequest, InvalidSetting, Stopped
from musicgen_space.key import ApiKey
from musicgen_space.live import BALANCE, Change, LiveControls, LiveWish
from musicgen_space.live.session import LiveReport, LiveSession, LiveUpdates
from musicgen_space.request import LIMITS, MusicRequest
from musicgen_space.settings import VARIABLES, Settings
from musicgen_space.stream import Report, Stream, Updates
from musicgen_space.take import Take

__all__ = ["Fields", "LiveFields", "MusicGen", "Segmind", "TextToMusic"]

_ANY_NUMBER = 1000  # of threads that wait for their takes
_ANY_MINUTES = 2**31  # of live music

# An option → the setting that it goes before.
_SETTINGS = {
    "device": "device",
    "dtype": "dtype",
    "quantize": "quant",
    "threads": "threads",
    "base_url": "segmind_base_url",
    "api": "segmind_api",
}


class LiveFields(TypedDict, total=False):
    """What live music may begin with besides its prompt: fields of ``MusicRequest``."""

    seed: int
    top_k: int
    top_p: float
    temperature: float
    guidance_scale: float
    negative_prompt: str
    blend_prompt: str
    continue_from: Clip | str | PathLike[str] | None


class Fields(LiveFields, total=False):
    """What a call may say besides its prompt: fields of ``MusicRequest``, a clip also as a file."""

    duration: float
    melody: Clip | str | PathLike[str] | None


class TextToMusic:
    """What ``MusicGen`` and ``Segmind`` have in common: text becomes music.

    Every method takes a prompt and, by name, fields of ``MusicRequest``:

    - ``duration``: seconds of music, 1 to 300 (10); Segmind makes 30 at most
    - ``seed``: 0 to 9999 (42): the same seed, the same music; −1 draws one
    - ``guidance_scale``: how closely to follow the prompt, 1 to 10 (3; 1: off)
    - ``temperature`` 0.1 to 2 (1), ``top_k`` 1 to 2048 (250), ``top_p`` 0 to 1 (0: off)
    - ``negative_prompt``, ``blend_prompt``: what to move away from; what to become on the way
    - ``continue_from``: a file or ``Clip`` of 0.5 to 300 s that the music goes on from
    - ``melody``: one whose tune the music follows, with a melody model

    or a ``MusicRequest`` in place of the prompt, whose fields those by name replace. What is
    beyond a limit, or not to be had here, raises ``InvalidRequest`` before anything is made.

    ``stop``: once it is set, from any thread, what was made so far is the take. ``report`` is
    called in the calling thread with ``Loading``, ``Waiting`` and ``Progress``.

    Threads may share one object: ``MusicGen`` makes their takes at once.
    """

    def __init__(self, backend: Backend, model: str) -> None:
        self.model = model
        self._backend = backend
        # Also at the end of the program, and when nobody has this object any more.
        self._close = weakref.finalize(self, backend.close)

    def generate(
        self,
        prompt: str | MusicRequest,
        *,
        stop: threading.Event | None = None,
        report: Report | None = None,
        **fields: Unpack[Fields],
    ) -> Take:
        """One take; blocks until it is made.

        ``take.save("take.flac")`` writes it to a file; ``take.samples`` is its sound, float32
        [channels, samples]. Raises ``InvalidRequest``, ``UnreadableAudio`` for a clip,
        ``Stopped`` if there was no sound before ``stop``, and other ``BackendError``s.
        """
        return self.stream(prompt, stop=stop, report=report, **fields).take

    def variations(
        self,
        prompt: str | MusicRequest,
        count: int = int(LIMITS["variations"].maximum),
        *,
        stop: threading.Event | None = None,
        report: Report | None = None,
        **fields: Unpack[Fields],
    ) -> list[Take]:
        """1 to 4 takes, made together: faster than one after the other.

        Their seeds are ``seed``, ``seed`` + 1, …, and each is what ``generate`` makes of its own.
        Raises what ``generate`` raises.
        """
        return _takes(self._updates(self._request(prompt, fields, count), stop), report)

    def stream(
        self,
        prompt: str | MusicRequest,
        *,
        stop: threading.Event | None = None,
        report: Report | None = None,
        **fields: Unpack[Fields],
    ) -> Stream:
        """One take while it is made: an iterator of chunks, each float32 [channels, samples].

        ``stream.sample_rate`` tells how fast to play them, ``stream.take`` is the whole at the
        end; ``stream.close()`` or dropping it ends the work. Raises ``InvalidRequest`` and
        ``UnreadableAudio`` at once, a ``BackendError`` where chunks are read.
        """
        return Stream(self._updates(self._request(prompt, fields, 1), stop), report)

    def replace(
        self,
        piece: Take | Clip | str | PathLike[str],
        start: float,
        end: float,
        prompt: str | None = None,
        count: int = int(LIMITS["variations"].maximum),
        *,
        stop: threading.Event | None = None,
        report: Report | None = None,
        **fields: Unpack[Fields],
    ) -> list[Take]:
        """``piece`` with its seconds ``start`` to ``end`` made anew, 1 to 4 times.

        The best one is first: where the new part is most like the old one at its end. Each is as
        long as the piece, and but for a crossfade at ``start`` and one within 2 s of ``end``
        the samples outside are the same; ``take.replaced`` says where and how well they join.
        The stretch lasts 1 to 28 s. The music goes on from what is before it. A take
        is made anew by its own prompt and settings, without a melody, unless others are given.

        ``Stopped`` is raised if ``stop`` was set before there was enough. Raises what
        ``generate`` raises; ``duration`` and ``continue_from`` can't be given.
        """
        stretch = Stretch(_piece(piece), start, end)
        for field in ("duration", "continue_from"):
            if field in fields:
                raise InvalidRequest(field, fields[field], "can't be given: the stretch says it")
        wish = self._request(_wish_for(stretch.piece, prompt), fields, count)
        return _takes(self._replaced(stretch, wish, stop), report)

    def close(self) -> None:
        """Stop what is being made and free the model; said twice, it counts once."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    def _request(
        self, prompt: str | MusicRequest, given: LiveFields | Fields, variations: int
    ) -> MusicRequest:
        if not self._close.alive:
            raise BackendError(f"This {type(self).__name__} is closed: make another one.")
        wish = _fields_of(prompt) if isinstance(prompt, MusicRequest) else {"prompt": prompt}
        wish |= given
        if wish.get("model") not in (None, self.model):
            raise InvalidRequest("model", wish["model"], f"must be {self.model}, which is loaded")
        if wish.get("variations", 1) != 1:
            limit = "must be 1: the method variations() makes several"
            raise InvalidRequest("variations", wish["variations"], limit)
        wish |= {"model": self.model, "variations": variations}
        return self._backend.request(wish, _clip, any_model=True)

    def _updates(self, request: MusicRequest, stop: threading.Event | None) -> Updates:
        """What the backend tells; it lives at least as long as anybody listens."""
        yield from self._backend.generate(request, stop or threading.Event())

    def _replaced(
        self, stretch: Stretch, wish: MusicRequest, stop: threading.Event | None
    ) -> Updates:
        yield from replaced(self._backend, stretch, wish, stop or threading.Event())


class MusicGen(TextToMusic):
    """A MusicGen checkpoint, loaded on this machine.

    ::

        from musicgen_space import MusicGen

        model = MusicGen.from_pretrained("musicgen-nano")
        model.generate("lo-fi piano", duration=10).save("take.flac")
        for chunk in model.stream("lo-fi piano", seed=7):
            print(chunk.shape)  # [channels, samples], while it is made
    """

    @classmethod
    def from_pretrained(
        cls,
        name: str | PathLike[str] | None = None,
        *,
        device: str = "auto",
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        quantize: Literal["auto", "none", "int8", "int4"] = "auto",
        threads: int = 0,
        report: Report | None = None,
    ) -> MusicGen:
        """Load a checkpoint: the embedded ``musicgen-nano``, one of the hub's, or a folder.

        In transformers' or AudioCraft's format, or a LoRA adapter. From the hub it is downloaded
        once, which ``report`` is told of. None: the default, musicgen-nano unless MUSICGEN_MODEL
        says otherwise.

        ``device``: cpu, cuda, cuda:N or mps; auto is a CUDA card where there is one, else the
        CPU. ``dtype``: of the decoder's numbers. ``quantize``: how its weights are kept on a
        CPU; auto is int8, fast and nearly as good; ``"none"`` gives the published weights, and
        transformers' codes for a seed. ``threads``: of a CPU, 0 goes by the model's size.
        Where these are left as they are, the variables MUSICGEN_DEVICE and so on count.

        Raises ``ModelUnavailable``, ``InvalidCheckpoint``, ``OutOfMemory``, and
        ``InvalidSetting`` for an option that makes no sense, or a device that isn't there.
        """
        if importlib.util.find_spec("torch") is None:
            raise BackendError(
                "Making music on this machine needs torch, which is not installed. "
                "Segmind, which makes it elsewhere, does without."
            )
        from musicgen_space.backends.local.backend import LocalBackend

        with _settings(device=device, dtype=dtype, quantize=quantize, threads=threads) as settings:
            # Nobody but the owner calls it, whoever may open a page here.
            own = replace(settings, host=Settings().host, proxies=(), root_path="")
            unbounded = replace(own, max_waiting=_ANY_NUMBER, live_minutes=_ANY_MINUTES)
            backend = LocalBackend(unbounded)
        model = backend.models()[0].name if name is None else _name_of(name)
        loaded = cls(backend, model)
        for update in backend.load(model):
            if report is not None:
                report(update)
        return loaded

    def live(
        self,
        prompt: str | MusicRequest,
        *,
        balance: float = BALANCE.default,
        change: Change = "auto",
        report: LiveReport | None = None,
        **fields: Unpack[LiveFields],
    ) -> LiveSession:
        """Music that goes on until it is stopped, and that can be steered while it plays.

        ``balance`` is the weight of ``blend_prompt``, 0 … 1. ``change`` is how the music follows
        another prompt: it turns into it ("evolve"), or that begins afresh on a beat ("arrive").
        It begins with the last 4 s of ``continue_from``. Raises ``InvalidRequest`` and
        ``UnreadableAudio`` at once, a ``BackendError`` where chunks are asked for.
        """
        for field, value in fields.items():
            if field not in LiveFields.__annotations__:
                raise InvalidRequest(field, value, "can't be given for live music")
        request = self._request(prompt, fields, 1).with_seed_drawn()
        controls = LiveControls(LiveWish(request, balance, change))
        return LiveSession(self._live(controls), controls, (self._backend.name, self.model), report)

    def _live(self, controls: LiveControls) -> LiveUpdates:
        """What the backend tells; it lives at least as long as anybody listens."""
        yield from self._backend.live(controls)


class Segmind(TextToMusic):
    """Segmind's hosted ``meta-musicgen-medium``: about 22 seconds and $0.04 a take.

    It takes ``duration``, up to 30 seconds, and ``seed``; it does not stream. A job that was sent
    can't be interrupted: ``stop`` then raises ``StoppedButBilled``. Errors are ``SegmindError``s,
    whose ``may_be_billed`` says whether a failed take may cost money. ``take.receipt`` says what
    it did cost.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        api: Literal["v1", "v2"] | None = None,
    ) -> None:
        """Be paid by ``api_key``, or by that in SEGMIND_API_KEY; it is sent to the API only.

        ``base_url`` is another server that speaks the API: https, or http on this machine.
        ``api``: v1 (one call) or v2 (a job that is polled). Raises ``UnusableKey``, and
        ``InvalidSetting`` for the others.
        """
        from musicgen_space.backends.segmind import MODEL, SegmindBackend

        with _settings(base_url=base_url, api=api) as settings:
            key = settings.segmind_key if api_key is None else ApiKey(api_key)
            self._hosted = SegmindBackend(
                key or ApiKey(""),  # which says that there is none
                base_url=settings.segmind_base_url,
                api=settings.segmind_api,
            )
        super().__init__(self._hosted, MODEL)

    def balance(self) -> float:
        """Credits left on the account; a free call. Raises ``SegmindError``."""
        return self._hosted.balance()


@contextmanager
def _settings(**options: Any) -> Iterator[Settings]:
    """The environment's settings with ``options``; what is wrong with these is told by name."""
    given = {name: value for name, value in options.items() if value not in (None, "auto", 0)}
    variables = {name: VARIABLES[_SETTINGS[name]].name for name in given}
    try:
        chosen = {variables[name]: str(value) for name, value in given.items()}
        yield Settings.from_environment(chosen=chosen)
    except InvalidSetting as error:
        words = str(error)
        for name, variable in variables.items():
            words = words.replace(variable, name)
        raise InvalidSetting(words) from None


def _name_of(model: str | PathLike[str]) -> str:
    return model if isinstance(model, str) else os.path.abspath(model)


def _takes(updates: Updates, report: Report | None) -> list[Take]:
    """All takes that come; raises ``Stopped`` if there are none."""
    takes = []
    for update in updates:
        if isinstance(update, Take):
            takes.append(update)
        elif report is not None and not isinstance(update, Chunk):
            report(update)
    if not takes:
        raise Stopped
    return takes


def _wish_for(piece: Take | Clip, prompt: str | None) -> str | MusicRequest:
    """What to ask for a part of ``piece``: of a take, what made it, without its melody."""
    if isinstance(piece, Clip):
        return prompt or ""
    request = piece.request if prompt is None else replace(piece.request, prompt=prompt)
    usual = LIMITS["duration"].default
    return replace(request, duration=usual, model=None, continue_from=None, melody=None)


def _piece(given: Any) -> Take | Clip:
    """A take or clip, or that of the file which is given in its place."""
    if isinstance(given, Take | Clip):
        return given
    if not isinstance(given, str | PathLike):
        raise InvalidRequest("piece", given, "must be a Take, a Clip or the path of a file")
    from musicgen_space.audio.clips import told_of
    from musicgen_space.audio.files import read_piece

    with told_of("piece", f"piece {given}"):
        return read_piece(Path(given))


def _fields_of(request: MusicRequest) -> dict[str, Any]:
    return {field.name: getattr(request, field.name) for field in fields(request)}


def _clip(field: str, given: Any) -> Clip:
    """A clip, or the file that is given in its place."""
    if isinstance(given, Clip):
        return given
    if not isinstance(given, str | PathLike):
        raise InvalidRequest(field, given, "must be a Clip or the path of a file of sound")
    from musicgen_space.audio.clips import read_clip, told_of

    with told_of(field, f"{field} {given}"):
        return read_clip(Path(given))
