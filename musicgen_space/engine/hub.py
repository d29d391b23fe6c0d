"""Checkpoints from the Hugging Face hub, with progress, or from its cache when offline."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from tqdm import tqdm

from musicgen_space.errors import ModelUnavailable

__all__ = ["fetch"]

_DESCRIPTION_FILES = ["config.json", "*token*.json", "spiece.model", "model*.index.json"]
# The first kind of weights that a repository has; one is enough.
_WEIGHT_FILES = ["model*.safetensors", "pytorch_model*.bin"]

_NOT_THERE = (RepositoryNotFoundError, HFValidationError)
# Which HTTP library the hub's client uses depends on its version; its own HTTP error
# derives from that library's.
_DOWNLOAD_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    HFValidationError,
    *HfHubHTTPError.__bases__,
)

Report = Callable[[int, int], None]


def fetch(repo_id: str, report: Report) -> Path:
    """The folder of checkpoint ``repo_id``, downloaded unless it is in the hub's cache.

    ``report(bytes_done, bytes_in_all)`` is called while bytes arrive, from whichever
    thread receives them; an exception it raises stops the download, which resumes where
    it was next time. Raises ``ModelUnavailable``.
    """
    try:
        return _download(repo_id, report)
    except _DOWNLOAD_ERRORS as error:
        if isinstance(error, _NOT_THERE) or isinstance(error.__cause__, _NOT_THERE):
            raise ModelUnavailable(
                f"There is no model {repo_id!r} on the hub, or it is private."
            ) from None
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise ModelUnavailable(f"The disk is full: there is no room for {repo_id}.") from None
        return _cached(repo_id)


def _download(repo_id: str, report: Report) -> Path:
    # Xet's downloads can't be stopped: they swallow what their progress callback raises.
    constants.HF_HUB_DISABLE_XET = True
    offered = snapshot_download(
        repo_id, allow_patterns=[*_DESCRIPTION_FILES, *_WEIGHT_FILES], dry_run=True
    )
    sizes = _wanted({file.filename: file.file_size or 0 for file in offered})
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


def _wanted(sizes: dict[str, int]) -> dict[str, int]:
    """The files to download out of those on offer, with their sizes in bytes."""
    kinds = [[name for name in sizes if fnmatch(name, pattern)] for pattern in _WEIGHT_FILES]
    weights = next((names for names in kinds if names), [])
    others = {name for names in kinds for name in names} - set(weights)
    return {name: size for name, size in sizes.items() if name not in others}


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


def _cached(repo_id: str) -> Path:
    """The folder of an earlier download, if that was finished."""
    try:
        folder = Path(snapshot_download(repo_id, local_files_only=True))
        complete = _is_complete(folder)
    except (OSError, ValueError):
        complete = False
    if complete:
        return folder
    raise ModelUnavailable(
        f"{repo_id} is not on this machine and the model hub can't be reached. "
        "Check the internet connection and try again, or choose musicgen-nano, "
        "which needs no download."
    )


def _is_complete(folder: Path) -> bool:
    """Whether the description and one kind of weights, with all its shards, are there."""
    for pattern in _WEIGHT_FILES:
        weights = {file.name for file in folder.glob(pattern)}
        if weights:
            index = next(folder.glob(f"{pattern.split('*')[0]}*.index.json"), None)
            needed = json.loads(index.read_text(encoding="utf-8"))["weight_map"] if index else {}
            return (folder / "config.json").exists() and weights >= set(needed.values())
    return False
