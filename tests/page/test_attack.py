"""Hostile visitors for seconds; ``python -m tests.page.attack`` has them for minutes."""

from __future__ import annotations

from pathlib import Path

from tests.page.attack import ATTACKERS, attack_page
from tests.servers.slow_page import UPLOAD_BYTES

MB = 2**20


def test_a_page_that_is_attacked_serves_others_and_gives_back_what_it_took(tmp_path: Path) -> None:
    figures = attack_page(tmp_path, seconds=12, seed=0)
    assert figures.requests > ATTACKERS
    assert not figures.failed
    assert figures.served
    assert not figures.refused
    before, after = figures.before, figures.after
    assert before is not None
    assert after is not None
    assert after.memory < before.memory + 150 * MB
    assert after.open_files < before.open_files + 20
    assert after.temporary_bytes <= UPLOAD_BYTES
    assert after.log_lines - before.log_lines < 10 * figures.requests
