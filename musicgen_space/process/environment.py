"""The environment as our libraries find it, while this program runs.

To be entered before they are imported, since many of them read it then. What is meant for
this program itself is ``settings``' to read.
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
from musicgen_space.process.ending import SIGNALS
from musicgen_space.process.proxies import proxy_variables
from musicgen_space.settings import Settings

__all__ = ["prepared_environment"]

_SILENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # else it asks for its latest version and reports its use
    "HF_HUB_DISABLE_TELEMETRY": "1",  # else each download tells what is installed here
    "MPLBACKEND": "agg",  # else Gradio has matplotlib, if there is one, list all fonts
}
# Folders that they would make in others' sight, or where another user has one of that name.
_FOLDERS = {
    "GRADIO_TEMP_DIR": "gradio",
    "TORCHINDUCTOR_CACHE_DIR": "torch",
    "MPLCONFIGDIR": "matplotlib",
}
_THEIRS = ("GRADIO_", "HF_", "HUGGINGFACE_", "MPL", "TORCHINDUCTOR_", "XDG_")


@contextmanager
def prepared_environment(settings: Settings) -> Iterator[None]:
    """Nothing calls home, proxies work, temporary files are private, empty means the default.

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
    """The variables to set, or None to have none; their temporary files go into ``folder``."""
    given = {name: value for name, value in os.environ.items() if value.strip()}
    empty = [name for name in os.environ if name.startswith(_THEIRS) and name not in given]
    chosen = {"GRADIO_TEMP_DIR": str(settings.files)} if settings.files else {}
    return {
        **dict.fromkeys(empty),
        **_SILENT,
        **proxy_variables(getproxies(), settings.host),
        # Where Gradio asks whether a port is free, always over IPv4.
        "GRADIO_SERVER_NAME": "127.0.0.1" if ":" in settings.host else settings.host,
        # Whose X-Forwarded-For uvicorn believes: by itself that of whatever runs on this machine.
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
    """A folder for this process alone, gone at its end, also when a signal ends it."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="musicgen-space-", ignore_cleanup_errors=True)
    except OSError:
        raise InvalidSetting(
            "TMPDIR must be the path of a folder that can be written to, and no other was found."
        ) from None

    def told_to_end(number: int, _: FrameType | None) -> None:
        folder.cleanup()
        signal.signal(number, usual[number])
        signal.raise_signal(number)

    with folder as path:
        usual: dict[int, Any] = {number: signal.signal(number, told_to_end) for number in SIGNALS}
        try:
            yield Path(path).resolve()
        finally:
            for number, handler in usual.items():
                signal.signal(number, handler)
