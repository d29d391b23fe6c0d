"""Settings, read once from the environment; no other module looks there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from musicgen_space.errors import InvalidSetting, UnusableKey
from musicgen_space.key import ApiKey
from musicgen_space.models import EMBEDDED_MODEL
from musicgen_space.process.addresses import Origin, in_url, is_loopback, own_address

__all__ = ["VARIABLES", "Settings", "Variable", "default_of", "environment_without_keys"]

# The hub's proxies, before a Space: any address that is none of the internet's.
_INNER = (
    *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    *("::1/128", "fc00::/7"),
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
# Where one reaches a page that listens on all addresses.
_ONE_OF_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Settings:
    """How this installation runs; ``VARIABLES`` tells what each field means and its variable."""

    host: str = "127.0.0.1"
    port: int = 7860
    files: Path | None = None
    proxies: tuple[str, ...] = ()
    root_path: str = ""
    model: str | None = None
    models: tuple[str, ...] = ()
    config: Path | None = None
    zero_gpu: bool = False
    device: str = "auto"
    dtype: str = "auto"
    quant: str = "auto"
    native: bool = True
    graphs: bool = True
    cache: Path | None = None
    max_models: int = 1
    threads: int = 0
    at_once: int = 8
    live_sessions: int = 2
    live_minutes: int = 60
    live_ahead: float = 1.0
    max_waiting: int = 8
    visitor_waiting: int = 3
    audiocraft_python: str | None = None
    library: Path | None = None
    library_bucket: bool = False
    library_mb: int = 2000
    visitor_mb: int = 200
    api: bool = True
    database: str | None = field(default=None, repr=False)  # it may hold a password
    api_price: float = 0.0
    api_waiting: int = 32
    api_seconds: int = 900
    api_outputs_mb: int = 2000
    segmind_key: ApiKey | None = None
    segmind_api: str = "v1"
    segmind_base_url: str = "https://api.segmind.com"
    segmind_share_key: bool = False
    segmind_takes_per_visitor: int = 3
    sign_in_client: str | None = None
    sign_in_secret: ApiKey | None = None
    sign_in_provider: str = "https://huggingface.co"
    space_host: str | None = None

    @property
    def strangers(self) -> bool:
        """Whether others than the owner can open the page: it listens beyond this machine, or a
        reverse proxy does for it.
        """
        return not is_loopback(self.host) or bool(self.proxies or self.root_path)

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
    def made_each(self) -> int:
        """How many requests of each visitor may be made at once; of the owner alone, all."""
        return 1 if self.strangers else self.at_once

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
        """Read the variables; raises ``InvalidSetting`` for one that makes no sense.

        Those that are ``chosen``, as by options of the command line, go before ``environ``.
        """
        environ = {**environ, **(chosen or {})}
        default = cls()
        return cls(
            **{
                field: each.read(environ, each.name, getattr(default, field))
                for field, each in VARIABLES.items()
            }
        )


_Environ = Mapping[str, str]
_Reader = Callable[[_Environ, str, Any], Any]


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable; ``about`` is for people, and so is ``default``.

    ``read(environ, name, default)`` gives the setting, or raises ``InvalidSetting``. Without
    words for the ``default``, that of the field tells: see ``default_of``.
    """

    name: str
    read: _Reader
    about: str
    default: str | None = None


def default_of(field: str) -> str:
    """What a field of ``Settings`` is without its variable, for people; "" for nothing."""
    words, value = VARIABLES[field].default, getattr(Settings(), field)
    if words is not None:
        return words
    if value is None or value == ():
        return ""
    return str(int(value) if isinstance(value, bool) else value)


def environment_without_keys(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a process of somebody else's code is started with: all but what can be spent."""
    kept_back = ("SEGMIND_", "OAUTH_", "MUSICGEN_DATABASE")
    return {name: value for name, value in environ.items() if not name.startswith(kept_back)}


def _whole(low: int, high: int) -> _Reader:
    def read(environ: _Environ, name: str, default: int) -> int:
        text = environ.get(name, "").strip() or str(default)
        if not text.isdecimal() or not low <= int(text) <= high:
            raise InvalidSetting(
                f"{name} must be a whole number from {low} to {high}, got {text!r}."
            )
        return int(text)

    return read


def _one_of(*allowed: str) -> _Reader:
    """One of these texts."""

    def read(environ: _Environ, name: str, default: str) -> str:
        text = environ.get(name, "").strip().lower() or default
        if text not in allowed:
            raise InvalidSetting(f"{name} must be one of {', '.join(allowed)}, got {text!r}.")
        return text

    return read


def _switch(environ: _Environ, name: str, default: bool) -> bool:
    usual, other = ("1", "0") if default else ("0", "1")
    return bool(_one_of(usual, other)(environ, name, usual) == "1")


def _model(environ: _Environ, name: str, default: str | None) -> str | None:
    # Only torch knows whether a Space has a GPU of its own: that is left to who has imported it.
    usual = (
        "auto" if _on_a_space(environ) or _zero_gpu(environ, "SPACES_ZERO_GPU", False) else default
    )
    text = environ.get(name, "").strip()
    known = text in ("", "auto", EMBEDDED_MODEL) or _HUB_ID.fullmatch(text)
    if not known and not os.path.isdir(os.path.expanduser(text)):
        raise InvalidSetting(
            f"{name} must be one model: musicgen-nano, a hub id such as facebook/musicgen-small, "
            f"or a folder that is there, got {text!r}."
        )
    return text or usual


def _zero_gpu(environ: _Environ, name: str, default: bool) -> bool:
    """As the package ``spaces`` reads it, which knows these words only."""
    return environ.get(name, "").lower() in ("1", "t", "true") or default


def _models(environ: _Environ, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    parts = (part.strip() for part in environ.get(name, "").split(","))
    return tuple(part for part in parts if part) or default


def _host(environ: _Environ, name: str, default: str) -> str:
    # A Space is reached through a proxy, so there the page listens on every address.
    text = environ.get(name, "").strip() or ("0.0.0.0" if _on_a_space(environ) else default)
    try:
        return own_address(text)
    except ValueError:
        raise InvalidSetting(
            f"{name} must be an address or a name of this machine, such as 127.0.0.1 or ::1, "
            f"got {text!r}."
        ) from None


def _networks(environ: _Environ, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Networks, and addresses as networks of one, in one spelling."""
    usual = _INNER if _on_a_space(environ) else default
    parts = [part.strip() for part in environ.get(name, "").split(",")]
    try:
        return tuple(str(ip_network(part, strict=False)) for part in parts if part) or usual
    except ValueError as error:
        raise InvalidSetting(
            f"{name} must be addresses or networks, such as 127.0.0.1 or 10.0.0.0/8, separated by "
            f"commas: {error}."
        ) from None


def _root_path(environ: _Environ, name: str, default: str) -> str:
    """A path, or a whole address, without a slash at its end."""
    text = environ.get(name, "").strip().rstrip("/") or default
    if text and not re.fullmatch(r"(https?://[^/\s?#]+)?(/[^/\s?#]+)*", text):
        raise InvalidSetting(
            f"{name} must be a path such as /music, or the page's address such as "
            f"https://example.com/music, got {text!r}."
        )
    return text


def _device(environ: _Environ, name: str, default: str) -> str:
    text = environ.get(name, "").strip().lower() or default
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,2})?|mps", text):
        raise InvalidSetting(f"{name} must be auto, cpu, cuda, cuda:N or mps, got {text!r}.")
    return text


def _file(environ: _Environ, name: str, default: str | None) -> str | None:
    text = environ.get(name, "").strip()
    path = os.path.abspath(os.path.expanduser(text))
    if text and not os.path.isfile(path):
        raise InvalidSetting(f"{name} must be the path of a file, got {text!r}.")
    return path if text else default


def _folder(environ: _Environ, name: str, default: Path | None) -> Path | None:
    """A folder that is made when it is needed."""
    text = environ.get(name, "").strip()
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if text and path.exists() and not path.is_dir():
        raise InvalidSetting(f"{name} must be the path of a folder, got {text!r}.")
    return path if text else default


def _library(environ: _Environ, name: str, default: Path | None) -> Path | None:
    if environ.get(name, "").strip().lower() == "off":
        return None
    return _folder(environ, name, default) or _data_folder(environ)


def _data_folder(environ: _Environ) -> Path:
    """Where programs keep data: specifications.freedesktop.org/basedir."""
    return _base_folder(environ, "XDG_DATA_HOME", "~/.local/share") / "musicgen-space"


def _database(environ: _Environ, name: str, default: str | None) -> str:
    """A URL as SQLAlchemy reads it, which is checked where the database is opened."""
    return environ.get(name, "").strip() or f"sqlite:///{_data_folder(environ) / 'server.db'}"


def _seconds(low: float, high: float) -> _Reader:
    def read(environ: _Environ, name: str, default: float) -> float:
        text = environ.get(name, "").strip() or str(default)
        number = re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text, re.ASCII)
        if not number or not low <= float(text) <= high:
            raise InvalidSetting(f"{name} must be {low:g} to {high:g} seconds, got {text!r}.")
        return float(text)

    return read


def _price(environ: _Environ, name: str, default: float) -> float:
    text = environ.get(name, "").strip() or str(default)
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text, re.ASCII):
        raise InvalidSetting(f"{name} must be credits, such as 0.037, got {text!r}.")
    return float(text)


def _bucket(environ: _Environ, name: str, default: bool) -> bool:
    return _switch(environ, name, _on_a_space(environ) or default)


def _config(environ: _Environ, name: str, default: Path | None) -> Path:
    """Where programs keep settings, by the same specification."""
    return _base_folder(environ, name, "~/.config") / "musicgen-space"


def _base_folder(environ: _Environ, name: str, usual: str) -> Path:
    given = environ.get(name, "")
    return Path(given if os.path.isabs(given) else os.path.expanduser(usual))


def _key(environ: _Environ, name: str, default: ApiKey | None) -> ApiKey | None:
    text = environ.get(name, "").strip()
    try:
        return ApiKey(text) if text else default
    except UnusableKey as error:
        raise InvalidSetting(f"{name}: {error}") from None


def _base_url(environ: _Environ, name: str, default: str) -> str:
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


def _text(environ: _Environ, name: str, default: str | None) -> str | None:
    return environ.get(name, "").strip() or default


def _first_host(environ: _Environ, name: str, default: str | None) -> str | None:
    """The hub's own name of a Space stands first, before those that its owner gave it."""
    host = environ.get(name, "").partition(",")[0].strip()
    if host and not re.fullmatch(r"[\w.-]+", host, re.ASCII):
        raise InvalidSetting(f"{name} must be the name of a host, got {host!r}.")
    return host or default


def _on_a_space(environ: _Environ) -> bool:
    return bool(environ.get("SPACE_ID"))


# fmt: off
# By field of Settings. `musicgen-space serve --help` and docs/settings.md are made of this.
VARIABLES: dict[str, Variable] = {
    "host": Variable(
        "GRADIO_SERVER_NAME", _host,
        "where the page is served: an address or a name of this machine; `0.0.0.0` is "
        "every address of IPv4, `::` of IPv6",
        "127.0.0.1 (a Space: 0.0.0.0)"),
    "port": Variable(
        "GRADIO_SERVER_PORT", _whole(1, 65535),
        "its port"),
    "files": Variable(
        "GRADIO_TEMP_DIR", _folder,
        "the folder of files that pages are given and send, for a day: up to 200 MB from "
        "each visitor",
        "a private one, deleted at the end"),
    "proxies": Variable(
        "MUSICGEN_PROXIES", _networks,
        "reverse proxies in front of the page, addresses or networks separated by commas:"
        " `X-Forwarded-For` counts only from these",
        "(a Space: the hub's)"),
    "root_path": Variable(
        "GRADIO_ROOT_PATH", _root_path,
        "the path below which a reverse proxy serves the page, such as `/music`, or its whole "
        "address"),
    "model": Variable(
        "MUSICGEN_MODEL", _model,
        "the model of whoever chooses none: a published one, another hub id or a folder; "
        "`auto` is facebook/musicgen-small on a CUDA card, else musicgen-nano",
        "musicgen-nano, or what the page's offer brought (a Space: `auto`)"),
    "models": Variable(
        "MUSICGEN_MODELS", _models,
        "more checkpoints to offer, hub ids or folders separated by commas"),
    "config": Variable(
        "XDG_CONFIG_HOME", _config,
        "the folder of programs' settings: a model that was downloaded from the page's offer is "
        "named in `musicgen-space/model`, and is the default while MUSICGEN_MODEL names none",
        "~/.config"),
    "zero_gpu": Variable(
        "SPACES_ZERO_GPU", _zero_gpu,
        "set by the hub on a Space with ZeroGPU: the larger models are made on its GPUs, "
        "musicgen-nano on the CPU"),
    "device": Variable(
        "MUSICGEN_DEVICE", _device,
        "`auto` (a CUDA card, else the CPU), `cpu`, `cuda`, `cuda:1` …, or `mps` (Apple's"
        " GPU: never tried)"),
    "dtype": Variable(
        "MUSICGEN_DTYPE", _one_of("auto", "float32", "bfloat16", "float16"),
        "the decoder's numbers: `float32`, `bfloat16`, `float16`; `auto` is bfloat16 on a"
        " CUDA card (float16 on an older one), else float32"),
    "quant": Variable(
        "MUSICGEN_QUANT", _one_of("auto", "none", "int8", "int4"),
        "how the decoder's weights are kept on a CPU: `int8` (`auto`), `none` (as "
        "published), `int4`; with all but `none`, EnCodec is computed in bfloat16 where the"
        " processor has it"),
    "native": Variable(
        "MUSICGEN_NATIVE", _switch,
        "0: torch computes, without our kernel"),
    "graphs": Variable(
        "MUSICGEN_GRAPHS", _switch,
        "0: on a CUDA card every step is launched kernel by kernel, not as a CUDA graph"),
    "cache": Variable(
        "MUSICGEN_CACHE", _folder,
        "where converted weights are kept, and a kernel that had to be compiled: up to 8 "
        "GB, of which musicgen-small takes 0.45; on a nearly full disk nothing",
        "~/.cache/musicgen-space"),
    "max_models": Variable(
        "MUSICGEN_MAX_MODELS", _whole(1, 16),
        "models kept in memory, up to 16, where they fit; the least recently used goes "
        "first"),
    "threads": Variable(
        "MUSICGEN_THREADS", _whole(0, 256),
        "CPU threads of the decoder; 0 chooses by the model's size"),
    "at_once": Variable(
        "MUSICGEN_AT_ONCE", _whole(1, 64),
        "takes that one model makes at the same time, as far as memory goes and the machine keeps"
        " up with all who listen; 1: one after the other"),
    "live_sessions": Variable(
        "MUSICGEN_LIVE_SESSIONS", _whole(0, 64),
        "live sessions at the same time; 0: no live music"),
    "live_minutes": Variable(
        "MUSICGEN_LIVE_MINUTES", _whole(1, 1440),
        "minutes that a live session may last"),
    "live_ahead": Variable(
        "MUSICGEN_LIVE_AHEAD", _seconds(0.3, 10.0),
        "seconds of live music that a listener has ahead: less is steered sooner, more"
        " bridges a longer hitch of the network or the machine"),
    "max_waiting": Variable(
        "MUSICGEN_MAX_WAITING", _whole(0, 1000),
        "takes that may wait; turns go round, and short takes go first"),
    "visitor_waiting": Variable(
        "MUSICGEN_VISITOR_WAITING", _whole(0, 1000),
        "the most of them for each visitor, where others can open the page"),
    "audiocraft_python": Variable(
        "MUSICGEN_AUDIOCRAFT_PYTHON", _file,
        "the Python of an environment that has AudioCraft"),
    "library": Variable(
        "MUSICGEN_LIBRARY", _library,
        "the folder where finished takes are kept, on a Space a mounted bucket, such as `/data`;"
        " `off` keeps none",
        "~/.local/share/musicgen-space"),
    "library_bucket": Variable(
        "MUSICGEN_LIBRARY_BUCKET", _bucket,
        "1: that folder is a mounted bucket, or another store without locks; takes are used from"
        " a copy on this machine, and stored in the background",
        "0 (a Space: 1)"),
    "library_mb": Variable(
        "MUSICGEN_LIBRARY_MB", _whole(1, 10**8),
        "the most they may take together"),
    "visitor_mb": Variable(
        "MUSICGEN_VISITOR_MB", _whole(1, 10**8),
        "the most for each visitor, where others can open the page"),
    "api": Variable(
        "MUSICGEN_API", _switch,
        "0: no HTTP API beside the page"),
    "database": Variable(
        "MUSICGEN_DATABASE", _database,
        "where the HTTP API has its keys, jobs and their files: a URL such as "
        "`postgresql://user:password@host/name`, which several servers may share",
        "SQLite in ~/.local/share/musicgen-space/server.db"),
    "api_price": Variable(
        "MUSICGEN_API_PRICE", _price,
        "credits of a key that a take costs"),
    "api_waiting": Variable(
        "MUSICGEN_API_WAITING", _whole(1, 10**4),
        "the API's jobs that may wait"),
    "api_seconds": Variable(
        "MUSICGEN_API_SECONDS", _whole(10, 10**5),
        "seconds after which a job of the API is given up"),
    "api_outputs_mb": Variable(
        "MUSICGEN_API_OUTPUTS_MB", _whole(1, 10**8),
        "the most that its files may take, which are kept for 7 days; the oldest go first"),
    "segmind_key": Variable(
        "SEGMIND_API_KEY", _key,
        "the owner's key"),
    "segmind_api": Variable(
        "SEGMIND_API", _one_of("v1", "v2"),
        "`v1`: one blocking call; `v2`: a job that is polled"),
    "segmind_base_url": Variable(
        "SEGMIND_BASE_URL", _base_url,
        "any compatible server: https, or http on loopback"),
    "segmind_share_key": Variable(
        "SEGMIND_SHARE_KEY", _switch,
        "1 lets visitors of a public page spend the owner's credits"),
    "segmind_takes_per_visitor": Variable(
        "SEGMIND_TAKES_PER_VISITOR", _whole(0, 1000),
        "takes an hour that each of them may have with the owner's key"),
    "sign_in_client": Variable(
        "OAUTH_CLIENT_ID", _text,
        "visitors of a public page can sign in with Hugging Face as this app; set by a Space with"
        " `hf_oauth: true`, as are the following"),
    "sign_in_secret": Variable(
        "OAUTH_CLIENT_SECRET", _key,
        "the app's secret, which also signs the cookies of who has signed in"),
    "sign_in_provider": Variable(
        "OPENID_PROVIDER_URL", _base_url,
        "where they sign in: https, or http on loopback"),
    "space_host": Variable(
        "SPACE_HOST", _first_host,
        "the Space's name, to which they come back"),
}
# fmt: on
