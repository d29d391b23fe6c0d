"""A soundfont made on the spot, where it can be played."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.music import tiny_soundfont


@pytest.fixture(scope="session")
def font(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tinysoundfont", reason="needs tinysoundfont, which make test installs")
    file = tmp_path_factory.mktemp("font") / "tiny.sf2"
    tiny_soundfont.write(file)
    return file
