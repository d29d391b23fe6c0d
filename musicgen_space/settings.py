"""Settings, read once from the environment; no other module looks there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from musicgen_space.errors import InvalidSetting

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How this installation runs. Every field has an environment variable.

    GRADIO_SERVER_NAME    `host`         the address the page is served on
    GRADIO_SERVER_PORT    `port`         its port
    MUSICGEN_MODELS       `models`       more checkpoints to offer: hub ids or folders,
                                         separated by commas
    MUSICGEN_DEVICE       `device`       auto, cpu or cuda
    MUSICGEN_THREADS      `threads`      CPU threads for the model; 0 = one per core
    MUSICGEN_MAX_WAITING  `max_waiting`  takes that may wait before the queue is full
    """

    host: str = "127.0.0.1"
    port: int = 7860
    models: tuple[str, ...] = ()
    device: str = "auto"
    threads: int = 0
    max_waiting: int = 8

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the variables above; raises ``InvalidSetting`` for one that makes no sense."""
        default = cls()
        # A Space is reached through a proxy, so there the page listens on every address.
        host = "0.0.0.0" if environ.get("SPACE_ID") else default.host
        models = (name.strip() for name in environ.get("MUSICGEN_MODELS", "").split(","))
        return cls(
            host=environ.get("GRADIO_SERVER_NAME", host),
            port=_whole(environ, "GRADIO_SERVER_PORT", default.port, 1, 65535),
            models=tuple(name for name in models if name),
            device=_one_of(environ, "MUSICGEN_DEVICE", ("auto", "cpu", "cuda")),
            threads=_whole(environ, "MUSICGEN_THREADS", default.threads, 0, 256),
            max_waiting=_whole(environ, "MUSICGEN_MAX_WAITING", default.max_waiting, 0, 1000),
        )


def _whole(environ: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environ.get(name, "").strip() or str(default)
    if not text.isdecimal() or not low <= int(text) <= high:
        raise InvalidSetting(f"{name} must be a whole number from {low} to {high}, got {text!r}.")
    return int(text)


def _one_of(environ: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    """The variable's value; the first allowed one is the default."""
    text = environ.get(name, "").strip().lower() or allowed[0]
    if text not in allowed:
        raise InvalidSetting(f"{name} must be one of {', '.join(allowed)}, got {text!r}.")
    return text
