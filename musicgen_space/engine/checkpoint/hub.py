"""Checkpoints from the Hugging Face hub, with progress, or from its cache when offline."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping
from itertools import chain
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from tqdm import tqdm

from musicgen_space.engine.checkpoint.files import (
    ADAPTER_CONFIG,
    ADAPTER_FILES,
    AUDIOCRAFT_FILES,
    TOKENIZER_FILES,
    WEIGHT_FILES,
    adapter_file,
    has_tokenizer,
    is_adapter,
    is_audiocraft,
    matching,
    refuse_both,
    weight_files,
)
from musicgen_space.engine.checkpoint.formats.training import advice
from musicgen_space.engine.checkpoint.refusals import refusal
from musicgen_space.errors import InvalidCheckpoint, ModelUnavailable
from musicgen_space.process.proxies import proxy_for

__all__ = ["fetch"]

_OF_TOKENIZERS = ("*token*.json", *TOKENIZER_FILES)
_DESCRIPTIONS = ("config.json", ADAPTER_CONFIG, *_OF_TOKENIZERS)
# Kinds of weights; the first that a repository has is enough.
_WEIGHTS = (*((name,) for name in ADAPTER_FILES), *WEIGHT_FILES)

# Which HTTP library the hub's client uses depends on its version; its own HTTP error
# derives from that library's.
_DOWNLOAD_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    HFValidationError,
    JSONDecodeError,
    UnicodeEncodeError,
    *HfHubHTTPError.__bases__,
)

Report = Callable[[int, int], None]


def fetch(
    repo_id: str, report: Report = lambda _done, _total: None, *, tokenizer_only: bool = False
) -> Path:
    """The folder of ``repo_id``, downloaded unless it is in the hub's cache.

    It may be a checkpoint in either format, a part of one, T5 or EnCodec, or an adapter.

    ``report(bytes_done, bytes_in_all)`` is called while bytes arrive, from whichever
    thread receives them; an exception it raises stops the download, which resumes where
    it was next time. Raises ``ModelUnavailable``, or ``InvalidCheckpoint`` for a repository of
    which it isn't clear what to load.
    """
    try:
        return _download(repo_id, report, tokenizer_only)
    except Exception as error:
        if not _is_of_download(error):
            raise
        folder = _cached(repo_id, tokenizer_only)
        if folder is None:
            raise ModelUnavailable(_why(repo_id, error)) from None
        return folder


def _is_of_download(error: Exception) -> bool:
    """Whether a download failed; other errors are of whoever listens to its progress."""
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, _DOWNLOAD_ERRORS) or package == "socksio"  # some come as they are


def _download(repo_id: str, report: Report, tokenizer_only: bool) -> Path:
    # Xet's downloads can't be stopped: they swallow what their progress callback raises.
    constants.HF_HUB_DISABLE_XET = True
    constants.HF_HUB_DISABLE_TELEMETRY = True  # else it tells what is installed here
    patterns = [*_DESCRIPTIONS, *chain(*_WEIGHTS)]
    offered = snapshot_download(repo_id, allow_patterns=patterns, dry_run=True)
    there = {file.filename: file.file_size or 0 for file in offered}
    sizes = _of_tokenizer(there) if tokenizer_only else _wanted(repo_id, there)
    if not sizes:
        what = "tokenizer" if tokenizer_only else "checkpoint"
        files = [] if tokenizer_only else matching(HfApi().list_repo_files(repo_id), ["*"])
        raise ModelUnavailable(
            f"{repo_id} on the hub holds no {what} that can be read here.{advice(files)}"
        )
    total, done = sum(sizes.values()), 0
    folder = Path()
    for name, size in sizes.items():
        before = done

        def report_file(count: int, before: int = before, size: int = size) -> None:
            report(before + min(count, size), total)

        file = hf_hub_download(repo_id, name, tqdm_class=_reporting_bar(report_file))
        folder, done = Path(file).parent, done + size
        report(done, total)
    return folder


def _wanted(repo_id: str, sizes: Mapping[str, int]) -> dict[str, int]:
    """The files to download out of those on offer, with their sizes in bytes.

    None if there are no weights. Folders inside a repository hold other programs' formats.
    """
    refuse_both(sizes, repo_id)
    for patterns in _WEIGHTS:
        weights = matching(sizes, patterns)
        if any(name.endswith((".safetensors", ".bin")) for name in weights):
            names = [*matching(sizes, _DESCRIPTIONS), *weights]
            return {name: sizes[name] for name in names}
    return {}


def _of_tokenizer(sizes: Mapping[str, int]) -> dict[str, int]:
    """The same of a tokenizer alone."""
    if not matching(sizes, TOKENIZER_FILES):
        return {}
    return {name: sizes[name] for name in matching(sizes, _OF_TOKENIZERS)}


def _reporting_bar(report: Callable[[int], None]) -> type[Any]:
    """A progress bar class that draws nothing and reports how many bytes one file has."""
    lock = threading.Lock()
    most = 0

    class ReportingBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # the hub's own bar class takes it, tqdm does not
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            # A file may have two bars, for bytes received and bytes written: the one that
            # is further counts.
            nonlocal most
            self.n += n or 0
            with lock:
                most = max(most, int(self.n))
                report(most)
            return None

    return ReportingBar


def _cached(repo_id: str, tokenizer_only: bool) -> Path | None:
    """The folder of an earlier download, if that was finished."""
    is_complete = has_tokenizer if tokenizer_only else _is_complete
    try:
        folder = Path(snapshot_download(repo_id, local_files_only=True))
        return folder if is_complete(folder) else None
    except (OSError, ValueError):
        return None


def _why(repo_id: str, error: Exception) -> str:
    """Why a download failed, for people: the hub, the disk, or else the network."""
    refused = refusal(repo_id, error)
    if refused is not None:
        return refused
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full: there is no room for {repo_id}."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{repo_id} can't be downloaded: {constants.HF_HUB_CACHE} can't be written to. "
            "The environment variable HF_HOME can name another folder."
        )
    proxy = proxy_for(constants.ENDPOINT)
    way = f" through the proxy {proxy} ({_root_of(error)})" if proxy else ""
    what = (
        "proxy, and the environment's HTTPS_PROXY or ALL_PROXY," if proxy else "internet connection"
    )
    return (
        f"{repo_id} is not on this machine and the model hub can't be reached{way}. "
        f"Check the {what} and try again, or choose musicgen-nano, which needs no download."
    )


def _root_of(error: BaseException) -> str:
    """What it began with: of a proxy's answer its words, else the system's."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__


def _is_complete(folder: Path) -> bool:
    """Whether the description and one kind of weights, with all its shards, are there."""
    if is_audiocraft(folder):
        return all((folder / name).is_file() for name in AUDIOCRAFT_FILES)
    try:
        if is_adapter(folder):
            return (folder / ADAPTER_CONFIG).is_file() and adapter_file(folder).is_file()
        return bool(weight_files(folder)) and (folder / "config.json").is_file()
    except InvalidCheckpoint:
        return False
