"""Everything that can go wrong, as one tree.

Messages are written for the person at the page or the terminal: what happened,
then what to do. Foreign exceptions (torch, soundfile, requests, the hub) become
one of these at a single boundary, the file that calls the foreign library.

    MusicGenSpaceError
    ├── InvalidRequest          a field of a request is outside its limits (ValueError)
    ├── InvalidSetting          an environment variable does not make sense (ValueError)
    ├── UnreadableAudio         no sound file, a broken one, or nothing to hear (ValueError)
    ├── LibraryUnavailable      kept takes can't be read or written; they are still there
    │   ├── LibraryUnwritable   the disk is read-only or fails: they can still be heard
    │   │   └── LibraryFull         … or it is full: deleting makes room
    │   ├── LibraryTooNew       a later version of this program wrote them
    │   └── LibraryDamaged      their index makes no sense; the files tell what was in it
    ├── DeployFailed            the hub has not made or changed a Space, or not all of it
    ├── DatabaseUnavailable     the HTTP API's accounts and jobs can't be read or written now
    └── BackendError            the request was fine, making the music was not
        ├── ModelUnavailable    the checkpoint is neither here nor reachable
        ├── InvalidCheckpoint   the files are there but are no MusicGen checkpoint
        ├── OutOfMemory         the model or the take does not fit this machine
        ├── QueueFull           too many takes are waiting already
        ├── LiveFull            as much live music as may be is playing already
        ├── LiveOver            a live session has lasted as long as one may
        ├── Stopped             somebody ended it before there was any sound
        ├── AllowanceSpent      a visitor has had all takes on the owner's key
        ├── GpuRefused          Hugging Face's ZeroGPU gave no GPU, or took it back
        │   ├── GpuQuotaSpent       the visitor's GPU time of today does not last for the take
        │   ├── GpuTimeTooLong      the take needs more GPU time than anybody may ask for
        │   ├── GpuBusy             no GPU came free in time
        │   ├── GpuTakenBack        the take was ended by ZeroGPU, as when it overran its time
        │   └── GpuFailed           ZeroGPU itself failed or can't be reached
        └── SegmindError        the hosted API; ``may_be_billed`` tells about the money
            ├── UnusableKey         no key, or one that cannot be sent (ValueError)
            ├── Unreachable         no connection: no job was sent
            ├── OutcomeUnknown      sent, but the end was not seen: may be billed
            │   ├── GatewayFailed       502, 504 and other failures of a gateway
            │   └── StoppedButBilled    Stop was pressed while the job runs on
            ├── MalformedRequest    400
            ├── KeyRefused          401
            ├── AccessDenied        403
            ├── NotFound            404: no such model or job, or its record expired
            ├── WrongVerb           405
            ├── NotAccepted         406, always one of the three below
            │   ├── ContentTypeRefused
            │   ├── InsufficientCredits
            │   └── RequestDeclined     a parameter, or a team's spend limit
            ├── ModelRetired        410
            ├── GenerationFailed    422: the job ran and failed
            ├── RateLimited         429; ``resets_at`` when the server says so
            ├── ServerFailed        500, 503: nothing was billed
            ├── UnexpectedStatus    any other status, redirects among them
            └── UnusableResult      success, but no sound came of it: may be billed
                ├── ResultCutShort      the connection ended before the bytes did
                ├── ResultTooLarge      more bytes than any take has
                └── UntrustedUrl        the result lies where nothing is fetched from
"""

from __future__ import annotations

import errno
from datetime import datetime
from typing import Any

from musicgen_space.message import Message, Text

__all__ = [
    "AccessDenied",
    "AllowanceSpent",
    "BackendError",
    "ContentTypeRefused",
    "DatabaseUnavailable",
    "DeployFailed",
    "GatewayFailed",
    "GenerationFailed",
    "GpuBusy",
    "GpuFailed",
    "GpuQuotaSpent",
    "GpuRefused",
    "GpuTakenBack",
    "GpuTimeTooLong",
    "InsufficientCredits",
    "InvalidCheckpoint",
    "InvalidRequest",
    "InvalidSetting",
    "KeyRefused",
    "LibraryDamaged",
    "LibraryFull",
    "LibraryTooNew",
    "LibraryUnavailable",
    "LibraryUnwritable",
    "LiveFull",
    "LiveOver",
    "MalformedRequest",
    "ModelRetired",
    "ModelUnavailable",
    "MusicGenSpaceError",
    "NotAccepted",
    "NotFound",
    "OutOfMemory",
    "OutcomeUnknown",
    "QueueFull",
    "RateLimited",
    "RequestDeclined",
    "ResultCutShort",
    "ResultTooLarge",
    "SegmindError",
    "ServerFailed",
    "Stopped",
    "StoppedButBilled",
    "UnexpectedStatus",
    "Unreachable",
    "UnreadableAudio",
    "UntrustedUrl",
    "UnusableKey",
    "UnusableResult",
    "WrongVerb",
    "is_out_of_memory",
]


class MusicGenSpaceError(Exception):
    """Base of every error of this project; its text can be shown to a user.

    It is made with a ``Message`` where it is told in the user's language, else with English text.
    """

    @property
    def told(self) -> Text:
        """What to tell the user."""
        first = self.args[0] if self.args else ""
        return first if isinstance(first, Message) else Exception.__str__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as it is, for other processes: most kinds are made of other arguments."""
        return _unpickled, (type(self), self.args, self.__dict__)


def _unpickled(
    kind: type[MusicGenSpaceError], args: tuple[object, ...], facts: dict[str, object]
) -> MusicGenSpaceError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class InvalidRequest(MusicGenSpaceError, ValueError):
    """A field of a request is outside its limits."""

    def __init__(self, field: str, value: object, limit: str) -> None:
        self.field, self.value, self.limit = field, value, limit
        super().__init__(f"{field} {limit}, got {_shown(value)}.")


class InvalidSetting(MusicGenSpaceError, ValueError):
    """An environment variable does not make sense."""


class UnreadableAudio(MusicGenSpaceError, ValueError):
    """Bytes that are no sound file, a broken one, or one in which there is nothing to hear."""


class LibraryUnavailable(MusicGenSpaceError):
    """Kept takes can't be read or written now: a full disk, a read-only folder, a broken file."""


class LibraryUnwritable(LibraryUnavailable):
    """Nothing can be written where kept takes are: the disk is full, read-only or fails."""


class LibraryFull(LibraryUnwritable):
    """The disk where kept takes are is full, or as much as this user may have of it."""


class LibraryTooNew(LibraryUnavailable):
    """The library was written by a later version of this program."""

    def __init__(self, folder: str) -> None:
        super().__init__(
            f"The takes in {folder} were kept by a newer version of MusicGen Space. "
            "Install that one, or set MUSICGEN_LIBRARY to another folder."
        )


class LibraryDamaged(LibraryUnavailable):
    """The index of the kept takes is broken or was moved away."""


class DeployFailed(MusicGenSpaceError):
    """The hub has not made or changed a Space, or not all of it."""


class DatabaseUnavailable(MusicGenSpaceError):
    """The database of the HTTP API can't be reached, read or written; nothing was changed."""


class BackendError(MusicGenSpaceError):
    """The request was fine, making the music was not."""


class ModelUnavailable(BackendError):
    """The checkpoint is neither on this machine nor reachable."""


class InvalidCheckpoint(BackendError):
    """The files are there but are no MusicGen checkpoint."""


class OutOfMemory(BackendError):
    """The model or the take does not fit this machine."""


class QueueFull(BackendError):
    """Too many takes are waiting already; ``own``: of whoever asks for one more."""

    def __init__(self, waiting: int, own: bool = False) -> None:
        yours = Message(
            "The queue is full for you: {waiting} of yours wait already. "
            "Nothing is lost: press Generate again in a minute.",
            waiting=waiting,
        )
        everybodys = Message(
            "The queue is full: {waiting} waiting. "
            "Nothing is lost: press Generate again in a minute.",
            waiting=waiting,
        )
        super().__init__(yours if own else everybodys)


class LiveFull(BackendError):
    """As much live music as may be is playing already; ``own``: for whoever asks for more."""

    def __init__(self, playing: int, own: bool = False) -> None:
        yours = Message("You are playing live music already: stop that first.")
        everybodys = Message(
            "{playing} are playing live music here, which is the limit. Try again in a minute.",
            playing=playing,
        )
        super().__init__(yours if own else everybodys)


class LiveOver(BackendError):
    """A live session has lasted as long as one may."""

    def __init__(self, minutes: float) -> None:
        super().__init__(
            Message(
                "Live music ends after {minutes:g} minutes here, so that others have their turn. "
                "Press Play to begin again.",
                minutes=minutes,
            )
        )


class Stopped(BackendError):
    """A take was ended before there was any sound of it."""

    def __init__(self) -> None:
        super().__init__(Message("Stopped before there was any sound."))


class AllowanceSpent(BackendError):
    """A visitor has had all the takes that the owner's key allows them for now."""


class GpuRefused(BackendError):
    """Hugging Face's ZeroGPU gave no GPU for a take, or took it back before the take was done."""


class GpuQuotaSpent(GpuRefused):
    """Whoever asks has too little GPU time left for now."""


class GpuTimeTooLong(GpuRefused):
    """A take needs more GPU time than ZeroGPU gives at once."""


class GpuBusy(GpuRefused):
    """No GPU came free in time."""


class GpuTakenBack(GpuRefused):
    """ZeroGPU ended a take: as a rule because it overran the time that was asked for."""


class GpuFailed(GpuRefused):
    """ZeroGPU itself failed or can't be reached."""


class SegmindError(BackendError):
    """The hosted API did not give a take; ``may_be_billed`` says whether it may cost money.

    ``request_id`` is what Segmind's support asks for, where a job had been accepted.
    """

    may_be_billed = False
    request_id: str | None = None

    @property
    def told(self) -> Text:
        """What to tell the user, with what is known of the money and the job."""
        told = super().told
        if self.may_be_billed and "billed" not in str(told):
            told = Message("{what} It may have been billed.", what=told)
        if self.request_id:
            told = Message("{what} (The job's id at Segmind: {id}.)", what=told, id=self.request_id)
        return told

    def __str__(self) -> str:
        return str(self.told)


class UnusableKey(SegmindError, ValueError):
    """There is no API key, or one that no HTTP header can carry; its text never shows the key."""


class Unreachable(SegmindError):
    """The server cannot be reached; no job was sent."""


class OutcomeUnknown(SegmindError):
    """A job was sent and its end was not seen. It is never sent again by the program."""

    may_be_billed = True


class GatewayFailed(OutcomeUnknown):
    """HTTP 502, 504 and the like: something between here and the model gave up."""


class StoppedButBilled(OutcomeUnknown):
    """Stop was pressed after the job was sent; there is no way to cancel it there."""

    def __init__(self) -> None:
        super().__init__(
            Message(
                "Stopped waiting. Segmind cannot cancel a job once it is sent: "
                "it runs on and may still be billed."
            )
        )


class MalformedRequest(SegmindError):
    """HTTP 400: the server could not read the request."""


class KeyRefused(SegmindError):
    """HTTP 401: the key is missing, wrong or expired."""


class AccessDenied(SegmindError):
    """HTTP 403: the account or team may not call this model."""


class NotFound(SegmindError):
    """HTTP 404: no such model or job, or the job's record expired."""


class WrongVerb(SegmindError):
    """HTTP 405: a bug here, or a base URL that is not the API's."""


class NotAccepted(SegmindError):
    """HTTP 406, which has three causes, each a class of its own."""


class ContentTypeRefused(NotAccepted):
    """HTTP 406: the body's media type was wrong or lost on the way."""


class InsufficientCredits(NotAccepted):
    """HTTP 406: the balance is below the price of a call."""


class RequestDeclined(NotAccepted):
    """HTTP 406: a parameter was rejected, or a team's spend limit is reached."""


class ModelRetired(SegmindError):
    """HTTP 410: the model is no longer offered."""


class GenerationFailed(SegmindError):
    """HTTP 422 or the status FAILED: the job ran and failed."""


class RateLimited(SegmindError):
    """HTTP 429: too many calls; ``resets_at`` (UTC) is None when the server does not say."""

    def __init__(self, message: str, resets_at: datetime | None = None) -> None:
        self.resets_at = resets_at
        super().__init__(message)


class ServerFailed(SegmindError):
    """HTTP 500 or 503: the server failed and billed nothing."""


class UnexpectedStatus(SegmindError):
    """An HTTP status that the API does not document; redirects are among them."""


class UnusableResult(SegmindError):
    """The server reported success, but there is no sound to show for it."""

    may_be_billed = True


class ResultCutShort(UnusableResult):
    """The connection ended before all the announced bytes had come."""


class ResultTooLarge(UnusableResult):
    """More bytes than any take has."""


class UntrustedUrl(UnusableResult):
    """The result's address is one that nothing is fetched from."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a foreign error says that memory ran out.

    Told by name and words: torch's CPU allocator raises a plain RuntimeError, worded by
    system, and torch itself may not be there to be asked.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("allocate memory", "not enough memory", "out of memory")
    )


def _shown(value: object) -> str:
    """``value`` as an error shows it: quoted, printable and short."""
    text = ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
