"""Checkpoints from the Hugging Face hub, with progress; from its cache when offline."""

from __future__ import annotations

import errno
import shutil
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
    reject_mixed,
    weight_files,
)
from musicgen_space.engine.checkpoint.formats.training import training_advice
from musicgen_space.engine.checkpoint.hub_errors import explain_hub_error
from musicgen_space.errors import InvalidCheckpoint, ModelUnavailable
from musicgen_space.process.proxies import proxy_of

__all__ = ["can_take", "fetch", "is_cached"]

_TOKENIZER_PATTERNS = ("*token*.json", *TOKENIZER_FILES)
_CONFIGS = ("config.json", ADAPTER_CONFIG, *_TOKENIZER_PATTERNS)
# Alternative sets of weight files; the first that a repository has is downloaded.
_WEIGHTS = (*((name,) for name in ADAPTER_FILES), *WEIGHT_FILES)

# The HTTP library of the hub's client depends on its version; its own HTTP error derives
# from that library's.
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
    """The local folder of ``repo_id``, downloaded unless it is in the hub's cache.

    The repository may hold a checkpoint in either format, T5 or EnCodec alone, or an adapter.

    ``report(bytes_done, bytes_total)`` is called during the download, from any thread; an
    exception that it raises aborts the download, which the next call resumes. Raises
    ``ModelUnavailable``, or ``InvalidCheckpoint`` if it is ambiguous what to load.
    """
    try:
        return _download(repo_id, report, tokenizer_only)
    except Exception as error:
        if not _is_download_error(error):
            raise
        folder = _cached(repo_id, tokenizer_only)
        if folder is None:
            raise ModelUnavailable(_explain(repo_id, error)) from None
        return folder


def is_cached(repo_id: str) -> bool:
    """Whether a whole checkpoint is in the hub's cache: it can be loaded without the network."""
    return _cached(repo_id, tokenizer_only=False) is not None


def can_take(size: int) -> bool:
    """Whether the hub may be asked at all, and ``size`` bytes are free where its cache is."""
    folder = Path(constants.HF_HUB_CACHE).absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return not constants.HF_HUB_OFFLINE and shutil.disk_usage(there).free >= size


def _is_download_error(error: Exception) -> bool:
    """Whether the download itself failed, rather than the ``report`` callback."""
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, _DOWNLOAD_ERRORS) or package == "socksio"  # not wrapped by httpx


def _download(repo_id: str, report: Report, tokenizer_only: bool) -> Path:
    # Xet downloads can't be aborted: they swallow exceptions of the progress callback.
    constants.HF_HUB_DISABLE_XET = True
    constants.HF_HUB_DISABLE_TELEMETRY = True  # else it tells what is installed here
    patterns = [*_CONFIGS, *chain(*_WEIGHTS)]
    offered = snapshot_download(repo_id, allow_patterns=patterns, dry_run=True)
    there = {file.filename: file.file_size or 0 for file in offered}
    sizes = _tokenizer_files(there) if tokenizer_only else _checkpoint_files(repo_id, there)
    if not sizes:
        what = "tokenizer" if tokenizer_only else "checkpoint"
        files = [] if tokenizer_only else matching(HfApi().list_repo_files(repo_id), ["*"])
        raise ModelUnavailable(
            f"{repo_id} on the hub holds no {what} that can be read here.{training_advice(files)}"
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


def _checkpoint_files(repo_id: str, sizes: Mapping[str, int]) -> dict[str, int]:
    """The files to download and their sizes in bytes; empty if there are no weights.

    Subfolders of a repository hold other programs' formats and are ignored.
    """
    reject_mixed(sizes, repo_id)
    for patterns in _WEIGHTS:
        weights = matching(sizes, patterns)
        if any(name.endswith((".safetensors", ".bin")) for name in weights):
            names = [*matching(sizes, _CONFIGS), *weights]
            return {name: sizes[name] for name in names}
    return {}


def _tokenizer_files(sizes: Mapping[str, int]) -> dict[str, int]:
    """The same for the tokenizer alone."""
    if not matching(sizes, TOKENIZER_FILES):
        return {}
    return {name: sizes[name] for name in matching(sizes, _TOKENIZER_PATTERNS)}


def _reporting_bar(report: Callable[[int], None]) -> type[Any]:
    """A tqdm class that draws nothing and reports the bytes received of one file."""
    lock = threading.Lock()
    highest = 0

    class ReportingBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # the hub's own bar class takes it, tqdm does not
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            # A file may have two bars, for bytes received and written: report the larger.
            nonlocal highest
            self.n += n or 0
            with lock:
                highest = max(highest, int(self.n))
                report(highest)
            return None

    return ReportingBar


def _cached(repo_id: str, tokenizer_only: bool) -> Path | None:
    """The folder of an earlier download, if it is complete."""
    is_complete = has_tokenizer if tokenizer_only else _is_complete
    try:
        # Of a repository that other programs have listed the client misses what nobody here needs:
        # it is asked for no file, and what is there is looked at below.
        folder = Path(snapshot_download(repo_id, allow_patterns=[], local_files_only=True))
        return folder if is_complete(folder) else None
    except (OSError, ValueError):
        return None


def _explain(repo_id: str, error: Exception) -> str:
    """A user-facing reason for a failed download: the hub, the disk, or else the network."""
    hub_error = explain_hub_error(repo_id, error)
    if hub_error is not None:
        return hub_error
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full: there is no room for {repo_id}."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{repo_id} can't be downloaded: {constants.HF_HUB_CACHE} can't be written to. "
            "The environment variable HF_HOME can name another folder."
        )
    proxy = proxy_of(constants.ENDPOINT)
    way = f" through the proxy {proxy} ({_root_cause(error)})" if proxy else ""
    what = (
        "proxy, and the environment's HTTPS_PROXY or ALL_PROXY," if proxy else "internet connection"
    )
    return (
        f"{repo_id} is not on this machine and the model hub can't be reached{way}. "
        f"Check the {what} and try again, or choose musicgen-nano, which needs no download."
    )


def _root_cause(error: BaseException) -> str:
    """The message of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__


def _is_complete(folder: Path) -> bool:
    """Whether the config and one set of weights, with all its shards, are there."""
    if is_audiocraft(folder):
        return all((folder / name).is_file() for name in AUDIOCRAFT_FILES)
    try:
        if is_adapter(folder):
            return (folder / ADAPTER_CONFIG).is_file() and adapter_file(folder).is_file()
        return bool(weight_files(folder)) and (folder / "config.json").is_file()
    except InvalidCheckpoint:
        return False
