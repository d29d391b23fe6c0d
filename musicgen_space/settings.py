"""Settings, read once from the environment; no other module looks there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from musicgen_space.errors import InvalidSetting, UnusableKey
from musicgen_space.key import ApiKey
from musicgen_space.process.addresses import Origin, in_url, is_loopback, own_address

__all__ = ["Settings", "environment_without_keys"]

# The hub's proxies, before a Space: any address that is none of the internet's.
_INNER = (
    *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    *("::1/128", "fc00::/7"),
)
# Where one reaches a page that listens on all addresses.
_ONE_OF_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Settings:
    """How this installation runs. Every field has an environment variable.

    GRADIO_SERVER_NAME    `host`         the address the page is served on: 0.0.0.0 are all of
                                         IPv4, :: all of IPv6
    GRADIO_SERVER_PORT    `port`         its port
    GRADIO_TEMP_DIR       `files`        the folder of files that pages are given, for a day; else
                                         one for this process alone
    MUSICGEN_PROXIES      `proxies`      the addresses and networks of reverse proxies before the
                                         page, separated by commas: only they are believed whom
                                         they speak for (X-Forwarded-For)
    MUSICGEN_MODELS       `models`       more checkpoints to offer: hub ids or folders,
                                         separated by commas
    MUSICGEN_DEVICE       `device`       auto (a CUDA card, else the CPU), cpu, cuda, cuda:N
                                         or mps; the page doesn't start without it
    MUSICGEN_DTYPE        `dtype`        numbers of the decoder: float32, bfloat16, float16, or
                                         auto: float32, on a CUDA card bfloat16 where it
                                         computes in that, else float16
    MUSICGEN_QUANT        `quant`        how the decoder's weights are kept on a CPU: auto, none
                                         (as published), int8 or int4
    MUSICGEN_NATIVE       `native`       0: torch computes, without our kernel
    MUSICGEN_CACHE        `cache`        the folder of converted weights, and of a compiled kernel
    MUSICGEN_MAX_MODELS   `max_models`   models that stay in memory, 1 to 16, where they fit; the
                                         one that was not used for longest goes first
    MUSICGEN_THREADS      `threads`      CPU threads of the decoder; 0 goes by the model's size
    MUSICGEN_MAX_WAITING  `max_waiting`  takes that may wait before the queue is full
    MUSICGEN_VISITOR_WAITING  `visitor_waiting`  how many of them each visitor's may be, where
                                         others than the owner can open the page
    MUSICGEN_AUDIOCRAFT_PYTHON  `audiocraft_python`  the Python of an environment that has
                                         AudioCraft in it
    MUSICGEN_LIBRARY      `library`      the folder where finished takes are kept, or off; else one
                                         for data of this user, on a Space its own storage
    MUSICGEN_LIBRARY_MB   `library_mb`   the most that all takes in it may have
    MUSICGEN_VISITOR_MB   `visitor_mb`   the most that each visitor's may have, where others than
                                         the owner can open the page
    SEGMIND_API_KEY       `segmind_key`  the owner's key for the hosted API, or nothing
    SEGMIND_API           `segmind_api`  v1 (one blocking call) or v2 (a job that is polled)
    SEGMIND_BASE_URL      `segmind_base_url`   where the API is: https, or http on loopback
    SEGMIND_SHARE_KEY     `segmind_share_key`  1 lets visitors of a public page spend the
                                               owner's credits
    SEGMIND_TAKES_PER_VISITOR  `segmind_takes_per_visitor`  how many takes an hour each of
                                               them may have with the owner's key
    """

    host: str = "127.0.0.1"
    port: int = 7860
    files: Path | None = None
    proxies: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    device: str = "auto"
    dtype: str = "auto"
    quant: str = "auto"
    native: bool = True
    cache: Path | None = None
    max_models: int = 1
    threads: int = 0
    max_waiting: int = 8
    visitor_waiting: int = 3
    audiocraft_python: str | None = None
    library: Path | None = None
    library_mb: int = 2000
    visitor_mb: int = 200
    segmind_key: ApiKey | None = None
    segmind_api: str = "v1"
    segmind_base_url: str = "https://api.segmind.com"
    segmind_share_key: bool = False
    segmind_takes_per_visitor: int = 3

    @property
    def strangers(self) -> bool:
        """Whether others than the owner can open the page: it listens beyond this machine."""
        return not is_loopback(self.host)

    @property
    def url(self) -> str:
        """Where the page is for whoever is at this machine."""
        host = _ONE_OF_ALL.get(self.host, self.host)
        return f"http://{in_url(host)}:{self.port}"

    @property
    def waiting_each(self) -> int:
        """How many takes of each visitor may wait; the owner alone may fill the line."""
        return self.visitor_waiting if self.strangers else self.max_waiting

    @property
    def library_bytes(self) -> int:
        """The most that all kept takes may have."""
        return self.library_mb * 2**20

    @property
    def visitor_bytes(self) -> int | None:
        """The most that one visitor's may have; None where the owner is the only one."""
        return self.visitor_mb * 2**20 if self.strangers else None

    @property
    def segmind_key_for_visitors(self) -> ApiKey | None:
        """The owner's key where whoever is at the page may spend from it, else None."""
        allowed = self.segmind_share_key or not self.strangers
        return self.segmind_key if allowed else None

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, chosen: Mapping[str, str] | None = None
    ) -> Settings:
        """Read the variables above; raises ``InvalidSetting`` for one that makes no sense.

        Those that are ``chosen``, as by options of the command line, go before ``environ``.
        """
        environ = {**environ, **(chosen or {})}
        default = cls()
        # A Space is reached through a proxy, so there the page listens on every address.
        on_space = bool(environ.get("SPACE_ID"))
        host = "0.0.0.0" if on_space else default.host
        models = (name.strip() for name in environ.get("MUSICGEN_MODELS", "").split(","))
        return cls(
            host=_host(environ, "GRADIO_SERVER_NAME", host),
            port=_whole(environ, "GRADIO_SERVER_PORT", default.port, 1, 65535),
            files=_folder(environ, "GRADIO_TEMP_DIR"),
            proxies=_networks(environ, "MUSICGEN_PROXIES", _INNER if on_space else ()),
            models=tuple(name for name in models if name),
            device=_device(environ, "MUSICGEN_DEVICE"),
            dtype=_one_of(environ, "MUSICGEN_DTYPE", ("auto", "float32", "bfloat16", "float16")),
            quant=_one_of(environ, "MUSICGEN_QUANT", ("auto", "none", "int8", "int4")),
            native=_one_of(environ, "MUSICGEN_NATIVE", ("1", "0")) == "1",
            cache=_folder(environ, "MUSICGEN_CACHE"),
            max_models=_whole(environ, "MUSICGEN_MAX_MODELS", default.max_models, 1, 16),
            threads=_whole(environ, "MUSICGEN_THREADS", default.threads, 0, 256),
            max_waiting=_whole(environ, "MUSICGEN_MAX_WAITING", default.max_waiting, 0, 1000),
            visitor_waiting=_whole(
                environ, "MUSICGEN_VISITOR_WAITING", default.visitor_waiting, 0, 1000
            ),
            audiocraft_python=_file(environ, "MUSICGEN_AUDIOCRAFT_PYTHON"),
            library=_library(environ, "MUSICGEN_LIBRARY"),
            library_mb=_whole(environ, "MUSICGEN_LIBRARY_MB", default.library_mb, 1, 10**8),
            visitor_mb=_whole(environ, "MUSICGEN_VISITOR_MB", default.visitor_mb, 1, 10**8),
            segmind_key=_key(environ, "SEGMIND_API_KEY"),
            segmind_api=_one_of(environ, "SEGMIND_API", ("v1", "v2")),
            segmind_base_url=_base_url(environ, "SEGMIND_BASE_URL", default.segmind_base_url),
            segmind_share_key=_one_of(environ, "SEGMIND_SHARE_KEY", ("0", "1")) == "1",
            segmind_takes_per_visitor=_whole(
                environ, "SEGMIND_TAKES_PER_VISITOR", default.segmind_takes_per_visitor, 0, 1000
            ),
        )


def environment_without_keys(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a process of somebody else's code is started with: all but what can be spent."""
    return {name: value for name, value in environ.items() if not name.startswith("SEGMIND_")}


def _host(environ: Mapping[str, str], name: str, default: str) -> str:
    text = environ.get(name, "").strip() or default
    try:
        return own_address(text)
    except ValueError:
        raise InvalidSetting(
            f"{name} must be an address or a name of this machine, such as 127.0.0.1 or ::1, "
            f"got {text!r}."
        ) from None


def _networks(environ: Mapping[str, str], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Networks, and addresses as networks of one, in one spelling."""
    parts = [part.strip() for part in environ.get(name, "").split(",")]
    try:
        return tuple(str(ip_network(part, strict=False)) for part in parts if part) or default
    except ValueError as error:
        raise InvalidSetting(
            f"{name} must be addresses or networks, such as 127.0.0.1 or 10.0.0.0/8, separated by "
            f"commas: {error}."
        ) from None


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


def _device(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "").strip().lower() or "auto"
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,2})?|mps", text):
        raise InvalidSetting(f"{name} must be auto, cpu, cuda, cuda:N or mps, got {text!r}.")
    return text


def _file(environ: Mapping[str, str], name: str) -> str | None:
    text = environ.get(name, "").strip()
    path = os.path.abspath(os.path.expanduser(text))
    if text and not os.path.isfile(path):
        raise InvalidSetting(f"{name} must be the path of a file, got {text!r}.")
    return path if text else None


def _folder(environ: Mapping[str, str], name: str) -> Path | None:
    """A folder that is made when it is needed; None where none is named."""
    text = environ.get(name, "").strip()
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if text and path.exists() and not path.is_dir():
        raise InvalidSetting(f"{name} must be the path of a folder, got {text!r}.")
    return path if text else None


def _library(environ: Mapping[str, str], name: str) -> Path | None:
    if environ.get(name, "").strip().lower() == "off":
        return None
    return _folder(environ, name) or _data_folder(environ)


def _data_folder(environ: Mapping[str, str]) -> Path:
    """Where programs keep data: specifications.freedesktop.org/basedir, on a Space its storage.

    A Space without storage of its own forgets all files when it restarts.
    """
    storage = Path("/data")
    if environ.get("SPACE_ID") and os.access(storage, os.W_OK):
        parent = storage
    else:
        given = environ.get("XDG_DATA_HOME", "")
        usual = os.path.expanduser("~/.local/share")
        parent = Path(given if os.path.isabs(given) else usual)
    return parent / "musicgen-space"


def _key(environ: Mapping[str, str], name: str) -> ApiKey | None:
    text = environ.get(name, "").strip()
    try:
        return ApiKey(text) if text else None
    except UnusableKey as error:
        raise InvalidSetting(f"{name}: {error}") from None


def _base_url(environ: Mapping[str, str], name: str, default: str) -> str:
    """A server's address without a slash at its end, safe to send a key to."""
    url = environ.get(name, "").strip().rstrip("/") or default
    try:
        origin = Origin.of(url)
    except ValueError as error:
        raise InvalidSetting(f"{name}: {error}.") from None
    if "?" in url or "#" in url:
        raise InvalidSetting(f"{name} must end with the host or a path, without ? or #.")
    if origin.scheme != "https" and not origin.loopback:
        raise InvalidSetting(f"{name} must be https: over http the key could be read on the way.")
    return url
