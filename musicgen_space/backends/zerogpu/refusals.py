"""What ZeroGPU says instead of giving a GPU, as errors of ours that say what to do.

Written against ``spaces`` 0.51 (``zero/client.py``, ``zero/wrappers.py``). It raises Gradio's
``Error`` with a title and English words, and ``RuntimeError``; by their words they are told
apart, since titles stand for several things: "quota exceeded" is also a full queue.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from musicgen_space.errors import (
    BackendError,
    GpuBusy,
    GpuFailed,
    GpuQuotaSpent,
    GpuTakenBack,
    GpuTimeTooLong,
    MusicGenSpaceError,
    Stopped,
)
from musicgen_space.message import Message

__all__ = ["refusal"]

log = logging.getLogger(__name__)

_PENDING = Message(
    "All your GPU time on Hugging Face is set aside for takes that are being made: "
    "wait for them, or choose musicgen-nano on this server, which needs none."
)
_NOBODYS = Message(
    "ZeroGPU was not told whose GPU time to use, and what it gives anonymously is used "
    "up. Open the page on huggingface.co and sign in; a program sends its user's token. "
    "Or choose musicgen-nano on this server, which needs none."
)
_BUSY = Message(
    "No GPU came free in time. Nothing is lost: press Generate again in a minute, "
    "or choose musicgen-nano on this server."
)
_EXPIRED = Message("Hugging Face no longer knows who you are: reload the page, then try again.")
_TAKEN_BACK = Message(
    "ZeroGPU ended this take: it took longer than expected. Try again, which allows for "
    "it, or choose a shorter length or musicgen-nano on this server."
)


def refusal(error: Exception) -> MusicGenSpaceError:
    """Anything that a call of a GPU function raises, as an error of ours."""
    if isinstance(error, MusicGenSpaceError):
        return error
    words = str(getattr(error, "message", error))
    for pattern, translate in _REFUSALS:
        if found := re.search(pattern, words):
            return translate(found)
    log.error("ZeroGPU failed", exc_info=error)
    return GpuFailed(
        Message(
            "ZeroGPU failed; the Space's log says why. "
            "Try again, or choose musicgen-nano on this server."
        )
    )


def _quota(found: re.Match[str]) -> GpuQuotaSpent:
    asked, left, wait = found.groups()
    return GpuQuotaSpent(
        Message(
            "This take needs {asked} s of your GPU time on Hugging Face, and {left} s are left; "
            "in {wait} h there is more. {advice}",
            asked=asked,
            left=left,
            wait=wait,
            advice=_less(),
        )
    )


def _runs(_: re.Match[str]) -> GpuQuotaSpent:
    what = Message("You have had as many takes on Hugging Face's GPUs as you may for now.")
    return GpuQuotaSpent(Message("{what} {advice}", what=what, advice=_less()))


def _too_long(found: re.Match[str]) -> GpuTimeTooLong:
    return GpuTimeTooLong(
        Message(
            "This take needs {asked} s of GPU time, more than you can have at once. {advice}",
            asked=found[1],
            advice=_less(),
        )
    )


def _always(kind: type[BackendError], words: Message) -> Callable[[re.Match[str]], BackendError]:
    """A refusal that has no values of its own."""
    return lambda _: kind(words)


def _less() -> Message:
    return Message(
        "Sign in to Hugging Face for more, choose a shorter length, "
        "or musicgen-nano on this server, which needs none."
    )


# Told apart in this order; of a wait, the days never matter: a quota is a day's.
_REFUSALS: tuple[tuple[str, Callable[[re.Match[str]], MusicGenSpaceError]], ...] = (
    (r"\((\d+)s requested vs\. (-?\d+)s left\).*?Try again in (?:.*, )?(\d+:\d\d)", _quota),
    (r"exceeded your ZeroGPU runs limit", _runs),
    (r"too many ZeroGPU credits allocated", _always(GpuQuotaSpent, _PENDING)),
    (r"reached its GPU limit", _always(GpuQuotaSpent, _NOBODYS)),
    (r"requested GPU duration \((\d+)s\) is larger", _too_long),
    (r"No GPU was available", _always(GpuBusy, _BUSY)),
    (r"Expired ZeroGPU proxy token", _always(GpuFailed, _EXPIRED)),
    (r"GPU task aborted", _always(GpuTakenBack, _TAKEN_BACK)),
    (r"Connection closed by visitor", lambda _: Stopped()),
)
