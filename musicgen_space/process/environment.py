"""The environment variables of our libraries while this program runs.

To be entered before they are imported, since many read it at import. The variables of this
program itself are read by ``settings``.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.request import getproxies

from musicgen_space.errors import InvalidSetting
from musicgen_space.process.proxies import proxy_variables
from musicgen_space.process.termination import SIGNALS
from musicgen_space.settings import Settings

__all__ = ["prepare_environment"]

_NO_TELEMETRY = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # else it checks for updates and reports usage
    "HF_HUB_DISABLE_TELEMETRY": "1",  # else downloads report what is installed
    "MPLBACKEND": "agg",  # else Gradio makes matplotlib list all fonts
}
# Temporary folders that would be shared with, or owned by, other users.
_FOLDERS = {
    "GRADIO_TEMP_DIR": "gradio",
    "TORCHINDUCTOR_CACHE_DIR": "torch",
    "MPLCONFIGDIR": "matplotlib",
}
_PREFIXES = ("GRADIO_", "HF_", "HUGGINGFACE_", "MPL", "TORCHINDUCTOR_", "XDG_")


@contextmanager
def prepare_environment(settings: Settings) -> Iterator[None]:
    """No telemetry, working proxies, private temporary files; empty variables mean defaults.

    Raises ``InvalidSetting`` for a proxy or a temporary folder that can't be used.
    """
    with _private_folder() as folder:
        variables = _variables(settings, folder)
        before = {name: os.environ.get(name) for name in variables}
        _set(variables)
        try:
            yield
        finally:
            _set(before)


def _variables(settings: Settings, folder: Path) -> dict[str, str | None]:
    """The variables to set, or with None to unset; temporary files go to ``folder``."""
    given = {name: value for name, value in os.environ.items() if value.strip()}
    empty = [name for name in os.environ if name.startswith(_PREFIXES) and name not in given]
    chosen = {"GRADIO_TEMP_DIR": str(settings.files)} if settings.files else {}
    return {
        **dict.fromkeys(empty),
        **_NO_TELEMETRY,
        **proxy_variables(getproxies(), settings.host),
        # Gradio probes for a free port over IPv4 only.
        "GRADIO_SERVER_NAME": "127.0.0.1" if ":" in settings.host else settings.host,
        # Whose X-Forwarded-For uvicorn trusts; its default is any local process.
        "FORWARDED_ALLOW_IPS": ",".join(settings.proxies),
        **{name: str(folder / place) for name, place in _FOLDERS.items() if name not in given},
        **chosen,
    }


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A temporary folder of this process, deleted at its end, also on a signal."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="musicgen-space-", ignore_cleanup_errors=True)
    except OSError:
        raise InvalidSetting(
            "TMPDIR must be the path of a folder that can be written to, and no other was found."
        ) from None

    def clean_up(number: int, _: FrameType | None) -> None:
        folder.cleanup()
        signal.signal(number, previous[number])
        signal.raise_signal(number)

    with folder as path:
        previous: dict[int, Any] = {number: signal.signal(number, clean_up) for number in SIGNALS}
        try:
            yield Path(path).resolve()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
