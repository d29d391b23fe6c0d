"""``Upgrade``: a better model than a backend's default, one press and a download away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from musicgen_space.backends.base import Loading
from musicgen_space.errors import MusicGenSpaceError
from musicgen_space.message import Message, Text

__all__ = ["Upgrade", "UpgradeState"]

log = logging.getLogger(__name__)

_PATIENCE = 5  # seconds for a download to notice that it was stopped
_BROKEN = Message("The download failed on this machine; its log says why.")


@dataclass(frozen=True, slots=True)
class UpgradeState:
    """What there is to do about an upgrade: nothing, to offer it, to wait, to use it.

    ``loading`` is how far a download is, ``trouble`` why the last one failed.
    """

    phase: Literal["none", "offered", "downloading", "here"]
    loading: Loading | None = None
    trouble: Text = ""


class Upgrade:
    """``model``, a download of about ``size`` bytes. Thread-safe.

    The download has a thread of its own: takes are made meanwhile, and no page has to stay open.

    ``is_worth_it`` tells whether to offer it; it may take seconds. ``download`` has it on this
    machine, and is left by an exception of what it reports its bytes to. ``adopt`` makes it the
    default.
    """

    def __init__(
        self,
        model: str,
        size: int,
        *,
        is_worth_it: Callable[[], bool],
        download: Callable[[Callable[[int, int], None]], object],
        adopt: Callable[[], None],
    ) -> None:
        self.model, self.size = model, size
        self._is_worth_it, self._fetch, self._adopt = is_worth_it, download, adopt
        self._lock = threading.Lock()
        self._current: _Download | None = None
        self._thread: threading.Thread | None = None
        self._trouble: Text = ""
        self._is_here = False

    def state(self) -> UpgradeState:
        """What there is to do now; slow where nothing is going on."""
        with self._lock:
            if self._current is not None:
                return UpgradeState("downloading", self._current.loading)
            if self._is_here:
                return UpgradeState("here")
            trouble = self._trouble
        return UpgradeState("offered" if self._is_worth_it() else "none", trouble=trouble)

    def start(self) -> None:
        """Begin the download, unless it goes on or is done."""
        with self._lock:
            if self._current is None and not self._is_here:
                self._trouble = ""
                self._current = current = _Download(self.model, self.size)
                self._thread = threading.Thread(
                    target=self._work, args=(current,), name="upgrade", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """End the download; the next one goes on from there."""
        with self._lock:
            if self._current is not None:
                self._current.stopped.set()
                self._current = None

    def close(self) -> None:
        """Stop, and wait a little for that."""
        self.stop()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _work(self, current: _Download) -> None:
        trouble: Text = ""
        try:
            self._fetch(current.report)
            self._adopt()
        except _Stopped:
            return
        except MusicGenSpaceError as error:
            trouble = error.told
        except Exception:
            log.exception("A download failed")
            trouble = _BROKEN
        with self._lock:
            if self._current is current:
                self._current, self._trouble = None, trouble
            self._is_here = self._is_here or not trouble


class _Download:
    """One download: how far it is, and whether it was stopped."""

    def __init__(self, model: str, size: int) -> None:
        self.stopped = threading.Event()
        self._model = model
        self.loading = Loading.download(model, 0, size)

    def report(self, done: int, total: int) -> None:
        """Note the bytes; raises ``_Stopped``."""
        if self.stopped.is_set():
            raise _Stopped
        self.loading = Loading.download(self._model, done, total)


class _Stopped(Exception):
    """Raised to leave a download."""
