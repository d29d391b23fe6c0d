"""Exports all takes of a visitor as one zip file."""

from __future__ import annotations

import json
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from musicgen_space.errors import UnreadableAudio
from musicgen_space.library.entry import Entry
from musicgen_space.library.files import remove
from musicgen_space.library.tags import without_tag

__all__ = ["write_archive"]

_MAX_TITLE = 60  # characters, and …
_MAX_BYTES = 200  # … bytes in UTF-8: file names are limited to 255


def write_archive(path: Path, takes: Iterable[tuple[Entry, Path]]) -> int:
    """Write the FLAC files of ``takes`` and takes.json to ``path``; → their number.

    Skips takes that were deleted or damaged meanwhile. Leaves no partial archive behind.
    """
    used: Counter[str] = Counter()
    listed = []
    try:
        # Stored: FLAC is compressed already.
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for entry, file in takes:
                name = _file_name(entry, used)
                try:
                    info = zipfile.ZipInfo.from_file(file, name, strict_timestamps=False)
                    archive.writestr(info, without_tag(file.read_bytes()))
                except (FileNotFoundError, UnreadableAudio):
                    continue
                listed.append({"file": name, **_described(entry)})
            text = json.dumps(listed, ensure_ascii=False, indent=2)
            archive.writestr("takes.json", text, zipfile.ZIP_DEFLATED)
    except BaseException:
        remove(path)
        raise
    return len(listed)


def _file_name(entry: Entry, used: Counter[str]) -> str:
    """A portable, unique name such as "2026-03-14 jazz, seed 7.flac"."""
    cleaned = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFC", entry.name))
    short = cleaned[:_MAX_TITLE].encode()[:_MAX_BYTES].decode(errors="ignore")
    title = short.strip() or "take"
    name = f"{entry.created:%Y-%m-%d} {title}, seed {entry.seed}"
    used[name.casefold()] += 1
    nth = used[name.casefold()]
    return f"{name} ({nth}).flac" if nth > 1 else f"{name}.flac"


def _described(entry: Entry) -> dict[str, Any]:
    """An entry as a JSON object, without internal fields."""
    values = {**asdict(entry), "created": entry.created.isoformat()}
    return {name: value for name, value in values.items() if name not in ("id", "bytes", "peaks")}
